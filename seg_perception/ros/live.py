"""Listens to a node that somebody else runs and feeds, such as `ros2 bag play`."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.context import Context
from sensor_msgs.msg import CompressedImage, Image

from seg_perception.errors import ReplayError, SegPerceptionError
from seg_perception.evaluation.drive import Answer, ReplayFrame, Transport
from seg_perception.evidence.record import Evidence
from seg_perception.ros.frames import Frames
from seg_perception.ros.listener import DEEP, Listener, sent_ns
from seg_perception.ros.messages import decode_compressed, stamp_ns, to_label_map, to_rgb
from seg_perception.ros.parameters import Settings
from seg_perception.ros.senses import MESSAGE_TYPES, TRANSFORMS, make_senses
from seg_perception.ros.spinning import spinning
from seg_perception.ros.tf import listen_to_tf
from seg_perception.runtime.manifest import Manifest

POLL_S = 0.05
GRACE_S = 0.3
"""After its mask, a frame's truth and entropy have this long to come."""
MAX_PENDING = 100
"""Images that wait for an answer, and answers that wait for their image."""


@dataclass(frozen=True)
class LiveOptions:
    """What to listen to.

    Attributes:
        node: full name of the node.
        image_topic: None = "image" beside the node; with /compressed behind it if that is how
            images come.
        frames: stop after so many; None = go on.
        start_timeout_s: for the first answer.
        idle_s: stop after this long without an answer.
    """

    node: str = "/segmentation"
    image_topic: str | None = None
    frames: int | None = None
    start_timeout_s: float = 120.0
    idle_s: float = 5.0

    def beside_node(self, name: str) -> str:
        """Full name of a topic in the node's namespace."""
        return f"{self.node.rpartition('/')[0]}/{name}"


@dataclass(frozen=True)
class _Image:
    message: Image | CompressedImage
    sent_ns: int
    evidence: tuple[Evidence, ...]

    def rgb(self) -> NDArray[np.uint8]:
        if isinstance(self.message, CompressedImage):
            return decode_compressed(self.message)
        return to_rgb(self.message)


