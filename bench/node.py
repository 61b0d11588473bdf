"""Measure the node on this machine: speed at two image sizes, and memory over a long drive.

``python bench/node.py`` (or ``make bench``) replays rendered drives through the real node over real
DDS, with a lane mask and with all sensors, and prints rows for bench/RESULTS.md. ``--soak 10000``
adds the memory of the node over so many frames.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, ClassInfo
from seg_perception.datasets import Sample, open_dataset
from seg_perception.evaluation.bag import Bag
from seg_perception.evaluation.drive import Transport
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.ros.player import PlayOptions, play
from seg_perception.ros.share import share_path

SIZES = ((360, 480), (1024, 2048))
RENDERED = 8
SOURCES = (("lane_mask",), ("lane_mask", "lane_borders", "depth", "points"))
OWN_STAGES = ("decode", "resize", "evidence", "restore", "publish")
SOAK_SIZE = (180, 240)
SAMPLE_PERIOD_S = 1.0


@dataclass(frozen=True)
class Loop:
    """A `Dataset` that shows the same samples again and again: a long drive that renders fast."""

    samples: tuple[Sample, ...]
    length: int
    classes: tuple[ClassInfo, ...] = CAMVID_CLASSES
    name: str = "loop"
    drives: tuple[str, ...] = ("loop",)

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Those of the classes."""
        return CAMVID_GROUPS

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return replace(self.samples[index % len(self.samples)], drive="loop")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=share_path("models/default"))
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rate", type=float, default=40.0, help="frames a second that are offered")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="frames of the long drive")
    options = parser.parse_args()
    print("| image | evidence | answers/s | infer | all other stages, p50 | receive to publish |")
    print("|---|---|---|---|---|---|")
    for size in SIZES:
        for sources in SOURCES:
            play_options = PlayOptions(rate_hz=options.rate, sources=sources)
            transport, _ = drive(options.bundle, size, options.frames, play_options)
            print(row(size, sources, transport))
    if options.soak:
        _, memory = drive(options.bundle, SOAK_SIZE, options.soak, PlayOptions())
        print(
            f"\nMemory of the node (MiB) at each tenth of {options.soak} frames:", *deciles(memory)
        )


def drive(
    bundle: Path, size: tuple[int, int], frames: int, options: PlayOptions
) -> tuple[Transport, list[float]]:
    """Replay a rendered drive.

    Args:
        bundle: the model.
        size: (height, width) of the images in pixels.
        frames: how many.
        options: how they are played.

    Returns:
        How it went, and the node's resident memory in MiB, second by second.
    """
    street = open_dataset("street", split="val", frames=RENDERED, height=size[0], width=size[1])
    samples = tuple(street[i] for i in range(RENDERED))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drive"
        compressed = frames * size[0] * size[1] * 3 > 1 << 30
        bag_options = BagOptions(evidence=options.sources, rate_hz=10.0, compressed=compressed)
        make_bag(Loop(samples, frames), path, bag_options)
        with Bag(path) as bag, watched_memory() as memory:
            log = play(bag, bundle, options)
    return log.transport, memory


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """Collect the resident memory of this process's children, MiB, once a second."""
    readings: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_PERIOD_S):
            readings.append(children_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield readings
    finally:
        over.set()
        watcher.join()


def children_mib() -> float:
    """Resident memory of all children of the main thread, MiB; they may end at any moment."""
    pid = os.getpid()
    total_pages = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            total_pages += int(Path(f"/proc/{child}/statm").read_text().split()[1])
        except FileNotFoundError:
            continue
    return total_pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def row(size: tuple[int, int], sources: tuple[str, ...], transport: Transport) -> str:
    """One drive as a row of the table; milliseconds as p50 / p90 / p99."""
    stages = transport.stage_ms
    infer, whole = (
        " / ".join(f"{stages[stage][p]:.1f}" for p in ("p50", "p90", "p99"))
        for stage in ("infer", "receive_to_publish")
    )
    own = sum(stages[stage]["p50"] for stage in OWN_STAGES)
    rate = transport.answers_per_second
    given = ", ".join(sources)
    return f"| {size[1]}x{size[0]} | {given} | {rate:.1f} | {infer} | {own:.1f} | {whole} |"


def deciles(readings: list[float]) -> list[str]:
    """Eleven readings spread evenly over the drive."""
    last = len(readings) - 1
    return [f"{readings[last * i // 10]:.0f}" for i in range(11)]


if __name__ == "__main__":
    main()
