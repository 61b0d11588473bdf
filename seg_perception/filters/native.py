"""The compiled kernels (native/), bound with ctypes; or the reason why there are none.

A plain shared library without Python's C interface, built by setup.py where there is a compiler.
ctypes releases the GIL during calls, and every handle may be used by any number of threads.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import FilterError

Array = NDArray[Any]

NO_LIBRARY = (
    "the filters' compiled kernels are not installed: install a C++ compiler (apt install g++) and "
    "then this package again (pip install ., or python setup.py build_ext --inplace in a checkout)"
)
TOO_FAR = (
    "the features reach further than the lattice can count: raise the standard deviations "
    "(sxy, srgb) that they are divided by"
)
NOT_FINITE = (
    "NaN or infinities: give finite numbers, also where `valid` is False; of probabilities, "
    "probs_to_scores makes finite scores"
)
NO_MEMORY = "not enough memory for the filter: use smaller images or fewer classes"
_MESSAGES = {1: NOT_FINITE, 2: TOO_FAR, 3: NO_MEMORY}

_int, _long, _float, _at = ctypes.c_int, ctypes.c_long, ctypes.c_float, ctypes.c_void_p
_VERSION = 2
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "segf_threads": (_int, []),
    "segf_set_threads": (None, [_int]),
    "segf_limit_threads": (_int, [_int]),
    "segf_instructions": (ctypes.c_char_p, []),
    "segf_select_instructions": (_int, [ctypes.c_char_p]),
    "segf_lattice_of_features": (_int, [_int, _int, _int, _at, _at, _int, _at]),
    "segf_lattice_of_image": (_int, [_int, _int, _at, _float, _float, _at, _int, _at]),
    "segf_lattice_vertices": (_long, [_at]),
    "segf_lattice_apply": (_int, [_at, _at, _int, _int, _at]),
    "segf_lattice_free": (None, [_at]),
    "segf_mean_field": (_int, [_at, _int, _at, _at, _at, _int, _at, _int, _at]),
    "segf_box": (_int, [_int, _int, _int, _at, _at]),
    "segf_box_apply": (_int, [_at, _at, _int, _int, _at]),
    "segf_box_free": (None, [_at]),
    "segf_guided": (_int, [_int, _int, _int, _float, _at, _at, _at]),
    "segf_guided_apply": (_int, [_at, _at, _int, _int, _at]),
    "segf_guided_mean_field": (_int, [_at, _at, _int, _float, _at, _int, _at]),
    "segf_guided_free": (None, [_at]),
}


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, with one thread for each core this process may use; None without one.

    Raises:
        FilterError: it was built from other sources, as in a checkout that went on since.
    """
    path = library_path()
    if path is None:
        return None
    loaded = ctypes.CDLL(str(path))
    if not hasattr(loaded, "segf_version") or loaded.segf_version() != _VERSION:
        raise FilterError(
            f"{path} was built from other sources: python setup.py build_ext --inplace --force"
        )
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    loaded.segf_set_threads(len(os.sched_getaffinity(0)))
    return loaded


def library_path() -> Path | None:
    """Where the library lies; None where it was not built."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            return path
    return None


class Handle:
    """An object of the library, freed with its last reference."""

    def __init__(self, library: ctypes.CDLL, kind: str, constructor: str, *arguments: Any):
        """Make it.

        Args:
            library: as `library` gives it.
            kind: "lattice", "box" or "guided".
            constructor: the function's name.
            arguments: all but the last, which is where the handle is written.

        Raises:
            FilterError: the library refuses.
        """
        made = ctypes.c_void_p()
        check(getattr(library, constructor)(*arguments, ctypes.byref(made)))
        assert made.value is not None
        self.value = made.value
        self._apply: Callable[..., int] = getattr(library, f"segf_{kind}_apply")
        weakref.finalize(self, getattr(library, f"segf_{kind}_free"), made.value)

    def apply(self, x: Array, transposed: bool) -> Array:
        """Filter float32 planes [C, H, W], C-contiguous."""
        y = np.empty_like(x)
        check(self._apply(self.value, pointer(x), len(x), transposed, pointer(y)))
        return y


def pointer(array: Array | None) -> int | None:
    """The address of a C-contiguous array that the caller keeps alive."""
    return None if array is None else array.ctypes.data


def check(status: int) -> None:
    """Raise what a status means.

    Raises:
        FilterError: unless it is 0.
    """
    if status:
        raise FilterError(_MESSAGES[status])


def num_threads() -> int:
    """How many threads a filter uses; 1 without compiled kernels."""
    loaded = library()
    return loaded.segf_threads() if loaded else 1


def set_num_threads(threads: int) -> None:
    """Use so many threads, the calling one included. By default, one for each core.

    Raises:
        FilterError: fewer than one.
    """
    if threads < 1:
        raise FilterError(f"{threads} threads: give 1 or more")
    loaded = library()
    if loaded:
        loaded.segf_set_threads(threads)


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Filters that the calling thread runs meanwhile use no more threads; None = all they may."""
    loaded = library()
    if threads is None or not loaded:
        yield
        return
    before = loaded.segf_limit_threads(threads)
    try:
        yield
    finally:
        loaded.segf_limit_threads(before)


def describe_kernels() -> str:
    """What runs the filters here, for logs: the instruction set, or why there is none."""
    loaded = library()
    if not loaded:
        return f"numpy, slowly: {NO_LIBRARY}"
    return f"compiled for {loaded.segf_instructions().decode()}, {num_threads()} threads"