class Live:
    """Gathers images, truth, evidence and answers; used by `with`, in the environment's domain.

    Args:
        options: see there.
        manifest: of the node's model.
        settings: of the node.
    """

    def __init__(self, options: LiveOptions, manifest: Manifest, settings: Settings) -> None:
        self._options, self._manifest, self._settings = options, manifest, settings
        self._lock = threading.Lock()
        self._images: dict[int, _Image] = {}
        self._truth: dict[int, Image] = {}
        self._latency_ms: list[float] = []
        self._n_images = 0
        self._first_ns = self._last_ns = 0
        self._ended = False

    def __enter__(self) -> Live:
        with contextlib.ExitStack() as stack:
            context = Context()
            rclpy.init(context=context)
            stack.callback(context.try_shutdown)
            self._node = rclpy.create_node(
                "seg_perception_replay", context=context, use_global_arguments=False
            )
            stack.callback(self._node.destroy_node)
            self._senses = make_senses(self._manifest, Frames(), self._settings)
            self._listener = Listener(self._node, self._options.node)
            self._subscribe()
            stack.enter_context(spinning(self._node, self._end))
            # Ctrl-C ends the drive, not the scoring of it.
            stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, self._end))
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._opened.__exit__(*reason)

    def frames(self) -> Iterator[ReplayFrame]:
        """The answered frames as they come, until idle, interrupted, or enough.

        Raises:
            ReplayError: nothing came that could be scored.
            MessageError: an image or a truth cannot be read.
        """
        count = 0
        deadline = time.monotonic() + self._options.start_timeout_s
        while not self._ended and time.monotonic() < deadline:
            time.sleep(POLL_S)
            for frame in self._complete():
                yield frame
                count += 1
                if count == self._options.frames:
                    return
                deadline = time.monotonic() + self._options.idle_s
        if not count:
            raise ReplayError(self._why_nothing())

    def transport(self) -> Transport:
        """Counts and latencies so far."""
        with self._lock:
            return Transport(
                mode="Live",
                sent=self._n_images,
                answered=len(self._latency_ms),
                node=self._listener.counts(),
                duration_s=max(0, self._last_ns - self._first_ns) / 1e9,
                latency_ms=tuple(self._latency_ms),
                stage_ms=self._listener.stages(),
                convert_ms=self._listener.conversions(),
            )

    def _end(self, *_: object) -> None:
        """Also called by a signal, at any moment."""
        self._ended = True

    def _subscribe(self) -> None:
        options, subscribe = self._options, self._node.create_subscription
        image = options.image_topic or options.beside_node("image")
        subscribe(Image, image, self._on_image, DEEP)
        compressed = f"{image.removesuffix('/compressed')}/compressed"
        subscribe(CompressedImage, compressed, self._on_image, DEEP)
        subscribe(Image, options.beside_node("truth/labels"), self._on_truth, DEEP)
        for topic, kind in MESSAGE_TYPES.items() if self._senses is not None else ():
            hear = functools.partial(self._on_sensor, topic)
            subscribe(kind, options.beside_node(topic), hear, DEEP)
        if self._senses is not None:
            listen_to_tf(self._node, functools.partial(self._on_sensor, TRANSFORMS))

    def _on_image(self, message: Image | CompressedImage, info: Any) -> None:
        stamp = stamp_ns(message.header)
        with self._lock:
            self._n_images += stamp not in self._images
            self._images[stamp] = _Image(message, sent_ns(info), self._known(stamp))
            self._first_ns = self._first_ns or self._images[stamp].sent_ns
            _forget_oldest(self._images)

    def _on_truth(self, message: Image) -> None:
        with self._lock:
            self._truth[stamp_ns(message.header)] = message
            _forget_oldest(self._truth)

    def _on_sensor(self, topic: str, message: Any) -> None:
        stamp = stamp_ns(message.header)
        with self._lock:
            if self._senses is not None:
                with contextlib.suppress(SegPerceptionError):  # the node tells of it
                    self._senses.take(topic, message)
            image = self._images.get(stamp)
            if image is not None:
                self._images[stamp] = replace(image, evidence=self._known(stamp))

    def _known(self, stamp: int) -> tuple[Evidence, ...]:
        return () if self._senses is None else self._senses.usable(stamp)

    def _complete(self) -> list[ReplayFrame]:
        """Frames whose answer has come, and whose truth has had the time to."""
        ripe_ns = time.time_ns() - round(GRACE_S * 1e9)
        with self._lock:
            ripe = [
                stamp
                for stamp, mask in list(self._listener.masks.items())
                if stamp in self._images and mask.published_ns < ripe_ns
            ]
            frames = [self._frame(stamp) for stamp in ripe]
        _forget_oldest(self._listener.masks)
        _forget_oldest(self._listener.entropies)
        return frames

    def _frame(self, stamp: int) -> ReplayFrame:
        image, truth = self._images.pop(stamp), self._truth.pop(stamp, None)
        mask = self._listener.masks.pop(stamp)
        entropy = self._listener.entropies.pop(stamp, None)
        latency_ms = (mask.published_ns - image.sent_ns) / 1e6
        self._latency_ms.append(latency_ms)
        self._last_ns = mask.published_ns
        return ReplayFrame(
            stamp_ns=stamp,
            image=image.rgb(),
            truth=None if truth is None else to_label_map(truth),
            evidence=image.evidence,
            answer=Answer(
                labels=mask.labels.unpack(),
                entropy=None if entropy is None else entropy.unpack(),
                latency_ms=latency_ms,
            ),
        )

    def _why_nothing(self) -> str:
        options = self._options
        if self._listener.masks:
            image = options.image_topic or options.beside_node("image")
            return (
                f"{options.node} answers, but no image of the same stamp came on {image}; name "
                "the topic that the node listens to with --image-topic"
            )
        return (
            f"no answer of {options.node} came within {options.start_timeout_s:g} s "
            f"({self._n_images} images did); check the node's name (--node), its state "
            f"(`ros2 lifecycle get {options.node}`), and that ROS_DOMAIN_ID is the same"
        )


def _forget_oldest(messages: dict[int, Any]) -> None:
    """Keep the newest `MAX_PENDING`: what got no answer was dropped by the node."""
    for stamp in list(messages)[:-MAX_PENDING]:  # a list at once, as other threads add to them
        del messages[stamp]
