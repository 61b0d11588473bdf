"""Turns sensor messages into evidence beside the camera's images, which never wait for it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from seg_perception.errors import SegPerceptionError
from seg_perception.evidence.record import Evidence
from seg_perception.ros.messages import stamp_ns
from seg_perception.ros.senses import (
    CAMERA_INFO,
    NEEDS_CAMERA,
    NO_CAMERA,
    ODOMETRY,
    SOURCE_OF,
    Senses,
)

SETTLE_S = 0.25
"""The longest a frame waits for messages that came before it and are being converted."""


class Intake:
    """One thread that converts messages, the newest of each topic first come first served.

    Args:
        senses: what the messages are told to.
        on_fault: told what cannot be used: topic and message.
        on_sensed: told how long each conversion took: source and milliseconds.
    """

    def __init__(
        self,
        senses: Senses,
        on_fault: Callable[[str, str], None],
        on_sensed: Callable[[str, float], None],
    ) -> None:
        self._senses, self._on_fault, self._on_sensed = senses, on_fault, on_sensed
        self._changed = threading.Condition()
        self._waiting: dict[str, Any] = {}
        self._in_work: dict[str, Any] = {}
        self._done: Counter[str] = Counter()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self._thread.start()

    def post(self, topic: str, message: Any) -> None:
        """Take a message, in place of any of the topic that is still waiting; returns at once."""
        if topic in (CAMERA_INFO, ODOMETRY):
            self._convert(topic, message)
            with self._changed:
                self._changed.notify_all()
            return
        if not self._senses.is_wanted(topic, stamp_ns(message.header)):
            return
        with self._changed:
            overtaken = self._waiting.pop(topic, None)
            self._waiting[topic] = message
            self._changed.notify_all()
            is_ready = self._is_ready(topic)
        if overtaken is not None and not is_ready:
            self._on_fault(topic, NO_CAMERA)

    def add(self, evidence: Evidence) -> None:
        """See `Senses`."""
        self._senses.add(evidence)

    def nearest(self, stamp: int) -> tuple[Evidence, ...]:
        """See `Senses`; what came before this call is taken in first."""
        with self._changed:
            pending = Counter([*filter(self._is_ready, self._waiting), *self._in_work])
            goal = {topic: self._done[topic] + count for topic, count in pending.items()}
            self._changed.wait_for(
                lambda: (
                    self._closed or all(self._done[topic] >= count for topic, count in goal.items())
                ),
                SETTLE_S,
            )
        return self._senses.nearest(stamp)

    def clear(self) -> None:
        """See `Senses`."""
        self._senses.clear()

    def close(self) -> None:
        """End the thread after the message it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while (topic := self._take_next()) is not None:
            (message,) = self._in_work.values()
            self._convert(topic, message)
            with self._changed:
                self._in_work.clear()
                self._done[topic] += 1
                self._changed.notify_all()

    def _take_next(self) -> str | None:
        """Wait for a message and put it into work; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._next() is not None)
            topic = self._next()
            if self._closed or topic is None:
                return None
            self._in_work[topic] = self._waiting.pop(topic)
            return topic

    def _next(self) -> str | None:
        """The topic whose message has waited longest."""
        return next(filter(self._is_ready, self._waiting), None)

    def _is_ready(self, topic: str) -> bool:
        return self._senses.has_camera or topic not in NEEDS_CAMERA

    def _convert(self, topic: str, message: Any) -> None:
        started_s = time.perf_counter()
        try:
            self._senses.take(topic, message)
        except SegPerceptionError as error:
            self._on_fault(topic, str(error))
        except Exception as error:  # no message may end the thread
            self._on_fault(topic, f"{type(error).__name__}: {error}")
        else:
            if topic in SOURCE_OF:
                self._on_sensed(SOURCE_OF[topic], 1e3 * (time.perf_counter() - started_s))
