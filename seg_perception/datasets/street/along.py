"""Things kept in the order of the road, to find those in sight without asking all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Along(Generic[T]):
    """A fixed set of items, each with the stretch of road (from s, to s) that it covers."""

    def __init__(self, items: Iterable[tuple[tuple[float, float], T]] = ()) -> None:
        ordered = sorted(items, key=lambda entry: entry[0])
        self._spans = [span for span, _ in ordered]
        self._items = [item for _, item in ordered]
        self._starts = [start for start, _ in self._spans]
        self._longest = max((end - start for start, end in self._spans), default=0.0)

    def between(self, start: float, end: float) -> list[T]:
        """The items that touch the stretch, by where they begin."""
        first = bisect_left(self._starts, start - self._longest)
        last = bisect_right(self._starts, end)
        return [self._items[i] for i in range(first, last) if self._spans[i][1] >= start]
