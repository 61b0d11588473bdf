"""Which of the evidence on offer takes part in a frame, and why the rest does not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from seg_perception.evidence.fuse import agreement, rescale
from seg_perception.evidence.record import Evidence


@dataclass(frozen=True)
class EvidenceReport:
    """What became of one source's evidence in one frame.

    Attributes:
        source: name of the source.
        age_ms: milliseconds between frame and evidence, >= 0 whichever came first.
        agreement: percent of its pixels whose label, in the end, is one it leaves possible;
            NaN if it was neither used nor doubted, or knows nothing.
        used: whether it took part.
        reason: why it was not used, or only in part; else empty.
    """

    source: str
    age_ms: float
    agreement: float
    used: bool
    reason: str = ""


class Verdict(Enum):
    """What happens to a piece of evidence; all but `USED` leave it out."""

    USED = "used"
    DOUBTED = "doubted"
    STALE = "stale"
    REJECTED = "rejected"
    MUTED = "muted"


@dataclass(frozen=True)
class Rules:
    """What evidence must meet to take part.

    Attributes:
        height: H of the model; evidence of another size is rescaled.
        width: W of the model.
        n_classes: C of the model.
        max_sets: S of the model; 0 = it takes no evidence.
        max_age_s: seconds that may lie between frame and evidence.
        trust: factor on the weight by source, default 1; 0 mutes a source.
        max_ages_s: as `max_age_s`, by source, where it is another.
        doubted: sources that take no part, with the percentage to which they agree with what the
            image shows for sure, see `SourceGate`.
    """

    height: int
    width: int
    n_classes: int
    max_sets: int
    max_age_s: float
    trust: Mapping[str, float]
    max_ages_s: Mapping[str, float] = field(default_factory=dict)
    doubted: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Selected:
    """One piece of evidence after the decision, of the model's size if it is used or doubted."""

    evidence: Evidence
    verdict: Verdict
    age_ms: float
    reason: str

    def after_doubts(self, doubted: Mapping[str, float]) -> Selected:
        """The decision once these sources are doubted, see `Rules.doubted`."""
        agreement = doubted.get(self.evidence.source)
        if self.verdict is not Verdict.USED or agreement is None:
            return self
        percent = math.ceil(100 - agreement)
        reason = f"it contradicts what the image shows for sure on {percent} % of it"
        return replace(self, verdict=Verdict.DOUBTED, reason=reason)

    def report(self, labels: NDArray[np.uint8], left_out_pixels: int) -> EvidenceReport:
        """The report, once the answer is there.

        Args:
            labels: uint8 [H, W] of the model's size, what the frame was answered with.
            left_out_pixels: pixels of all sources whose knowledge did not fit into the model.
        """
        used = self.verdict is Verdict.USED
        judged = used or self.verdict is Verdict.DOUBTED
        reason = self.reason
        if used and left_out_pixels:
            reason = f"{left_out_pixels} pixels left out: the model does not take so many sets"
        return EvidenceReport(
            source=self.evidence.source,
            age_ms=self.age_ms,
            agreement=agreement(self.evidence, labels) if judged else math.nan,
            used=used,
            reason=reason,
        )


def select(offered: Iterable[Evidence], stamp_ns: int, rules: Rules) -> tuple[Selected, ...]:
    """Decide about each piece of evidence for a frame of this stamp (nanoseconds)."""
    return tuple(_decide(evidence, stamp_ns, rules) for evidence in offered)


def _decide(evidence: Evidence, stamp_ns: int, rules: Rules) -> Selected:
    age_ms = abs(stamp_ns - evidence.stamp_ns) / 1e6
    trust = rules.trust.get(evidence.source, 1.0)
    if not rules.max_sets:
        return Selected(evidence, Verdict.REJECTED, age_ms, "the model takes no evidence")
    if evidence.n_classes != rules.n_classes:
        reason = f"it has {evidence.n_classes} classes, the model {rules.n_classes}"
        return Selected(evidence, Verdict.REJECTED, age_ms, reason)
    max_age_ms = 1e3 * rules.max_ages_s.get(evidence.source, rules.max_age_s)
    if age_ms > max_age_ms:
        reason = f"{age_ms:.0f} ms from the frame, at most {max_age_ms:.0f} are allowed"
        return Selected(evidence, Verdict.STALE, age_ms, reason)
    if trust == 0:
        return Selected(evidence, Verdict.MUTED, age_ms, "its trust is set to 0")
    if trust != 1:
        evidence = replace(evidence, weight=evidence.weight * np.float32(trust))
    fitting = rescale(evidence, rules.height, rules.width)
    return Selected(fitting, Verdict.USED, age_ms, "").after_doubts(rules.doubted)
