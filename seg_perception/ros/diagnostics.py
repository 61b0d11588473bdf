"""What the node tells about itself on /diagnostics, and how to read it again.

One `DiagnosticStatus` named "<node>: perception". Its keys:

| key | value |
|---|---|
| `state` | lifecycle state |
| `bundle`, `runner`, `runner_reason` | what answers, and why that runtime was chosen |
| `build.phase`, `.done`, `.total`, `.percent`, `.seconds` | while an engine is built |
| `camera` | its calibration; whether its lens bends lines, so that images must come rectified |
| `frames.received`, `.answered`, `.failed` | counts |
| `frames.dropped` | frames that a newer one overtook |
| `frames.lost` | images that the middleware lost before the node saw them |
| `frames.clock_jumps` | frames that were older than the one before |
| `frames.per_second` | answers per second |
| `stage.<name>.p50_ms`, `.p90_ms`, `.p99_ms` | milliseconds over the last frames, see `STAGES` |
| `evidence.used`, `.stale`, `.rejected`, `.doubted` | counts |
| `evidence.<source>.age_ms`, `.agreement_percent` | of the last answer |
| `evidence.<source>.reason` | why it was not used in the last answer; empty if it was |
| `evidence.<source>.per_second` | messages that became evidence, per second |
| `evidence.<source>.convert_ms` | milliseconds that takes, p50 over the last ones |
| `evidence.<source>.skipped` | messages that no frame needed, and that were not looked at |
| `faults.<cause>`, `faults.<cause>.last` | how often, and the last message, see `FAULTS` |
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from seg_perception.perceiver import Counters, EvidenceReport
from seg_perception.timing import Percentiles, StageHistory

STATUS_SUFFIX = ": perception"
STAGES = {
    "decode": "message to array",
    "wait": "in the mailbox, for the frame before",
    "resize": "to the model's size",
    "gather": "until sensor messages that came before are evidence, moved to the frame's moment",
    "evidence": "fusing what is known",
    "infer": "the model",
    "restore": "to the image's size",
    "publish": "arrays to messages and into the middleware",
    "overlay": "only while subscribed",
    "receive_to_publish": "from the image's arrival in the node to the end of publish",
    "stamp_to_publish": "from the image's stamp to the end of publish, by the node's clock",
}
"""The stages of a frame in order; resize to restore are those of `Perception.timings`."""

FAULTS = {
    "image": "a message on image that cannot be read",
    "image/compressed": "likewise",
    "camera_info": "a message that cannot be read, or a camera without pixels",
    "odometry": "a message that cannot be read",
    "transforms": "a transform of TF that is no rigid motion, or names no two frames",
    "evidence/labels": "a message that cannot be read, or evidence that was not used as a whole",
    "evidence/lane_mask": "likewise",
    "evidence/lane_left": "likewise, or there was no camera_info yet",
    "evidence/lane_right": "likewise",
    "evidence/lane_borders": "the two together were not used as a whole",
    "evidence/depth": "as evidence/lane_left, or no ground is seen",
    "evidence/points": "likewise",
    "second_camera": "images of different frame_id come mixed",
    "clock_jump": "an image is older than the one before",
    "image_lost": "the middleware lost images",
    "inference": "the model failed on a frame, or its answer could not be published",
    "uniform_mask": "an answer has one class only",
    "subscriber_qos": "a subscriber asks for a QoS that is not offered, and gets nothing",
}
"""The causes of faults. Each is logged once and counted from then on."""

RATE_WINDOW_S = 5.0
"""What happened in this last while makes up `frames.per_second` and its like."""
RATE_LENGTH = 500

NO_CAMERA_NEEDED = "not needed"
"""`camera`, where the model takes no evidence."""

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Sensed:
    """How the messages of one source become evidence.

    Attributes:
        per_second: how many.
        convert_ms: milliseconds each, p50.
        skipped: messages that no frame needed.
    """

    per_second: float
    convert_ms: float
    skipped: int = 0


@dataclass(frozen=True)
class Snapshot:
    """All that diagnostics tell, at one moment.

    Attributes:
        facts: state, bundle, runner and the like, by key.
        counters: of the perceiver; None before it was configured.
        stages: percentiles by the name of the stage.
        evidence: of the last answer.
        sensed: how the messages of each source become evidence.
        per_second: answers per second.
        lost: images lost by the middleware.
        faults: how often each cause happened.
        fault_messages: the last message of each.
    """

    facts: Mapping[str, str]
    counters: Counters | None = None
    stages: Mapping[str, Percentiles] = field(default_factory=dict)
    evidence: tuple[EvidenceReport, ...] = ()
    sensed: Mapping[str, Sensed] = field(default_factory=dict)
    per_second: float = 0.0
    lost: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    fault_messages: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, str]:
        """By the keys of this module's table."""
        return {
            **self.facts,
            **self._frames(),
            **self._stages(),
            **self._evidence(),
            **{f"faults.{cause}": str(count) for cause, count in self.faults.items()},
            **{f"faults.{cause}.last": said for cause, said in self.fault_messages.items()},
        }

    def _frames(self) -> dict[str, str]:
        counters = self.counters or Counters()
        return {
            "frames.received": str(counters.received),
            "frames.answered": str(counters.answered),
            "frames.dropped": str(counters.dropped),
            "frames.failed": str(counters.failed),
            "frames.clock_jumps": str(counters.clock_jumps),
            "frames.lost": str(self.lost),
            "frames.per_second": f"{self.per_second:.2f}",
        }

    def _stages(self) -> dict[str, str]:
        return {
            f"stage.{stage}.{name}": f"{value:.3f}"
            for stage in STAGES
            if stage in self.stages
            for name, value in vars(self.stages[stage]).items()
        }

    def _evidence(self) -> dict[str, str]:
        counters = self.counters or Counters()
        values = {
            "evidence.used": str(counters.evidence_used),
            "evidence.stale": str(counters.evidence_stale),
            "evidence.rejected": str(counters.evidence_rejected),
            "evidence.doubted": str(counters.evidence_doubted),
        }
        for report in self.evidence:
            values[f"evidence.{report.source}.age_ms"] = f"{report.age_ms:.1f}"
            values[f"evidence.{report.source}.agreement_percent"] = f"{report.agreement:.2f}"
            values[f"evidence.{report.source}.reason"] = report.reason
        for source, sensed in self.sensed.items():
            values[f"evidence.{source}.per_second"] = f"{sensed.per_second:.2f}"
            values[f"evidence.{source}.convert_ms"] = f"{sensed.convert_ms:.3f}"
            values[f"evidence.{source}.skipped"] = str(sensed.skipped)
        return values


