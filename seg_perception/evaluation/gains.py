"""What each source of evidence brings on its own: the same frames, answered with it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.drive import ReplayFrame, known_pixels
from seg_perception.evaluation.scores import ConfusionMatrix, Outcome
from seg_perception.evidence.fuse import agreement, rescale
from seg_perception.evidence.record import Evidence
from seg_perception.nearest import resize_nearest

GAIN_COLUMNS = {
    "frames": "frames",
    "known_percent": "known %",
    "true_percent": "true %",
    "miou_gain": "mIoU",
    "pixel_accuracy_gain": "accuracy",
    "outside_pixel_accuracy_gain": "outside acc.",
    "convert_ms": "ms",
}
"""The figures of a source, see `gain_rows`, and how they are called."""


@dataclass(frozen=True)
class SourceTally:
    """One source over some frames; tallies add up.

    Attributes:
        outcome: of the answers with this source alone, and without any where it had nothing.
        n_frames: how many frames it spoke to.
        n_known: labelled pixels it knew something about.
        n_true: those of them whose true class it left possible.
    """

    outcome: Outcome
    n_frames: int = 0
    n_known: int = 0
    n_true: float = 0.0

    def __add__(self, other: SourceTally) -> SourceTally:
        return SourceTally(
            self.outcome + other.outcome,
            self.n_frames + other.n_frames,
            self.n_known + other.n_known,
            self.n_true + other.n_true,
        )

    def to_record(self, without: Outcome, convert_ms: float | None) -> dict[str, float | None]:
        """The figures in percent and milliseconds.

        Args:
            without: of the answers without evidence.
            convert_ms: milliseconds that a message takes to become evidence, p50.
        """
        alone, n_pixels = self.outcome, self.outcome.everywhere.n_pixels
        return {
            "frames": self.n_frames,
            "known_percent": 100 * self.n_known / n_pixels if n_pixels else None,
            "true_percent": 100 * self.n_true / self.n_known if self.n_known else None,
            "miou": alone.everywhere.miou(),
            "miou_gain": alone.everywhere.miou() - without.everywhere.miou(),
            "pixel_accuracy_gain": alone.everywhere.pixel_accuracy
            - without.everywhere.pixel_accuracy,
            "outside_pixel_accuracy_gain": alone.outside.pixel_accuracy
            - without.outside.pixel_accuracy,
            "convert_ms": convert_ms,
        }


class SourceGains:
    """Adds up what each source brings over a drive.

    Args:
        comparer: answers with one source.
        n_classes: of the model.
    """

    def __init__(self, comparer: Comparer, n_classes: int) -> None:
        self._comparer, self._n_classes = comparer, n_classes
        nothing = ConfusionMatrix.empty(n_classes)
        self._silent = SourceTally(Outcome(nothing, nothing))
        self._tallies: dict[str, SourceTally] = {}

    def add(
        self, frame: ReplayFrame, truth: NDArray[np.uint8], uncorrected: NDArray[np.uint8]
    ) -> None:
        """Score one frame.

        Args:
            frame: with its evidence.
            truth: uint8 [H,W] class ids, 255 = void.
            uncorrected: uint8 [h,w], the answer without evidence.
        """
        known = known_pixels(frame.evidence, *truth.shape)

        def outcome(labels: NDArray[np.uint8]) -> Outcome:
            return Outcome.of(resize_nearest(labels, *truth.shape), truth, known, self._n_classes)

        silent = SourceTally(outcome(uncorrected))
        new = {
            one.source: _tally(outcome(self._comparer.labels(frame.image, (one,))), one, truth)
            for one in frame.evidence
        }
        for source in {**self._tallies, **new}:
            # A source that speaks up late was silent on all frames before.
            so_far = self._tallies.get(source, self._silent)
            self._tallies[source] = so_far + new.get(source, silent)
        self._silent += silent

    def to_record(self, convert_ms: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
        """The figures of each source; `convert_ms` as the node tells it, by source."""
        return {
            source: tally.to_record(self._silent.outcome, convert_ms.get(source))
            for source, tally in self._tallies.items()
        }


def gain_rows(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Text in the order of `GAIN_COLUMNS`, for each source alone and for what the node answered.

    Args:
        record: of a replay, see `ReplayResult.to_record`.
    """
    sources = record["sources"]
    if not sources:
        return {}
    rows = {**sources, "together": _together(record)}
    return {name: [_text(key, row[key]) for key in GAIN_COLUMNS] for name, row in rows.items()}


def _together(record: Mapping[str, Any]) -> dict[str, float | None]:
    """What all sources brought in the node, and what that cost it: converting and fusing."""
    corrected, refined = record["methods"]["corrected"], record["methods"]["refined"]
    costs = [row["convert_ms"] for row in record["sources"].values()]
    costs.append(record["stage_ms"].get("evidence", {}).get("p50"))

    def gain(key: str) -> float | None:
        after, before = corrected[key], refined[key]
        return None if after is None or before is None else after - before

    return {
        "frames": record["frames"]["scored"],
        "known_percent": None,
        "true_percent": None,
        "miou_gain": gain("miou"),
        "pixel_accuracy_gain": gain("pixel_accuracy"),
        "outside_pixel_accuracy_gain": gain("outside_pixel_accuracy"),
        "convert_ms": sum(cost for cost in costs if cost is not None),
    }


def _text(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key == "frames":
        return f"{value:.0f}"
    return f"{value:+.2f}" if key.endswith("_gain") else f"{value:.1f}"


def _tally(outcome: Outcome, evidence: Evidence, truth: NDArray[np.uint8]) -> SourceTally:
    fitting = rescale(evidence, *truth.shape)
    index = np.where(truth == VOID, np.uint8(0), fitting.index)
    n_known = int(np.count_nonzero(index))
    n_true = agreement(replace(fitting, index=index), truth) / 100 * n_known if n_known else 0.0
    return SourceTally(outcome, 1, n_known, n_true)
