"""A mailbox with room for one: who posts never waits, who takes gets the newest."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands the newest item from any threads to one; an older one not yet taken is lost."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._post: tuple[T, float] | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Post an item; return whether one was lost by that: the older, or this if closed."""
        with self._changed:
            if self._closed:
                return True
            lost = self._post is not None
            self._post = (item, time.monotonic())
            self._changed.notify()
            return lost

    def take(self, not_before: float = 0.0) -> tuple[T, float] | None:
        """Wait for an item, and until `not_before` (seconds of `time.monotonic`).

        Returns:
            The newest item and how long it lay here in milliseconds, or None once closed.
        """
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if self._post is not None and now >= not_before:
                    (item, posted), self._post = self._post, None
                    return item, 1e3 * (now - posted)
                self._changed.wait(None if self._post is None else not_before - now)
            return None

    def close(self) -> bool:
        """Wake whoever waits, accept no more; return whether an item was lost by that."""
        with self._changed:
            lost = self._post is not None
            self._post = None
            self._closed = True
            self._changed.notify_all()
            return lost
