"""Plays a bag into the real node, over real DDS, and keeps its answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from seg_perception.errors import ReplayError
from seg_perception.evaluation.bag import (
    COMPRESSED_TYPE,
    EVIDENCE_NAMES,
    TOPICS_OF,
    Bag,
    BagFrame,
    node_topic,
)
from seg_perception.evaluation.drive import Transport
from seg_perception.ros.listener import Listener, Mask, PackedMap
from seg_perception.ros.node_process import NodeProcess
from seg_perception.ros.qos import LOSSLESS

MESSAGES = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "sensor_msgs/msg/CameraInfo": CameraInfo,
    "sensor_msgs/msg/PointCloud2": PointCloud2,
    "nav_msgs/msg/Path": PathMessage,
    "nav_msgs/msg/Odometry": Odometry,
    "geometry_msgs/msg/TransformStamped": TransformStamped,
}
MAX_SILENCE = 3
"""Frames in a row without an answer after which lock-step gives up."""
MAX_ENTROPIES = 128
SPIN_S = 0.02
DIAGNOSTICS_PERIOD_S = 0.5


@dataclass(frozen=True)
class PlayOptions:
    """How to play.

    Attributes:
        rate_hz: frames a second; None = by the bag's stamps if `paced`, else lock-step: each frame
            waits for the answer to the one before, each message for the node's receipt of the one
            before, and none gets lost.
        paced: send at the pace of the bag's stamps.
        sources: the evidence of the bag that the node gets; None = all there is.
        frames: only the first so many; None = all.
        parameters: of the node, by name.
        start_timeout_s: for the node to come up, and for any sign that it goes on.
        answer_timeout_s: for an answer.
    """

    rate_hz: float | None = None
    paced: bool = False
    sources: tuple[str, ...] | None = None
    frames: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 120.0
    answer_timeout_s: float = 20.0

    def gives(self, role: str) -> bool:
        """Whether the node gets the messages of this role, see `BagMessage.role`."""
        if self.sources is None or role not in EVIDENCE_NAMES:
            return role != "truth"
        return any(role in TOPICS_OF[source] for source in self.sources)

    @property
    def lock_step(self) -> bool:
        """Whether each frame waits for the answer to the one before."""
        return self.rate_hz is None and not self.paced

    @property
    def mode(self) -> str:
        """In words."""
        if self.lock_step:
            return "Each frame waits for the answer to the one before"
        return "At the pace of the bag" if self.paced else f"At {self.rate_hz:g} frames a second"


@dataclass(frozen=True)
class PlayLog:
    """What came of a drive.

    Attributes:
        transport: counts and latencies.
        masks: the answers by the image's stamp in nanoseconds.
        entropies: of some of them.
        latency_ms: from the publication of the image to that of the mask, by the image's stamp.
        options: how it was played.
    """

    transport: Transport
    masks: Mapping[int, Mask]
    entropies: Mapping[int, PackedMap]
    latency_ms: Mapping[int, float]
    options: PlayOptions


def play(
    bag: Bag,
    bundle: Path,
    options: PlayOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PlayLog:
    """Start the node with a bundle, play a bag into it, stop it.

    Args:
        bag: opened.
        bundle: folder of the model bundle.
        options: see there.
        progress: told the frames sent and their number.

    Raises:
        ReplayError: the node does not come up, dies, or does not answer.
        BagError: the bag cannot be read.
    """
    parameters = {"diagnostics_period": str(DIAGNOSTICS_PERIOD_S), **options.parameters}
    with NodeProcess(bundle, parameters, lossless=options.lock_step) as process:
        player = _Player(bag, process, options)
        try:
            player.wait_for_node()
            return player.play(progress)
        finally:
            player.close()


class _Player:
    """Publishers of a bag's topics, beside a listener to the node's answers."""

    def __init__(self, bag: Bag, process: NodeProcess, options: PlayOptions) -> None:
        self._bag, self._process, self._options = bag, process, options
        self._total = min(bag.n_frames, options.frames or bag.n_frames)
        self._node = process.companion("player")
        self._executor = SingleThreadedExecutor(context=self._node.context)
        self._executor.add_node(self._node)
        self._sent_ns: dict[int, int] = {}
        self._shown: set[int] = set()
        self._given: Counter[str] = Counter()
        self._listener = Listener(
            self._node,
            process.node_name,
            self._shown.__contains__,
            lossless=options.lock_step,
        )
        self._publishers = {
            topic: self._publisher(topic, role)
            for topic, role in bag.topics.roles.items()
            if options.gives(role)
        }

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._node.context.try_shutdown()

    def wait_for_node(self) -> None:
        """Wait until the node listens to images and its answers are heard.

        Raises:
            ReplayError: it dies, says that it cannot start, or time is up.
        """
        images = self._publishers[self._bag.topics.image]

        def ready() -> bool:
            self._check_start()
            report = self._listener.report
            is_active = report is not None and report.state == "active"
            return is_active and images.get_subscription_count() > 0

        if not self._spin_until(ready, self._options.start_timeout_s):
            said = "" if self._listener.report is None else f" ({self._listener.report.message})"
            raise ReplayError(
                f"the node did not listen to {images.topic_name} within "
                f"{self._options.start_timeout_s:g} s{said}; give it more with --timeout, or see "
                f"its log:\n{self._process.log_tail()}"
            )
        if self._listener.report is not None and not self._listener.report.takes_evidence:
            self._publishers = {self._bag.topics.image: images}
        for publisher in self._publishers.values():
            heard = publisher.get_subscription_count
            self._wait_for(heard, f"did not listen to {publisher.topic_name}")

    def play(self, progress: Callable[[int, int], None]) -> PlayLog:
        """Send the frames and gather the answers.

        Raises:
            ReplayError: the node dies, or stops answering.
        """
        start_s = time.monotonic()
        silence = 0
        stride = -(-self._total // MAX_ENTROPIES)
        for i, frame in enumerate(islice(self._bag.frames(), self._total)):
            if i % stride == 0:
                self._shown.add(frame.stamp_ns)
            self._spin_until(lambda: False, self._turn_s(i, frame) - (time.monotonic() - start_s))
            self._send(frame)
            if self._options.lock_step:
                silence = 0 if self._wait_for_answer(frame.stamp_ns) else silence + 1
                self._check_silence(silence)
            progress(i + 1, self._total)
        # The newest frame is never dropped, so that its answer ends the drive.
        self._wait_for_answer(max(self._sent_ns))
        self._wait_for_last_words()
        return self._log()

    def _turn_s(self, i: int, frame: BagFrame) -> float:
        """When frame i is due, in seconds after the first."""
        if self._options.rate_hz is not None:
            return i / self._options.rate_hz
        if not self._options.paced:
            return 0.0
        return (frame.stamp_ns - min(self._sent_ns, default=frame.stamp_ns)) / 1e9

    def _send(self, frame: BagFrame) -> None:
        """Publish what belongs to a frame, then the frame."""
        for message in frame.before:
            if message.topic in self._publishers:
                self._publishers[message.topic].publish(message.data)
                if self._options.lock_step:
                    self._wait_for_receipt(node_topic(message.role))
        self._sent_ns[frame.stamp_ns] = time.time_ns()
        self._publishers[frame.image.topic].publish(frame.image.data)

    def _wait_for_receipt(self, topic: str) -> None:
        """Wait until the node has dealt with all messages of a topic, one more than before."""
        self._given[topic] += 1
        given = self._given[topic]
        self._wait_for(
            lambda: self._listener.receipts[topic] >= given,
            f"did not say what became of message {given} on {topic}",
        )

    def _wait_for_answer(self, stamp_ns: int) -> bool:
        return self._spin_until(
            lambda: stamp_ns in self._listener.masks, self._options.answer_timeout_s
        )

    def _wait_for(self, done: Callable[[], Any], complaint: str) -> None:
        """Wait for something that must come.

        Raises:
            ReplayError: it does not.
        """
        timeout_s = self._options.start_timeout_s
        if not self._spin_until(lambda: bool(done()), timeout_s):
            raise ReplayError(
                f"the node {complaint} within {timeout_s:g} s; its log:\n{self._process.log_tail()}"
            )

    def _wait_for_last_words(self) -> None:
        """Wait for diagnostics that count all frames, and for the last entropy map."""
        counted = len(self._listener.masks)
        self._spin_until(
            lambda: self._listener.counts().get("frames.answered", 0) >= counted,
            self._options.answer_timeout_s,
        )

    def _check_start(self) -> None:
        report = self._listener.report
        if report is not None and report.cannot_start:
            raise ReplayError(f"the node cannot start: {report.message}")

    def _check_silence(self, silence: int) -> None:
        if silence >= MAX_SILENCE:
            said = "nothing" if self._listener.report is None else self._listener.report.message
            raise ReplayError(
                f"the node did not answer {silence} frames in a row within "
                f"{self._options.answer_timeout_s:g} s each; its diagnostics say: {said}; "
                f"its log:\n{self._process.log_tail()}"
            )

    def _spin_until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Let messages come in until `done` (then True) or time is up.

        Raises:
            ReplayError: the node has died.
        """
        deadline = time.monotonic() + timeout_s
        while not done():
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return False
            self._process.check_alive()
            self._executor.spin_once(timeout_sec=min(remaining_s, SPIN_S))
        return True

    def _publisher(self, topic: str, role: str) -> Publisher:
        """A publisher of the node's input that a recorded topic stands for."""
        msgtype = self._bag.topics.types[topic]
        name = node_topic(role)
        if msgtype == COMPRESSED_TYPE:
            name += "/compressed"
        qos = LOSSLESS if self._options.lock_step else qos_profile_sensor_data
        return self._node.create_publisher(MESSAGES[msgtype], name, qos)

    def _log(self) -> PlayLog:
        masks = {s: mask for s, mask in self._listener.masks.items() if s in self._sent_ns}
        latency_ms = {
            stamp: (mask.published_ns - self._sent_ns[stamp]) / 1e6 for stamp, mask in masks.items()
        }
        ended_ns = max((mask.published_ns for mask in masks.values()), default=0)
        transport = Transport(
            mode=self._options.mode,
            sent=len(self._sent_ns),
            answered=len(masks),
            node=self._listener.counts(),
            duration_s=max(0.0, (ended_ns - min(self._sent_ns.values())) / 1e9),
            latency_ms=tuple(latency_ms.values()),
            stage_ms=self._listener.stages(),
            convert_ms=self._listener.conversions(),
        )
        entropies = self._listener.entropies
        return PlayLog(transport, masks, entropies, latency_ms, self._options)
