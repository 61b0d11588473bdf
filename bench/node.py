"""Measure the node on this machine: speed at two image sizes, and memory over a long drive.

``python bench/node.py`` (or ``make bench``) replays rendered drives through the real node over real
DDS, with a lane mask and with all sensors, and prints rows for bench/RESULTS.md. What plays them
needs the same cores as the node: the last columns say who had how much of them. ``--soak 10000``
adds the memory of the node over so many frames.
"""

from __future__ import annotations

import argparse
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from seg_perception.datasets import open_dataset
from seg_perception.evaluation.bag import TRANSFORMS, Bag, BagFrame, BagMessage
from seg_perception.evaluation.drive import Transport
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.ros.memory import reuse_memory
from seg_perception.ros.player import PlayOptions, play
from seg_perception.ros.share import share_path

SIZES = ((360, 480), (1024, 2048))
RENDERED = 8
BAG_RATE_HZ = 10
SOURCES = (("lane_mask",), ("lane_mask", "lane_borders", "depth", "points"))
OWN_STAGES = ("decode", "resize", "evidence", "restore", "publish")
SOAK_SIZE = (180, 240)
SAMPLE_PERIOD_S = 1.0


@dataclass
class Loop(Bag):
    """A bag whose frames come again and again, with new stamps, from memory.

    Neither the renderer nor the disk holds up such a drive, however long it is.

    Attributes:
        length: frames of the drive.
    """

    length: int = RENDERED
    _kept: tuple[BagFrame, ...] = field(init=False, repr=False)

    def __enter__(self) -> Loop:
        super().__enter__()
        self._kept = tuple(super().frames())
        self.n_frames = self.length
        return self

    def frames(self) -> Iterator[BagFrame]:
        """As in a bag that was recorded that long."""
        for i in range(self.length):
            frame = self._kept[i % len(self._kept)]
            stamp_ns = self._kept[0].stamp_ns + i * 10**9 // BAG_RATE_HZ
            before = tuple(restamped(message, stamp_ns) for message in frame.before)
            yield replace(frame, image=restamped(frame.image, stamp_ns), before=before)


@dataclass
class Usage:
    """CPU time of the node and of this process between the first frame and the last.

    Attributes:
        wall_s, node_s, player_s: seconds.
    """

    wall_s: float = 0.0
    node_s: float = 0.0
    player_s: float = 0.0

    def watch(self, done: int, total: int) -> None:
        """For `play`, as `progress`."""
        sign = (done == total) - (done == 1)
        if sign:
            self.wall_s += sign * time.monotonic()
            self.node_s += sign * children_cpu_s()
            self.player_s += sign * time.process_time()

    def shares(self) -> tuple[float, float]:
        """Percent of all cores that the node had, and who played."""
        all_s = self.wall_s * len(os.sched_getaffinity(0))
        return 100 * self.node_s / all_s, 100 * self.player_s / all_s


@dataclass(frozen=True)
class Drive:
    """How a drive went.

    Attributes:
        transport: counts and latencies.
        usage: of the cores.
        memory_mib: of the node, second by second.
    """

    transport: Transport
    usage: Usage
    memory_mib: list[float]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=share_path("models/default"))
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rate", type=float, default=40.0, help="frames a second that are offered")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="frames of the long drive")
    options = parser.parse_args()
    reuse_memory()
    print(
        "| image | evidence | answers/s | infer | all other stages, p50 | receive to publish "
        "| node's CPU per answer | of the cores: node, player |\n|---|---|---|---|---|---|---|---|"
    )
    for size in SIZES:
        for sources in SOURCES:
            play_options = PlayOptions(rate_hz=options.rate, sources=sources)
            print(row(size, sources, drive(options.bundle, size, options.frames, play_options)))
    if options.soak:
        memory = drive(options.bundle, SOAK_SIZE, options.soak, PlayOptions()).memory_mib
        print(
            f"\nMemory of the node (MiB) at each tenth of {options.soak} frames:", *deciles(memory)
        )


def drive(bundle: Path, size: tuple[int, int], frames: int, options: PlayOptions) -> Drive:
    """Replay a rendered drive.

    Args:
        bundle: the model.
        size: (height, width) of the images in pixels.
        frames: how many.
        options: how they are played.
    """
    street = open_dataset("street", split="val", frames=RENDERED, height=size[0], width=size[1])
    usage = Usage()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drive"
        make_bag(street, path, BagOptions(evidence=options.sources, rate_hz=BAG_RATE_HZ))
        with Loop(path, length=frames) as bag, watched_memory() as memory:
            log = play(bag, bundle, options, usage.watch)
    return Drive(log.transport, usage, memory)


def restamped(message: BagMessage, stamp_ns: int) -> BagMessage:
    """The same with another stamp in its header, the first 8 bytes behind those of CDR itself."""
    if message.role == TRANSFORMS:  # those of a drive always hold
        return message
    stamp = struct.pack("<iI", *divmod(stamp_ns, 10**9))
    return replace(message, stamp_ns=stamp_ns, data=message.data[:4] + stamp + message.data[12:])


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """Collect the resident memory of this process's children, MiB, once a second."""
    readings: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_PERIOD_S):
            readings.append(resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield readings
    finally:
        over.set()
        watcher.join()


def resident_mib() -> float:
    """Resident memory of all children of the main thread, MiB."""
    pages = sum(int(text.split()[1]) for text in of_children("statm"))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def children_cpu_s() -> float:
    """CPU time that all children of the main thread have used so far, seconds."""
    # Behind the name, which may hold anything; user and system time are fields 14 and 15.
    fields = [text.rpartition(")")[2].split() for text in of_children("stat")]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def of_children(name: str) -> list[str]:
    """What a file of /proc says of each child of the main thread; they may end at any moment."""
    pid = os.getpid()
    texts = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            texts.append(Path(f"/proc/{child}/{name}").read_text())
    return texts


def row(size: tuple[int, int], sources: tuple[str, ...], driven: Drive) -> str:
    """One drive as a row of the table; milliseconds as p50 / p90 / p99."""
    transport, stages = driven.transport, driven.transport.stage_ms
    infer, whole = (
        " / ".join(f"{stages[stage][p]:.1f}" for p in ("p50", "p90", "p99"))
        for stage in ("infer", "receive_to_publish")
    )
    own = sum(stages[stage]["p50"] for stage in OWN_STAGES)
    rate, per_answer_ms = (
        transport.answers_per_second,
        1e3 * driven.usage.node_s / transport.answered,
    )
    node, player = driven.usage.shares()
    return (
        f"| {size[1]}x{size[0]} | {', '.join(sources)} | {rate:.1f} | {infer} | {own:.1f} "
        f"| {whole} | {per_answer_ms:.0f} | {node:.0f} %, {player:.0f} % |"
    )


def deciles(readings: list[float]) -> list[str]:
    """Eleven readings spread evenly over the drive."""
    last = len(readings) - 1
    return [f"{readings[last * i // 10]:.0f}" for i in range(11)]


if __name__ == "__main__":
    main()