def to_status(node: str, level: bytes, message: str, snapshot: Snapshot) -> DiagnosticStatus:
    """As a message; `node` is the node's full name without the leading slash."""
    pairs = [KeyValue(key=key, value=value) for key, value in snapshot.values().items()]
    return DiagnosticStatus(
        level=level,
        name=node + STATUS_SUFFIX,
        message=message,
        values=pairs,
    )


@dataclass(frozen=True)
class NodeReport:
    """One status of a node, read again.

    Attributes:
        level: `OK`, `WARN` or `ERROR`.
        message: for people.
        values: by the keys of this module's table.
    """

    level: bytes
    message: str
    values: Mapping[str, str]

    @property
    def state(self) -> str:
        """Lifecycle state of the node, e.g. "active"."""
        return self.values.get("state", "")

    @property
    def cannot_start(self) -> bool:
        """Whether it failed on the way to "active"; there, no image at all is an error as well."""
        return self.level == ERROR and self.state != "active"

    @property
    def takes_evidence(self) -> bool:
        """Whether the model takes evidence, so that the node listens to sensors."""
        return self.values.get("camera") != NO_CAMERA_NEEDED

    def count(self, key: str) -> int:
        """A count, e.g. of "frames.dropped"; 0 if the node does not tell it."""
        return int(self.values.get(key, "0"))

    def conversions(self) -> dict[str, float]:
        """Milliseconds that a message takes to become evidence, p50, by source."""
        ends = ("evidence.", ".convert_ms")
        return {
            key.removeprefix(ends[0]).removesuffix(ends[1]): float(value)
            for key, value in self.values.items()
            if key.startswith(ends[0]) and key.endswith(ends[1])
        }

    def stages(self) -> dict[str, dict[str, float]]:
        """{"p50", "p90", "p99"} in milliseconds by the name of the stage."""
        found: dict[str, dict[str, float]] = {}
        for key, value in self.values.items():
            if key.startswith("stage."):
                _, stage, name = key.split(".")
                found.setdefault(stage, {})[name.removesuffix("_ms")] = float(value)
        return found


