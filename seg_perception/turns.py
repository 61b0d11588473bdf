"""Work that several threads do at once, told in the order in which it was begun."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Hands out numbers, and lets whoever holds one speak once all before it have spoken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = 0
        self._speaking = 0

    def begin(self) -> int:
        """The next number; each must be given to `turn`, or all behind it wait for ever."""
        with self._changed:
            self._given += 1
            return self._given - 1

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until it is this number's turn; it ends with the `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: self._speaking == number)
        try:
            yield
        finally:
            with self._changed:
                self._speaking += 1
                self._changed.notify_all()
