"""Turns sensor messages into evidence beside the camera's images, which never wait for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from std_msgs.msg import Header

from seg_perception.errors import SegPerceptionError
from seg_perception.evidence.record import Evidence
from seg_perception.ros.messages import stamp_ns
from seg_perception.ros.senses import AT_ONCE, NEEDS_CAMERA, NO_CAMERA, SOURCE_OF, Senses

SETTLE_S = 0.25
"""The longest a frame waits for messages that came before it and are being converted."""
KEPT = 3
"""Messages of each topic that wait, as they came, for a frame that needs them."""


class Observer(Protocol):
    """Who is told what becomes of messages; from any thread, and must not block."""

    def on_fault(self, cause: str, message: str) -> None:
        """A message cannot be used; the cause is its topic."""

    def on_sensed(self, source: str, took_ms: float) -> None:
        """A message became evidence of a source."""

    def on_skipped(self, source: str) -> None:
        """A message was not looked at, since no frame needed it."""

    def on_settled(self, topic: str, header: Header) -> None:
        """It is known what became of a message, or that it waits for the camera."""


@dataclass(frozen=True, eq=False)
class _Post:
    """A message that waits; `settled` if the observer knows that it does, for want of a camera."""

    topic: str
    message: Any
    stamp: int
    settled: bool = False


class Intake:
    """One thread that converts messages, first come first served.

    Between two frames a message is converted as it comes, so that the next frame need not wait for
    it; of several of a topic, the newest. While a frame is being answered, messages wait as they
    are: of the frames that come meanwhile only one will be answered, and of each topic only what is
    nearest to that one is converted.

    Args:
        senses: what the messages are told to.
        observer: told what becomes of them.
    """

    def __init__(self, senses: Senses, observer: Observer) -> None:
        self._senses, self._observer = senses, observer
        self._changed = threading.Condition()
        self._waiting: list[_Post] = []
        self._due: deque[_Post] = deque()
        self._in_work: _Post | None = None
        self._converted_ns: dict[str, int] = {}
        self._n_frames = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self._thread.start()

    def post(self, topic: str, message: Any) -> None:
        """Take a message; returns at once."""
        stamp = stamp_ns(message.header)
        if topic in AT_ONCE:
            self._convert(_Post(topic, message, stamp))
            with self._changed:
                self._changed.notify_all()
        elif self._senses.is_wanted(topic, stamp):
            with self._changed:
                self._queue(topic, message, stamp)
                self._changed.notify_all()
        else:
            self._observer.on_settled(topic, message.header)

    def add(self, evidence: Evidence) -> None:
        """See `Senses`."""
        self._senses.add(evidence)

    def nearest(self, stamp: int) -> tuple[Evidence, ...]:
        """See `Senses`; begins a frame, for which what came before this call is taken in first."""
        with self._changed:
            self._n_frames += 1
            for topic in dict.fromkeys(post.topic for post in self._ready()):
                self._choose_nearest(topic, stamp)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._closed or not (self._due or self._in_work), SETTLE_S
            )
        return self._senses.nearest(stamp)

    def frame_done(self) -> None:
        """A frame that asked for the nearest was answered, or has failed."""
        with self._changed:
            self._n_frames = max(0, self._n_frames - 1)
            self._changed.notify_all()

    def clear(self) -> None:
        """See `Senses`."""
        with self._changed:
            self._converted_ns.clear()
        self._senses.clear()

    def close(self) -> None:
        """End the thread after the message it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _queue(self, topic: str, message: Any, stamp: int) -> None:
        """Let a message wait, in place of the oldest of its topic if too many do."""
        is_ready = self._senses.has_camera or topic not in NEEDS_CAMERA
        before = [post for post in self._waiting if post.topic == topic]
        for overtaken in before[: max(0, len(before) + 1 - (KEPT if is_ready else 1))]:
            self._skip(overtaken)
            if not is_ready:
                self._observer.on_fault(topic, NO_CAMERA)
        self._waiting.append(_Post(topic, message, stamp, settled=not is_ready))
        if not is_ready:
            self._observer.on_settled(topic, message.header)

    def _choose_nearest(self, topic: str, stamp: int) -> None:
        """Put the message nearest to a moment into work, unless what is known is nearer."""
        posts = [post for post in self._ready() if post.topic == topic]
        best = min(posts, key=lambda post: abs(post.stamp - stamp))
        known = self._converted_ns.get(topic)
        if known is None or abs(best.stamp - stamp) <= abs(known - stamp):
            self._choose(best)

    def _choose(self, chosen: _Post) -> None:
        """Put a message into work; older ones of its topic will not be needed any more."""
        for post in [post for post in self._waiting if post.topic == chosen.topic]:
            if post is chosen:
                self._waiting.remove(post)
            elif post.stamp <= chosen.stamp:
                self._skip(post)
        self._due.append(chosen)

    def _skip(self, post: _Post) -> None:
        self._waiting.remove(post)
        self._observer.on_skipped(SOURCE_OF[post.topic])
        if not post.settled:
            self._observer.on_settled(post.topic, post.message.header)

    def _work(self) -> None:
        while (post := self._take_next()) is not None:
            self._convert(post)
            with self._changed:
                self._in_work = None
                self._changed.notify_all()

    def _take_next(self) -> _Post | None:
        """Wait for a message and put it into work; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_work())
            if self._closed:
                return None
            self._in_work = self._due.popleft()
            self._converted_ns[self._in_work.topic] = self._in_work.stamp
            return self._in_work

    def _has_work(self) -> bool:
        """Whether something is due; between frames, what has waited longest becomes so."""
        if not (self._due or self._n_frames):
            ready = self._ready()
            if ready:
                self._choose([post for post in ready if post.topic == ready[0].topic][-1])
        return bool(self._due)

    def _ready(self) -> list[_Post]:
        """The messages that wait for nothing but their turn."""
        has_camera = self._senses.has_camera
        return [post for post in self._waiting if has_camera or not post.settled]

    def _convert(self, post: _Post) -> None:
        started_s = time.perf_counter()
        try:
            self._senses.take(post.topic, post.message)
        except SegPerceptionError as error:
            self._observer.on_fault(post.topic, str(error))
        except Exception as error:  # no message may end the thread
            self._observer.on_fault(post.topic, f"{type(error).__name__}: {error}")
        else:
            if post.topic in SOURCE_OF:
                took_ms = 1e3 * (time.perf_counter() - started_s)
                self._observer.on_sensed(SOURCE_OF[post.topic], took_ms)
        if not post.settled:
            self._observer.on_settled(post.topic, post.message.header)