def read_status(message: DiagnosticArray, node: str) -> NodeReport | None:
    """What a node of this full name (without the leading slash) tells, if it is in the message."""
    for status in message.status:
        if status.name == node + STATUS_SUFFIX:
            values = {pair.key: pair.value for pair in status.values}
            return NodeReport(status.level, status.message, values)
    return None


class Journal:
    """Collects what happens to frames, from any thread; one per configuration of the node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages = StageHistory()
        self._answered: deque[float] = deque(maxlen=RATE_LENGTH)
        self._sensed: dict[str, deque[float]] = {}
        self._conversions = StageHistory()
        self._skipped: Counter[str] = Counter()
        self._evidence: tuple[EvidenceReport, ...] = ()
        self._faults: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._told: Counter[str] = Counter()
        self._lost = 0
        self._last_answer_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since the last answer, or since `restart`."""
        return time.monotonic() - self._last_answer_s

    def restart(self) -> None:
        """Answers are expected from now on."""
        self._last_answer_s = time.monotonic()

    def answered(
        self, timings: Mapping[str, float], evidence: Iterable[EvidenceReport] = ()
    ) -> None:
        """A frame was answered and published; `timings` in milliseconds by stage."""
        with self._lock:
            self._stages.add(timings)
            self._last_answer_s = time.monotonic()
            self._answered.append(self._last_answer_s)
            self._evidence = tuple(evidence)

    def sensed(self, source: str, took_ms: float) -> None:
        """A message of a source became evidence, which took so many milliseconds."""
        with self._lock:
            self._conversions.add({source: took_ms})
            moments = self._sensed.setdefault(source, deque(maxlen=RATE_LENGTH))
            moments.append(time.monotonic())

    def skipped(self, source: str) -> None:
        """A message of a source was not looked at."""
        with self._lock:
            self._skipped[source] += 1

    def lost(self, total: int) -> None:
        """The middleware has lost this many images so far."""
        with self._lock:
            self._lost = total

    def fault(self, cause: str, message: str) -> bool:
        """Count something that went wrong; return whether it is the first time."""
        with self._lock:
            self._faults[cause] += 1
            self._said[cause] = message
            return self._faults[cause] == 1

    def new_faults(self) -> dict[str, str]:
        """Last message of every cause that happened since the last call, by cause."""
        with self._lock:
            new = {
                cause: self._said[cause]
                for cause, count in self._faults.items()
                if count > self._told[cause]
            }
            self._told = Counter(self._faults)
            return new

    def snapshot(self, facts: Mapping[str, str], counters: Counters | None) -> Snapshot:
        """Everything so far."""
        with self._lock:
            return Snapshot(
                facts=facts,
                counters=counters,
                stages=self._stages.percentiles(),
                evidence=self._evidence,
                sensed=self._sensed_so_far(),
                per_second=_per_second(self._answered),
                lost=self._lost,
                faults=dict(self._faults),
                fault_messages=dict(self._said),
            )

    def per_second(self) -> float:
        """Answers per second over the last seconds."""
        with self._lock:
            return _per_second(self._answered)

    def _sensed_so_far(self) -> dict[str, Sensed]:
        took = self._conversions.percentiles()
        return {
            source: Sensed(_per_second(moments), took[source].p50_ms, self._skipped[source])
            for source, moments in self._sensed.items()
        }


def _per_second(moments: Iterable[float]) -> float:
    """How often something happened over the last while; moments of `time.monotonic`."""
    since = time.monotonic() - RATE_WINDOW_S
    recent = [moment for moment in moments if moment >= since]
    return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0
