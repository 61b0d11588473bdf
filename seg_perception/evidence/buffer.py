"""The latest evidence of every source, found again by the moment of a frame."""

from __future__ import annotations

import threading
from collections import deque

from seg_perception.errors import ConfigError
from seg_perception.evidence.record import Evidence


class EvidenceBuffer:
    """A ring buffer for each source; the order of arrival does not matter, only stamps do.

    Evidence may be older than its frame (a slow detector) or newer (a slow camera). All methods
    may be called from any thread.

    Args:
        length: how many pieces of each source are kept, the oldest arrival leaves first.

    Raises:
        ConfigError: a length below 1.
    """

    def __init__(self, length: int = 16) -> None:
        if length < 1:
            raise ConfigError(f"an evidence buffer of {length}: keep at least 1 of each source")
        self._length = length
        self._lock = threading.Lock()
        self._kept: dict[str, deque[Evidence]] = {}

    def add(self, evidence: Evidence) -> None:
        """Keep evidence under the name of its source."""
        with self._lock:
            kept = self._kept.setdefault(evidence.source, deque(maxlen=self._length))
            kept.append(evidence)

    def nearest(self, stamp_ns: int, tolerance_ns: int | None = None) -> tuple[Evidence, ...]:
        """From every source what is nearest in time to a moment, before or after it.

        Of two pieces that are equally near, the one that arrived last.

        Args:
            stamp_ns: of the frame, nanoseconds.
            tolerance_ns: what is further away is left out; None = nothing is.
        """
        with self._lock:
            best = [
                min(reversed(kept), key=lambda one: abs(one.stamp_ns - stamp_ns))
                for kept in self._kept.values()
            ]
        return tuple(
            one
            for one in best
            if tolerance_ns is None or abs(one.stamp_ns - stamp_ns) <= tolerance_ns
        )

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        with self._lock:
            self._kept.clear()
