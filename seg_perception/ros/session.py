"""Everything that exists only while the node is configured: the model, and the topics around it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from seg_perception.errors import SegPerceptionError
from seg_perception.evidence.gate import SourceGate
from seg_perception.perceiver import Counters, Frame, Perceiver, Perception
from seg_perception.ros.diagnostics import NO_CAMERA_NEEDED, Journal
from seg_perception.ros.frames import Frames
from seg_perception.ros.inputs import Inputs, Received
from seg_perception.ros.intake import Intake
from seg_perception.ros.outputs import Outputs, Receipts
from seg_perception.ros.parameters import Settings
from seg_perception.ros.refiner_parameters import RefinerParameters
from seg_perception.ros.senses import make_senses
from seg_perception.ros.share import share_path
from seg_perception.runtime.bundle import check_bundle, load_bundle
from seg_perception.runtime.engine_cache import Progress
from seg_perception.runtime.runner import Runner, open_runner

LATENCY_LIMIT_MS = 60_000.0
"""An image whose stamp is further from now is of a recorded drive: that is no latency."""

LOST_ADVICE = (
    "the middleware lost images before the node saw them: see 'Large images' in the README"
)


class Session:
    """One configuration of the node, from `configure` to `cleanup`.

    Args:
        node: for which topics are made.
        settings: of its parameters.
        runner: what answers, with its bundle; closed with the session.

    Attributes:
        runner: see above.
        journal: what happened since.
        inputs: the subscriptions; None unless active.

    Raises:
        Exception: what a given parameter or QoS override makes rclpy raise; then nothing stays.
    """

    def __init__(self, node: LifecycleNode, settings: Settings, runner: Runner) -> None:
        self._node = node
        self.runner = runner
        self.journal = Journal()
        self.inputs: Inputs | None = None
        manifest = runner.bundle.manifest
        self._perceiver = Perceiver(self.runner)
        self._senses = make_senses(manifest, Frames(), settings)
        self._intake: Intake | None = None
        self._gate = SourceGate()
        self._receipts: Receipts | None = None
        self._new_evidence: set[str] = set()
        self._clock_jumps = 0
        with ExitStack() as made:
            refiners = RefinerParameters(node, self._perceiver)
            made.callback(refiners.destroy)
            if self._senses is not None:
                self._receipts = Receipts(node)
                made.callback(self._receipts.destroy)
            self._outputs = Outputs(node, manifest.classes, self.on_fault)
            made.callback(self._outputs.destroy)
            self.apply(settings)
            self._made = made.pop_all()

    @property
    def counters(self) -> Counters:
        """Counts of frames and evidence."""
        return self._perceiver.counters

    @property
    def camera(self) -> str:
        """What is known of the camera, in words."""
        return NO_CAMERA_NEEDED if self._senses is None else self._senses.camera_text

    def apply(self, settings: Settings) -> None:
        """Take over what may change at run time."""
        self._settings = settings
        self._perceiver.temporal_precision = settings.temporal_precision
        self._perceiver.min_period_s = 1.0 / settings.max_rate if settings.max_rate else 0.0
        sources = settings.evidence.by_source()
        self._perceiver.evidence_max_ages_s = {name: one.max_age for name, one in sources.items()}
        self._perceiver.evidence_trust = {name: one.trust for name, one in sources.items()}
        self._perceiver.gate = self._gate if settings.evidence_gate else None
        if self._senses is not None:
            self._senses.apply(settings)

    def start(self) -> tuple[str, ...]:
        """Answer images from now on; return the full names of their topics."""
        self.journal.restart()
        if self._senses is not None:
            self._intake = Intake(self._senses, self)
            self._perceiver.supply = self._intake
            # Told now, not only with the first message.
            for source, reason in self._senses.mute_sources().items():
                self.on_fault(f"evidence/{source}", reason)
        self._perceiver.start(self._on_perception, self._on_error)
        self.inputs = Inputs(self._node, self, with_evidence=self._intake is not None)
        return tuple(wanted.topic for wanted in self.inputs.wanted)

    def stop(self) -> None:
        """Finish the frame in work, then answer no more; idempotent."""
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None
        self._perceiver.stop()
        if self._intake is not None:
            self._intake.close()
            self._intake = None

    def close(self) -> None:
        """Give back topics and memory."""
        self.stop()
        self._made.close()
        self.runner.close()

    def on_frame(self, frame: Frame) -> None:
        """See `Receiver`."""
        self._perceiver.submit(frame)

    def on_sensor(self, topic: str, message: Any) -> None:
        """See `Receiver`."""
        intake = self._intake
        if intake is not None:
            intake.post(topic, message)

    def on_fault(self, cause: str, message: str) -> None:
        """Count it; log only the first of each cause, since a camera repeats its mistakes."""
        if self.journal.fault(cause, message):
            self._node.get_logger().warning(f"{cause}: {message} (counted from now on, not logged)")

    def on_lost(self, total: int) -> None:
        """See `Receiver`."""
        self.journal.lost(total)
        self.on_fault("image_lost", LOST_ADVICE)

    def on_sensed(self, source: str, took_ms: float) -> None:
        """See `Observer`."""
        self._new_evidence.add(source)
        self.journal.sensed(source, took_ms)

    def on_skipped(self, source: str) -> None:
        """See `Observer`."""
        self.journal.skipped(source)

    def on_settled(self, topic: str, header: Header) -> None:
        """See `Observer`."""
        if self._receipts is not None:
            self._receipts.send(topic, header)

    def _on_error(self, error: Exception) -> None:
        known = isinstance(error, SegPerceptionError)
        self.on_fault("inference", str(error) if known else f"{type(error).__name__}: {error}")
        self._frame_done()

    def _on_perception(self, perception: Perception) -> None:
        received: Received = perception.frame.header
        published = self._outputs.publish(perception, received.header, self._settings)
        # From the next frame on: what correction changed can only be outlined beside what was.
        self._perceiver.unrefined = self._settings.overlay_evidence and self._outputs.shows_overlay
        timings = {"decode": received.decode_ms, **perception.timings, **published}
        timings["receive_to_publish"] = 1e3 * (time.perf_counter() - received.arrived_s)
        now_ns = self._node.get_clock().now().nanoseconds
        since_stamp_ms = (now_ns - perception.frame.stamp_ns) / 1e6
        if abs(since_stamp_ms) < LATENCY_LIMIT_MS:
            timings["stamp_to_publish"] = since_stamp_ms
        self.journal.answered(timings, perception.evidence)
        self._look_for_faults(perception)
        self._frame_done()

    def _frame_done(self) -> None:
        intake = self._intake
        if intake is not None:
            intake.frame_done()

    def _look_for_faults(self, perception: Perception) -> None:
        for report in perception.evidence:
            # Evidence that has ended grows old in every frame; that is not a fault of each.
            is_new = report.source in self._new_evidence
            self._new_evidence.discard(report.source)
            if is_new and report.reason and self._trusts(report.source):
                self.on_fault(f"evidence/{report.source}", report.reason)
        jumps = self.counters.clock_jumps
        if jumps != self._clock_jumps:
            self._clock_jumps = jumps
            self.on_fault(
                "clock_jump",
                "an image is older than the one before: what was remembered is dropped",
            )
        if perception.labels.min() == perception.labels.max():
            name = self._class_name(int(perception.labels.flat[0]))
            self.on_fault(
                "uniform_mask",
                f"every pixel is {name}: a covered lens, or a bundle for another kind of camera?",
            )

    def _trusts(self, source: str) -> bool:
        return self._perceiver.evidence_trust.get(source) != 0.0

    def _class_name(self, label: int) -> str:
        names = {info.id: info.name for info in self.runner.bundle.manifest.classes}
        return names.get(label, str(label))


def open_model(settings: Settings, progress: Progress) -> Runner:
    """Open the bundle that the settings name, in the runtime that they name, and test it.

    Args:
        settings: of the node's parameters.
        progress: told of the build of an engine, which takes minutes.

    Raises:
        SegPerceptionError: the bundle cannot be loaded, or does not pass its self-test.
    """
    bundle = load_bundle(settings.bundle or share_path("models/default"))
    threads = settings.threads or None
    runner = open_runner(bundle, settings.runner, threads=threads, progress=progress)
    try:
        if settings.self_test:
            check_bundle(bundle, runner, bundle.manifest.default_outputs)
    except BaseException:
        runner.close()
        raise
    return runner
