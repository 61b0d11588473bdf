from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import TINY_CLASSES, color_image, write_tiny_bundle
from tiny_drives import CAR, ROAD, SIDEWALK, SKY

from seg_perception.errors import RunnerError
from seg_perception.evaluation.compare import OPTIMISED_REPLACED, REPLACED, Comparer
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner

SEEN = np.full((24, 32), SIDEWALK, np.uint8)
SEEN[:8] = SKY


def known_road(rows: slice, height: int = 24, width: int = 32) -> Evidence:
    labels = np.full((height, width), 255, np.uint8)
    labels[rows] = ROAD
    return evidence_from_labels(labels, len(TINY_CLASSES))


def obstacle_or_sky(rows: slice) -> Evidence:
    sets = np.ones((2, 4), np.float32)
    sets[1, [ROAD, SIDEWALK]] = 0
    index = np.zeros((24, 32), np.uint8)
    index[rows] = 1
    return Evidence(index, sets, np.array([0, 1], np.float32), 0, "obstacle")


@pytest.fixture
def without_evaluation_outputs(runner: Runner) -> Runner:
    """The same model from an older export: it cannot restrict scores itself."""

    class Older:
        name, reason = runner.name, runner.reason
        run, close = runner.run, runner.close
        bundle = replace(
            runner.bundle,
            manifest=replace(
                runner.bundle.manifest,
                outputs=tuple(
                    spec
                    for spec in runner.bundle.manifest.outputs
                    if spec.name not in (REPLACED, OPTIMISED_REPLACED)
                ),
            ),
        )

    return Older()


def test_without_evidence_it_says_what_it_sees(runner: Runner) -> None:
    maps = Comparer(runner).uncorrected(color_image(SEEN, TINY_CLASSES))
    assert maps.keys() == {"labels", "labels_unrefined"}
    assert all((labels == SEEN).all() for labels in maps.values())


@pytest.mark.parametrize("scale", [1, 2])
def test_replaced_follows_evidence_and_only_there(runner: Runner, scale: int) -> None:
    seen = SEEN.repeat(scale, 0).repeat(scale, 1)
    comparer = Comparer(runner)
    evidence = known_road(slice(12 * scale, 16 * scale), *seen.shape)
    maps = comparer.corrected(color_image(seen, TINY_CLASSES), [evidence], seen)
    expected = seen.copy()
    expected[12 * scale : 16 * scale] = ROAD
    assert (maps[REPLACED] == expected).all()
    assert maps["labels"].shape == seen.shape
    assert (maps["labels"][evidence.index > 0] == ROAD).all()


def test_replaced_takes_the_likeliest_of_what_remains(runner: Runner) -> None:
    image = color_image(SEEN, TINY_CLASSES)
    maps = Comparer(runner).corrected(image, [obstacle_or_sky(slice(20, 24))], SEEN)
    # Green is nearer to white (car) than to blue (sky).
    assert (maps[REPLACED][20:] == CAR).all()
    assert (maps[REPLACED][:20] == SEEN[:20]).all()


def test_an_older_bundle_restricts_evidence_of_one_class(
    runner: Runner, without_evaluation_outputs: Runner
) -> None:
    image, evidence = color_image(SEEN, TINY_CLASSES), [known_road(slice(4, 12))]
    ours = Comparer(runner).corrected(image, evidence, SEEN)
    theirs = Comparer(without_evaluation_outputs).corrected(image, evidence, SEEN)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_an_older_bundle_cannot_choose_among_several(without_evaluation_outputs: Runner) -> None:
    comparer = Comparer(without_evaluation_outputs)
    image = color_image(SEEN, TINY_CLASSES)
    with pytest.raises(RunnerError, match=r"lacks the outputs .*export the bundle again"):
        comparer.corrected(image, [obstacle_or_sky(slice(20, 24))], SEEN)
    # Where the label is among those that remain, there is nothing to choose.
    maps = comparer.corrected(image, [obstacle_or_sky(slice(0, 4))], SEEN)
    assert (maps[REPLACED] == SEEN).all()


def test_a_model_without_a_code_takes_no_evidence(tmp_path: Path) -> None:
    runner = open_runner(load_bundle(write_tiny_bundle(tmp_path, code_size=0)), threads=1)
    image = color_image(SEEN, TINY_CLASSES)
    assert (Comparer(runner).uncorrected(image)["labels"] == SEEN).all()
    with pytest.raises(RunnerError, match="has no code"):
        Comparer(runner).corrected(image, [known_road(slice(4))], SEEN)
