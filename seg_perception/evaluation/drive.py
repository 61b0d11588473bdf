"""A replayed drive as records: frames with their answers, and how they went through the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from seg_perception.evidence.fuse import rescale
from seg_perception.evidence.record import Evidence


@dataclass(frozen=True)
class Answer:
    """What the node published for one frame.

    Attributes:
        labels: uint8 [h,w] class ids, 255 = unlabelled.
        entropy: uint8 [h,w], 255 = knows nothing; None where it was not kept.
        latency_ms: from the frame's publication to the mask's; None where unknown.
    """

    labels: NDArray[np.uint8]
    entropy: NDArray[np.uint8] | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class ReplayFrame:
    """An answered frame of a drive, and everything known about it.

    Attributes:
        stamp_ns: of the image.
        image: uint8 [h,w,3] RGB.
        truth: uint8 [h,w] class ids, 255 = void; None where the drive has none.
        evidence: what the node could use for this frame.
        answer: of the node.
    """

    stamp_ns: int
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    evidence: tuple[Evidence, ...]
    answer: Answer


@dataclass(frozen=True)
class Transport:
    """How a drive went through the node.

    Attributes:
        mode: how frames were sent, in words.
        sent, answered: frames.
        node: counters of the node by name, as its diagnostics tell them ("dropped").
        duration_s: from the first frame to the last answer, wall clock.
        latency_ms: stamp-to-publish of every answered frame: from its publication, which is when a
            camera stamps it, to that of its mask; the way to the node through DDS counts.
        stage_ms: {"p50", "p90", "p99"} of every stage inside the node, by name, from diagnostics.
        convert_ms: what a message of each source takes to become evidence, p50, likewise.
    """

    mode: str
    sent: int
    answered: int
    node: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    latency_ms: tuple[float, ...] = ()
    stage_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    convert_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Frames without an answer."""
        return self.sent - self.answered

    @property
    def answers_per_second(self) -> float:
        """Answered frames per second of the drive."""
        return self.answered / self.duration_s if self.duration_s else 0.0


def known_pixels(evidence: tuple[Evidence, ...], height: int, width: int) -> NDArray[np.bool_]:
    """Where any of the evidence says something, bool [height,width]."""
    known = np.zeros((height, width), np.bool_)
    for one in evidence:
        known |= rescale(one, height, width).index > 0
    return known


def given_classes(evidence: tuple[Evidence, ...]) -> set[int]:
    """Ids of the classes that evidence names outright, as the only one possible at some pixel."""
    given: set[int] = set()
    for one in evidence:
        used = one.sets[np.unique(one.index)]
        given.update(used[used.sum(axis=1) == 1].argmax(axis=1).tolist())
    return given
