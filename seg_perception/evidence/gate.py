"""Which sources to believe: those that the image does not contradict en masse.

Evidence is there to contradict the network, so that contradiction alone is no fault. But where the
network is sure, it is seldom wrong over a whole region; a source that is misaligned, from another
frame or broken is wrong over whole regions, or would fit better elsewhere (`displaced`). Single
wrong pixels are left to the robust solve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import ConfigError
from seg_perception.evidence.displaced import misfit
from seg_perception.evidence.fuse import contradicted
from seg_perception.evidence.record import Evidence

MANY_PIXELS = 20_000
"""A source that knows more knows much."""

PIXELS_PER_CELL = 20
"""A source that knows little is counted in fewer, larger cells, so that chance evens out."""


@dataclass(frozen=True)
class GateRules:
    """When a source is checked and when it is doubted; agreements in percent of its pixels.

    A check compares with an answer made without evidence, and costs another run of the model. A
    source is checked in its first frames, when it agrees too little with the answer it took part in
    or with the answer before, and now and then.

    Attributes:
        suspicious: agreement with an answer below which the source is checked.
        margin: a source that passed a check although suspicious is checked again when it agrees
            less by this, or
        recheck_frames: after so many frames, or
        probe_frames: after so many frames without any suspicion.
        first_frames: a new source is checked in so many.
        least: a source that agrees less than this with what the image shows for sure is doubted ...
        displaced: ... and one that would agree better by more than this if it were moved sideways.
        confident: the image shows for sure what has at least this confidence, 0 to 255.
        recover_frames: a doubted source is believed again after so many good frames in a row.
        grid: rows and columns of the cells in which contradictions are counted ...
        massed: ... where they are more than this fraction of the source's pixels there.

    Raises:
        ConfigError: a percentage or fraction out of its range, or a count below 1.
    """

    suspicious: float = 98.5
    margin: float = 2.0
    recheck_frames: int = 10
    probe_frames: int = 100
    first_frames: int = 3
    least: float = 97.0
    displaced: float = 0.4
    confident: int = 250
    recover_frames: int = 3
    grid: tuple[int, int] = (11, 15)
    massed: float = 0.5

    def __post_init__(self) -> None:
        percent = (self.suspicious, self.least, 100 * self.massed)
        if not all(0 <= value <= 100 for value in percent):
            raise ConfigError(
                f"gate thresholds {self.suspicious} and {self.least} % and a massed fraction of "
                f"{self.massed}: give 0 to 100 and 0 to 1"
            )
        if min(self.recheck_frames, self.probe_frames, self.recover_frames, *self.grid) < 1:
            raise ConfigError("the gate's frames and grid must be 1 or more")


@dataclass
class _Standing:
    """What the gate remembers of a source.

    Attributes:
        doubted: it takes no part.
        agreement: percent, when it was judged last.
        good_frames: in a row, since it was doubted.
        passed_at: how much it agreed with the answer when it passed the last check.
        unchecked: frames since then.
        checked: how often it was judged.
    """

    doubted: bool = False
    agreement: float = math.nan
    good_frames: int = 0
    passed_at: float = math.inf
    unchecked: int = 0
    checked: int = 0


class SourceGate:
    """Remembers, from frame to frame, which sources deserve belief.

    `suspects` is asked after every answer and is cheap; only when it says so, and for sources that
    are doubted already, `judge` compares with an answer made without them.

    Args:
        rules: the thresholds.
    """

    def __init__(self, rules: GateRules | None = None) -> None:
        self._rules = rules or GateRules()
        self._standings: dict[str, _Standing] = {}
        self._before: NDArray[np.uint8] | None = None

    def reset(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._standings.clear()
        self._before = None

    def doubted(self) -> dict[str, float]:
        """The sources that should take no part, with their agreement in percent."""
        return {
            source: standing.agreement
            for source, standing in list(self._standings.items())
            if standing.doubted
        }

    def suspects(self, evidence: Sequence[Evidence], labels: NDArray[np.uint8]) -> bool:
        """Whether some of the evidence that took part in an answer should be judged.

        Args:
            evidence: of the size of the labels.
            labels: uint8 [H, W], the answer.
        """
        before, self._before = self._before, labels
        answers = [labels]
        if before is not None and before.shape == labels.shape:
            answers.append(before)
        due = [self._is_due(one, answers) for one in evidence]
        return any(due)

    def judge(
        self,
        evidence: Sequence[Evidence],
        labels: NDArray[np.uint8],
        confidence: NDArray[np.uint8],
    ) -> None:
        """Compare evidence with an answer in which it took no part.

        Where two sources contradict each other, that counts against the one that agrees less with
        the image.

        Args:
            evidence: of the size of the answer.
            labels: uint8 [H, W] of the answer.
            confidence: uint8 [H, W] of the answer, probability times 255.
        """
        sure = confidence >= self._rules.confident
        wrong = [contradicted(one, labels) & sure for one in evidence]
        agreements = [
            self._agreement(bad, (one.index > 0) & sure)
            for one, bad in zip(evidence, wrong, strict=True)
        ]
        misfits = [self._misfit(one, labels, sure) for one in evidence]
        believed: list[Evidence] = []
        for i in np.argsort([-agreement for agreement in agreements], kind="stable"):
            one, bad = evidence[i], wrong[i]
            for other in believed:
                bad = bad | _disjoint(one, other)
            known = (one.index > 0) & (sure | bad)
            if self._settle(one.source, self._agreement(bad, known), misfits[i]):
                believed.append(one)

    def _is_due(self, evidence: Evidence, answers: Sequence[NDArray[np.uint8]]) -> bool:
        """Whether to check a source, by its agreement with the newest answers."""
        rules = self._rules
        standing = self._standings.setdefault(evidence.source, _Standing())
        new = standing.checked < rules.first_frames
        standing.unchecked += 1
        step = _step(evidence)
        thin = replace(evidence, index=_thin(evidence.index, step))
        agreement = min(
            self._agreement(contradicted(thin, _thin(labels, step)), thin.index > 0)
            for labels in answers
        )
        patience = rules.recheck_frames if agreement < rules.suspicious else rules.probe_frames
        fell = agreement < min(rules.suspicious, standing.passed_at - rules.margin)
        due = new or fell or standing.unchecked >= patience
        if due:
            standing.passed_at = agreement
        return due

    def _misfit(
        self, evidence: Evidence, labels: NDArray[np.uint8], sure: NDArray[np.bool_]
    ) -> float:
        step = _step(evidence)
        thin = replace(evidence, index=_thin(evidence.index, step))
        return misfit(thin, _thin(labels, step), _thin(sure, step))

    def _settle(self, source: str, agreement: float, misfit: float) -> bool:
        """Take note of a judgement; whether the source is believed now."""
        standing = self._standings.setdefault(source, _Standing())
        standing.agreement, standing.unchecked = min(agreement, 100 - misfit), 0
        standing.checked += 1
        if agreement < self._rules.least or misfit > self._rules.displaced:
            standing.doubted, standing.good_frames = True, 0
            standing.passed_at = math.inf
        elif standing.doubted:
            standing.good_frames += 1
            standing.doubted = standing.good_frames < self._rules.recover_frames
        return not standing.doubted

    def _agreement(self, bad: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
        """100 less the percentage of known pixels that are wrong en masse; 100 of none."""
        n_known = np.count_nonzero(known)
        if not n_known:
            return 100.0
        rows, columns = self._rules.grid
        fewer = min(1.0, math.sqrt(n_known / (PIXELS_PER_CELL * rows * columns)))
        size = max(1, round(fewer * columns)), max(1, round(fewer * rows))
        bad_share, known_share = (
            cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            for mask in (bad, known)
        )
        massed = bad_share > self._rules.massed * known_share
        return float(100 - 100 * bad_share[massed].sum() / known_share.sum())


def _step(evidence: Evidence) -> int:
    """Of a source that knows much, only every so many rows and columns are looked at."""
    return 2 if np.count_nonzero(evidence.index) > MANY_PIXELS else 1


def _thin(values: NDArray[Any], step: int) -> NDArray[Any]:
    return np.ascontiguousarray(values[::step, ::step])


def _disjoint(first: Evidence, second: Evidence) -> NDArray[np.bool_]:
    """Where two sources leave no class possible together: bool [H, W]."""
    table = first.sets @ second.sets.T == 0
    pairs = first.index.astype(np.intp) * len(second.sets) + second.index
    return np.asarray(table.ravel().take(pairs))
