"""Scoring a replayed drive: what the node answered, beside what it would have said without help.

Four label maps of every frame are scored against the truth, on the same frames:

- `unrefined`: the network alone;
- `refined`: with refinement, without evidence;
- `replaced`: `refined` with its scores restricted to what the evidence allows, pixel by pixel;
- `corrected`: what the node answered, evidence and all.

The node publishes only the last, so that the first three are computed here, by the same bundle,
from the same images and evidence, after the drive (where they cannot slow the node down).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.evaluation.compare import REPLACED, Comparer
from seg_perception.evaluation.drive import ReplayFrame, Transport, given_classes, known_pixels
from seg_perception.evaluation.gains import SourceGains
from seg_perception.evaluation.gallery import Exhibit, Gallery
from seg_perception.evaluation.plain import percentile_record, without_nan
from seg_perception.evaluation.scores import (
    BoundaryScore,
    Outcome,
)
from seg_perception.nearest import resize_nearest

METHODS = ("unrefined", "refined", "replaced", "corrected")


@dataclass(frozen=True)
class Tally:
    """Scores of one method; tallies of several frames add up."""

    outcome: Outcome
    boundary: BoundaryScore

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.outcome + other.outcome, self.boundary + other.boundary)


@dataclass(frozen=True)
class FrameScore:
    """One answered frame: its pixel accuracy in percent by method, and its latency."""

    stamp_ns: int
    pixel_accuracy: Mapping[str, float]
    latency_ms: float | None


@dataclass(frozen=True)
class ReplayResult:
    """All that is known after a replay.

    Attributes:
        classes: of the model.
        given: ids of the classes that evidence named outright.
        tallies: by method, those of `METHODS` that could be computed; empty without truth.
        frames: the answered frames in order.
        exhibits: a few of them in pictures.
        transport: counts and latencies.
        sources: what each source of evidence brought alone; empty without truth.
    """

    classes: tuple[ClassInfo, ...]
    given: tuple[int, ...]
    tallies: Mapping[str, Tally]
    frames: tuple[FrameScore, ...]
    exhibits: tuple[Exhibit, ...]
    transport: Transport
    sources: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    @property
    def node_counts(self) -> str:
        """What the node has counted, in words; of single sources only what happened."""
        counted = self.transport.node
        counts = {key: n for key, n in counted.items() if n or key.count(".") == 1}
        told = [
            f"{what}: "
            + ", ".join(
                f"{count} {key.removeprefix(what + '.').replace('_', ' ').replace('.', ' ')}"
                for key, count in counts.items()
                if key.startswith(what + ".")
            )
            for what in ("frames", "evidence", "faults")
            if any(key.startswith(what + ".") for key in counts)
        ]
        return "; ".join(told) or "it told nothing"

    def to_record(self) -> dict[str, Any]:
        """As plain JSON values; percent and milliseconds, null for what has no value."""
        record: dict[str, Any] = without_nan(
            {
                "frames": {
                    "sent": self.transport.sent,
                    "answered": self.transport.answered,
                    "dropped": self.transport.dropped,
                    "scored": sum(bool(frame.pixel_accuracy) for frame in self.frames),
                },
                "mode": self.transport.mode,
                "answers_per_second": self.transport.answers_per_second,
                "node": dict(self.transport.node),
                "stamp_to_publish_ms": percentile_record(self.transport.latency_ms),
                "stage_ms": {name: dict(p) for name, p in self.transport.stage_ms.items()},
                "evidence_classes": [self.classes[i].name for i in self.given],
                "sources": {name: dict(figures) for name, figures in self.sources.items()},
                "methods": {name: self._scores(tally) for name, tally in self.tallies.items()},
            }
        )
        return record

    def _scores(self, tally: Tally) -> dict[str, Any]:
        names = [info.name for info in self.classes]
        class_iou, class_f = tally.outcome.everywhere.class_iou, tally.boundary.class_f
        return {
            **tally.outcome.to_record(self.given),
            "boundary_f": tally.boundary.mean_f,
            "class_iou": dict(zip(names, class_iou.tolist(), strict=True)),
            "class_boundary_f": dict(zip(names, class_f.tolist(), strict=True)),
        }


def score_replay(
    frames: Iterable[ReplayFrame],
    transport: Transport,
    classes: Sequence[ClassInfo],
    comparer: Comparer | None,
) -> ReplayResult:
    """Score a drive frame by frame.

    Args:
        frames: the answered frames; each is looked at once, and few are kept.
        transport: of the same drive.
        classes: of the model.
        comparer: answers each frame without the node; None = score only what the node said.
    """
    scorer = Scorer(classes, comparer)
    for frame in frames:
        scorer.add(frame)
    return scorer.result(transport)


class Scorer:
    """Adds up a drive; see `score_replay`."""

    def __init__(self, classes: Sequence[ClassInfo], comparer: Comparer | None) -> None:
        self._classes = tuple(classes)
        self._comparer = comparer
        self._tallies: dict[str, Tally] = {}
        self._given: set[int] = set()
        self._frames: list[FrameScore] = []
        self._gallery = Gallery()
        self._gains = None if comparer is None else SourceGains(comparer, len(self._classes))

    def add(self, frame: ReplayFrame) -> None:
        """Score one frame."""
        maps = self._maps(frame, frame.answer.labels)
        accuracy = {} if frame.truth is None else self._score(frame, frame.truth, maps)
        self._given |= given_classes(frame.evidence)
        self._frames.append(FrameScore(frame.stamp_ns, accuracy, frame.answer.latency_ms))
        self._gallery.add(frame, maps, accuracy)

    def result(self, transport: Transport) -> ReplayResult:
        """Everything so far."""
        return ReplayResult(
            self._classes,
            tuple(sorted(self._given)),
            dict(self._tallies),
            tuple(self._frames),
            self._gallery.exhibits(),
            transport,
            {} if self._gains is None else self._gains.to_record(transport.convert_ms),
        )

    def _maps(
        self, frame: ReplayFrame, answered: NDArray[np.uint8]
    ) -> dict[str, NDArray[np.uint8]]:
        """Label map uint8 [h,w] by method, in the order of `METHODS`."""
        if self._comparer is None:
            return {"corrected": answered}
        uncorrected = self._comparer.uncorrected(frame.image)
        maps = {"unrefined": uncorrected["labels_unrefined"], "refined": uncorrected["labels"]}
        if frame.evidence:
            corrected = self._comparer.corrected(frame.image, frame.evidence, maps["refined"])
            maps["replaced"] = corrected[REPLACED]
        else:
            maps["replaced"] = maps["refined"]
        return {**maps, "corrected": answered}

    def _score(
        self,
        frame: ReplayFrame,
        truth: NDArray[np.uint8],
        maps: Mapping[str, NDArray[np.uint8]],
    ) -> dict[str, float]:
        """Add the frame to the tallies; its pixel accuracy by method."""
        if self._gains is not None:
            self._gains.add(frame, truth, maps["refined"])
        known = known_pixels(frame.evidence, *truth.shape)
        n_classes = len(self._classes)
        accuracy = {}
        for name, labels in maps.items():
            fitting = resize_nearest(labels, *truth.shape)
            tally = Tally(
                Outcome.of(fitting, truth, known, n_classes),
                BoundaryScore.of(fitting, truth, n_classes),
            )
            accuracy[name] = tally.outcome.everywhere.pixel_accuracy
            self._tallies[name] = self._tallies[name] + tally if name in self._tallies else tally
        return accuracy
