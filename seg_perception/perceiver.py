"""Frame and evidence in, `Perception` out: newest frame first, stages timed, nothing fatal."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import ConfigError, RunnerError, SegPerceptionError
from seg_perception.evidence.buffer import EvidenceBuffer
from seg_perception.evidence.fuse import evidence_inputs, fuse
from seg_perception.evidence.gate import SourceGate
from seg_perception.evidence.previous import PreviousCode, thumbnail
from seg_perception.evidence.record import Evidence
from seg_perception.evidence.select import EvidenceReport, Rules, Selected, Verdict, select
from seg_perception.mailbox import Mailbox
from seg_perception.nearest import resize_nearest
from seg_perception.runtime.bundle import UNREFINED_OUTPUT
from seg_perception.runtime.runner import Runner
from seg_perception.timing import Percentiles, StageHistory, Stopwatch
from seg_perception.turns import Turns

__all__ = ["Counters", "EvidenceReport", "Frame", "Perceiver", "Perception"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image.

    Attributes:
        image: uint8 [h, w, 3] RGB, any size.
        stamp_ns: moment of exposure, nanoseconds, any clock shared with the evidence.
        header: whatever the caller needs to find again in the `Perception`; not looked at.

    Raises:
        RunnerError: `image` is not such an array.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    header: Any = None

    def __post_init__(self) -> None:
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise RunnerError(
                f"the frame is {image.dtype} {list(image.shape)}: "
                "give a uint8 image [h, w, 3] RGB of at least one pixel"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True, eq=False)
class Perception:
    """The answer to one frame.

    Attributes:
        frame: what was asked.
        labels: uint8 [h, w] of the frame's size, class ids.
        confidence: uint8 [h, w], probability of the label times 255.
        entropy: uint8 [h, w], 255 = nothing can be told.
        labels_unrefined: uint8 [h, w], class ids before refinement and correction; None unless
            `Perceiver.unrefined` is set.
        code: float32 [1, K], the optimised code; None if the model has none.
        timings: milliseconds by stage: wait (in the mailbox), resize, gather (what is known),
            evidence (fusing it), infer, restore, and their sum, total.
        evidence: what became of each source's evidence.
        known: what took part of it, joined, of the model's size; None if nothing did.
    """

    frame: Frame
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    entropy: NDArray[np.uint8]
    labels_unrefined: NDArray[np.uint8] | None
    code: NDArray[np.float32] | None
    timings: Mapping[str, float]
    evidence: tuple[EvidenceReport, ...] = ()
    known: Evidence | None = None


@dataclass(frozen=True)
class Counters:
    """What happened so far. Once idle: received = answered + dropped + failed.

    Attributes:
        received: frames given to `submit` or `perceive`.
        answered: frames that became a `Perception`.
        dropped: frames that a newer one, or `stop`, overtook.
        failed: frames that ended in an error.
        clock_jumps: frames that were older than the one before.
        evidence_used: how often evidence took part in an answer.
        evidence_stale: how often it was left out for its age.
        evidence_rejected: how often it was left out because the model cannot take it.
        evidence_muted: how often it was left out because its source is trusted by 0.
        evidence_doubted: how often it was left out because the image contradicts it en masse.
        errors: errors by the name of their class, those of the callback included.
    """

    received: int = 0
    answered: int = 0
    dropped: int = 0
    failed: int = 0
    clock_jumps: int = 0
    evidence_used: int = 0
    evidence_stale: int = 0
    evidence_rejected: int = 0
    evidence_muted: int = 0
    evidence_doubted: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


class Supply(Protocol):
    """Where the workers' evidence comes from, such as an `EvidenceBuffer`; for any thread."""

    def add(self, evidence: Evidence) -> None:
        """Remember evidence."""

    def nearest(self, stamp_ns: int) -> tuple[Evidence, ...]:
        """What each source knew nearest to a moment, nanoseconds."""

    def clear(self) -> None:
        """Forget everything: the clock jumped back."""


