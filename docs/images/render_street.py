"""Render the README's picture: ``python docs/images/render_street.py --help``.

Four tiles of one rendered frame: what the model is told, its answer without that, its answer
corrected by it, and the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.datasets import open_dataset
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evidence.record import Evidence
from seg_perception.overlay import overlay
from seg_perception.perceiver import Frame, Perceiver
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

FOLDER = Path(__file__).parent
BUNDLE = FOLDER.parents[1] / "models" / "default"
FRAMES = 30
GAP_PX = 4
DOT_PX = 5
SCALE = 0.75
ALPHA = 0.6


def main() -> None:
    """Write street.png beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frame", type=int, default=4)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--kind", default="points:0.01", help="as in seg-perception evaluate")
    options = parser.parse_args()
    street = open_dataset("street", split="val", frames=FRAMES, seed=options.seed)
    sample = street[options.frame]
    known = partial_truth(
        sample.labels,
        options.kind,
        None,
        classes=street.classes,
        groups=street.groups,
        rng=np.random.default_rng(options.seed),
    )
    perceiver = Perceiver(open_runner(load_bundle(BUNDLE)))
    frame = Frame(sample.image, known.stamp_ns)
    alone, corrected = perceiver.perceive(frame), perceiver.perceive(frame, [known])
    maps = (told(known), alone.labels, corrected.labels, sample.labels)
    picture = tiles([overlay(sample.image, labels, street.classes, ALPHA) for labels in maps])
    for name, labels in (("alone", alone.labels), ("corrected", corrected.labels)):
        right = (labels == sample.labels)[(sample.labels != VOID) & (known.index == 0)]
        print(f"{name}: {100 * right.mean():.1f} % of the pixels without evidence are right")
    small = cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(FOLDER / "street.png"), cv2.cvtColor(small, cv2.COLOR_RGB2BGR))


def told(known: Evidence) -> NDArray[np.uint8]:
    """Labels that evidence names outright, uint8 [H, W], as dots that can be seen; else void."""
    certain = known.sets.sum(axis=1) == 1
    labels = np.where(certain, known.sets.argmax(axis=1), VOID).astype(np.uint8)[known.index]
    # Void is the highest value, so that the minimum of the neighbours is a label.
    return np.asarray(cv2.erode(labels, np.ones((DOT_PX, DOT_PX), np.uint8)), np.uint8)


def tiles(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures uint8 [H, W, 3] side by side, with white gaps."""
    gap = np.full((pictures[0].shape[0], GAP_PX, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    return np.hstack(row)


if __name__ == "__main__":
    main()
