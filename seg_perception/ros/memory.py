"""How the C library handles the memory of large messages."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""

MOST_IDLE_BYTES = 1 << 30
LARGEST_KEPT_BYTES = 32 << 20
"""The most that every glibc takes for MMAP_THRESHOLD."""


def reuse_memory() -> None:
    """Let freed memory be used again, by any thread; to be called before there are threads.

    On its way to Python a message is copied three times, each time into memory of its own. That of
    6 MB glibc fetches from the kernel, which fills it with zeros page by page, and gives it back
    right after: more than half of what it costs to take such an image. C libraries without
    `mallopt` do as they please.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # A thread's own arena is given back as soon as it is empty, whatever the thresholds.
        mallopt(ARENA_MAX, 1)
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(TRIM_THRESHOLD, MOST_IDLE_BYTES)