@dataclass(frozen=True, eq=False)
class _Begun:
    """A frame that a worker has begun with.

    Attributes:
        frame: the image.
        waited_ms: in the mailbox, milliseconds.
        number: its place among the answers.
        era: of the clock, see `Perceiver._notice_clock`.
    """

    frame: Frame
    waited_ms: float
    number: int
    era: int


class _Crew:
    """The workers between one `start` and its `stop`.

    Attributes:
        mailbox: holds the frame that none of them has begun with.
        taking: held by the one who waits for it.
        turns: the order of their answers.
        not_before: when the next frame may begin, seconds of `time.monotonic`.
        silenced: whether nothing more is to be told.
        threads: the workers.
    """

    def __init__(self) -> None:
        self.mailbox: Mailbox[Frame] = Mailbox()
        self.taking = threading.Lock()
        self.turns = Turns()
        self.not_before = 0.0
        self.silenced = False
        self.threads: tuple[threading.Thread, ...] = ()


class _NonNegative:
    """A setting of `Perceiver`: a finite number >= 0, replaceable from any thread."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Perceiver, owner: type | None = None) -> float:
        value: float = instance.__dict__[self._name]
        return value

    def __set__(self, instance: Perceiver, value: float) -> None:
        instance.__dict__[self._name] = _non_negative(self._name, value)


class Perceiver:
    """Answers frames with a runner, corrected by what evidence there is.

    Synchronously by `perceive`; or with workers between `start` and `stop`, for which frames are
    submitted and evidence is offered as they come. There are as many workers as the runner can have
    frames in flight; answers come one at a time, in the order of the frames. All methods may be
    called from any thread.

    Attributes:
        evidence_max_age_s: evidence further than this from its frame is left out; seconds.
        evidence_max_ages_s: the same by source, where it is another.
        temporal_precision: how far to trust the code of the newest frame that is finished when this
            one begins to be answered; it decays with the time between them and the change of the
            image. 0 = every frame starts anew.
        min_period_s: rate limit of the workers, seconds between the starts of two frames.
        supply: where the workers' evidence comes from; set it while none runs.
        unrefined: whether answers hold `labels_unrefined`, which costs 2 ms at 480x360.
        runner: what answers. It is not closed here.
        gate: decides which sources to believe, at the price of more runs of the model where it
            becomes suspicious; None = all.

    All settings can be changed at any time; a frame is answered with those it began with.

    Raises:
        ConfigError: a setting is negative or not finite.
    """

    evidence_max_age_s = _NonNegative()
    temporal_precision = _NonNegative()
    min_period_s = _NonNegative()

    def __init__(
        self,
        runner: Runner,
        *,
        evidence_max_age_s: float = 0.5,
        temporal_precision: float = 0.0,
        gate: SourceGate | None = None,
    ) -> None:
        self.runner = runner
        self.gate = gate
        self.evidence_max_age_s = evidence_max_age_s
        self.temporal_precision = temporal_precision
        self.min_period_s = 0.0
        self.unrefined = False
        self.supply: Supply = EvidenceBuffer()
        self.evidence_max_ages_s: Mapping[str, float] = {}
        self._trust: dict[str, float] = {}
        self._iterations: dict[str, int] = runner.bundle.manifest.looped_refiners
        self._lock = threading.Lock()
        self._judging = threading.Lock()
        self._era = 0
        self._tally: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._history = StageHistory()
        self._previous: PreviousCode | None = None
        self._last_stamp_ns: int | None = None
        self._crew = _Crew()
        self._crew.mailbox.close()

    @property
    def evidence_trust(self) -> Mapping[str, float]:
        """Factor on the weight of evidence by its source, default 1; 0 mutes a source."""
        return dict(self._trust)

    @evidence_trust.setter
    def evidence_trust(self, trust: Mapping[str, float]) -> None:
        self._trust = {
            source: _non_negative(f"evidence_trust[{source!r}]", factor)
            for source, factor in trust.items()
        }

    @property
    def refiner_iterations(self) -> Mapping[str, int]:
        """Steps of the model's looped refiners by name, at first the manifest's."""
        return dict(self._iterations)

    @refiner_iterations.setter
    def refiner_iterations(self, iterations: Mapping[str, int]) -> None:
        names = self.runner.bundle.manifest.looped_refiners
        for name, count in iterations.items():
            if name not in names or count < 0:
                known = ", ".join(names) or "no refiner"
                raise ConfigError(f"{count} iterations of {name!r}: give 0 or more for {known}")
        self._iterations = {**names, **iterations}

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        with self._lock:
            return Counters(**self._tally, errors=dict(self._errors))

    def latencies(self) -> dict[str, Percentiles]:
        """Percentiles of every stage over the last frames, by the names of `Perception.timings`."""
        with self._lock:
            return self._history.percentiles()

    def perceive(self, frame: Frame, evidence: Sequence[Evidence] = ()) -> Perception:
        """Answer one frame now, in the caller's thread.

        Args:
            frame: the image.
            evidence: what is known, at most one per source; offers made for the workers are
                not used here.

        Raises:
            SegPerceptionError: the runner failed.
        """
        self._count(received=1)
        era = self._notice_clock(frame)
        return self._answer(frame, lambda _: evidence, 0.0, era)

    def start(
        self,
        on_perception: Callable[[Perception], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Start the workers; what earlier ones remembered is forgotten.

        Args:
            on_perception: gets every answer, in a worker's thread, which waits for it.
            on_error: gets every error, those of `on_perception` too; the workers live on. It is
                called for a frame when its answer would have been told.

        Raises:
            SegPerceptionError: it runs already.
        """
        with self._lock:
            if self._crew.threads:
                raise SegPerceptionError("the perceiver runs already: call stop() first")
            self._forget()
            self._last_stamp_ns = None
            crew = self._crew = _Crew()
            crew.threads = tuple(
                threading.Thread(
                    target=self._work,
                    args=(crew, on_perception, on_error),
                    name="perceiver",
                    daemon=True,
                )
                for _ in range(self.runner.frames_in_flight)
            )
            for thread in crew.threads:
                thread.start()

    def stop(self) -> None:
        """Stop the workers after the frames they are at, and wait for that; idempotent.

        A frame still waiting is dropped. From within a callback it returns at once instead, and
        nothing is told after that callback.
        """
        with self._lock:
            crew = self._crew
            threads, crew.threads = crew.threads, ()
            lost = crew.mailbox.close()
        self._count(dropped=int(lost))
        if threading.current_thread() in threads:
            # Those behind it in the row wait for its end: to join them would be for ever.
            crew.silenced = True
            return
        for thread in threads:
            thread.join()

    def submit(self, frame: Frame) -> None:
        """Give the workers a frame, in place of any that none has begun with."""
        self._count(received=1)
        lost = self._crew.mailbox.put(frame)
        self._count(dropped=int(lost))

    def offer(self, evidence: Evidence) -> None:
        """Give the workers evidence; a frame takes what is nearest to it in time of each source."""
        self.supply.add(evidence)

    def _work(
        self,
        crew: _Crew,
        on_perception: Callable[[Perception], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        while (begun := self._begin(crew)) is not None:
            answer: Perception | Exception
            try:
                answer = self._answer(begun.frame, self.supply.nearest, begun.waited_ms, begun.era)
            except Exception as error:
                answer = error
            with crew.turns.turn(begun.number):
                if not crew.silenced:
                    self._say(answer, on_perception, on_error)

    def _begin(self, crew: _Crew) -> _Begun | None:
        """The next frame; its place in the row and in time are settled before another is taken."""
        with crew.taking:
            post = crew.mailbox.take(crew.not_before)
            if post is None:
                return None
            frame, waited_ms = post
            crew.not_before = time.monotonic() + self.min_period_s
            era = self._notice_clock(frame)
            return _Begun(frame, waited_ms, crew.turns.begin(), era)

    def _say(
        self,
        answer: Perception | Exception,
        on_perception: Callable[[Perception], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        if isinstance(answer, Exception):
            _tell(on_error, answer)
            return
        try:
            on_perception(answer)
        except Exception as error:
            self._count_error(error)
            _tell(on_error, error)

    def _answer(
        self,
        frame: Frame,
        known_at: Callable[[int], Sequence[Evidence]],
        waited_ms: float,
        era: int,
    ) -> Perception:
        """Answer and count; `known_at` gives the evidence of a moment in nanoseconds."""
        try:
            perception = self._perceive(frame, known_at, waited_ms, era)
        except Exception as error:
            self._count(failed=1)
            self._count_error(error)
            raise
        with self._lock:
            self._tally["answered"] += 1
            self._history.add(perception.timings)
        return perception

    def _perceive(
        self,
        frame: Frame,
        known_at: Callable[[int], Sequence[Evidence]],
        waited_ms: float,
        era: int,
    ) -> Perception:
        manifest = self.runner.bundle.manifest
        watch = Stopwatch({"wait": waited_ms})
        image = fit_image(frame.image, manifest.height, manifest.width)
        watch.lap("resize")
        offered = known_at(frame.stamp_ns)
        watch.lap("gather")
        selection = self._select(frame, offered)
        fused = self._fuse(selection)
        watch.lap("evidence")
        seen = thumbnail(image)
        inputs = {"image": image[None], **self._prior(frame, seen)}
        answers = self._run(inputs, fused)
        if self.gate is not None:
            with self._judging:
                selection, fused, answers = self._gated(
                    self.gate, selection, fused, answers, inputs
                )
        watch.lap("infer")
        self._count(**Counter(f"evidence_{one.verdict.value}" for one in selection))
        code = answers.get("code")
        self._remember(frame, code, seen, era)
        maps: dict[str, Any] = {
            name: resize_nearest(answers[name][0], *frame.size)
            for name in answers.keys() - {"code"}
        }
        maps.setdefault(UNREFINED_OUTPUT, None)
        left_out = 0 if fused is None else fused.left_out_pixels
        reports = tuple(one.report(answers["labels"][0], left_out) for one in selection)
        watch.lap("restore")
        watch.timings["total"] = sum(watch.timings.values())
        return Perception(
            frame,
            **maps,
            code=code,
            timings=watch.timings,
            evidence=reports,
            known=fused,
        )

    def _run(self, inputs: Mapping[str, Any], fused: Evidence | None) -> dict[str, NDArray[Any]]:
        """Run the model with the evidence, if there is any."""
        max_sets = self.runner.bundle.manifest.max_sets
        known = {} if fused is None else evidence_inputs(fused, max_sets)
        if self._iterations:
            known["refiner_iterations"] = np.array([*self._iterations.values()], np.int64)
        return self.runner.run({**inputs, **known}, self._outputs())

    def _gated(
        self,
        gate: SourceGate,
        selection: tuple[Selected, ...],
        fused: Evidence | None,
        answers: dict[str, NDArray[Any]],
        inputs: Mapping[str, Any],
    ) -> tuple[tuple[Selected, ...], Evidence | None, dict[str, NDArray[Any]]]:
        """Judge the sources; where some lost belief, decide, fuse and answer without them."""
        used, doubted = (_with(selection, v) for v in (Verdict.USED, Verdict.DOUBTED))
        if not (used and gate.suspects(used, answers["labels"][0])):
            if doubted:
                gate.judge(doubted, answers["labels"][0], answers["confidence"][0])
            return selection, fused, answers
        without = self._run(inputs, None)
        gate.judge([*used, *doubted], without["labels"][0], without["confidence"][0])
        judged = tuple(one.after_doubts(gate.doubted()) for one in selection)
        if len(_with(judged, Verdict.USED)) == len(used):
            return selection, fused, answers
        fused = self._fuse(judged)
        return judged, fused, without if fused is None else self._run(inputs, fused)

    def _fuse(self, selection: Sequence[Selected]) -> Evidence | None:
        """What the model is told; None if nothing takes part."""
        used = _with(selection, Verdict.USED)
        if not used:
            return None
        manifest = self.runner.bundle.manifest
        return fuse(used, manifest.height, manifest.width, manifest.n_classes, manifest.max_sets)

    def _outputs(self) -> tuple[str, ...]:
        outputs = self.runner.bundle.manifest.default_outputs
        return (*outputs, UNREFINED_OUTPUT) if self.unrefined else outputs

    def _select(self, frame: Frame, offered: Sequence[Evidence]) -> tuple[Selected, ...]:
        """Decide which evidence takes part."""
        manifest = self.runner.bundle.manifest
        rules = Rules(
            height=manifest.height,
            width=manifest.width,
            n_classes=manifest.n_classes,
            max_sets=manifest.max_sets,
            max_age_s=self.evidence_max_age_s,
            max_ages_s=self.evidence_max_ages_s,
            trust=self._trust,
            doubted={} if self.gate is None else self.gate.doubted(),
        )
        return select(offered, frame.stamp_ns, rules)

    def _notice_clock(self, frame: Frame) -> int:
        """After a jump back, nothing remembered belongs to the time of this frame.

        Returns:
            The era that the frame belongs to: a frame of an earlier one, still in flight, must not
            leave anything to those of a later one.
        """
        with self._lock:
            last, self._last_stamp_ns = self._last_stamp_ns, frame.stamp_ns
            if last is not None and frame.stamp_ns < last:
                self._tally["clock_jumps"] += 1
                self._forget()
            return self._era

    def _forget(self) -> None:
        self._era += 1
        self.supply.clear()
        self._previous = None
        if self.gate is not None:
            self.gate.reset()

    def _prior(self, frame: Frame, seen: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """The graph inputs `prior_code` and `prior_precision`, if there is a prior."""
        previous, fresh = self._previous, self.temporal_precision
        if previous is None or previous.size != frame.size or not fresh:
            return {}
        precision = previous.precision(frame.stamp_ns, seen, fresh)
        return {"prior_code": previous.code, "prior_precision": np.array([precision], np.float32)}

    def _remember(
        self, frame: Frame, code: NDArray[np.float32] | None, seen: NDArray[np.float32], era: int
    ) -> None:
        # A code that diverged must not spoil the frames after it.
        if code is None or not np.isfinite(code).all():
            return
        with self._lock:
            newer = self._previous is not None and self._previous.stamp_ns > frame.stamp_ns
            if era == self._era and not newer:
                self._previous = PreviousCode(code, frame.stamp_ns, frame.size, seen)

    def _count(self, **increments: int) -> None:
        with self._lock:
            self._tally.update(increments)

    def _count_error(self, error: Exception) -> None:
        with self._lock:
            self._errors[type(error).__name__] += 1


def fit_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The image [h, w, 3] as [height, width, 3]; itself if it fits."""
    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    if h < height or w < width:
        return _resized(image, height, width, cv2.INTER_LINEAR)
    # Averaging 2x2 pixels is vectorised, by other factors it is not: half the time for 2048x1024.
    while h >= 2 * height and w >= 2 * width:
        h, w = h // 2, w // 2
        image = _resized(image, h, w, cv2.INTER_AREA)
    return _resized(image, height, width, cv2.INTER_AREA)


def _resized(image: NDArray[np.uint8], height: int, width: int, method: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _with(selection: Sequence[Selected], verdict: Verdict) -> list[Evidence]:
    return [one.evidence for one in selection if one.verdict is verdict]


def _non_negative(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} is {value}: give a finite number >= 0")
    return float(value)


def _tell(on_error: Callable[[Exception], None], error: Exception) -> None:
    try:
        on_error(error)
    except Exception:
        _log.exception("on_error itself failed on %r", error)
