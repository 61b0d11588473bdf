"""Ridge regression on three colours, for tensors and for values of an ONNX graph alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Ridge:
    """Solves ``(C + eps I) a = c`` by ``L D L^T`` for symmetric 3x3 matrices C.

    Where all colours of a window lie on a line, as in a ramp of grey, C has rank one: the
    determinant that an inverse by cofactors divides by is then a difference of numbers 10^4 times
    as large, and float32 keeps no digit of it (labels of flat walls came out at random).

    Args:
        covariance: entries rr, rg, rb, gg, gb, bb of C.
        eps: the ridge, > 0.
    """

    def __init__(self, covariance: Sequence[Any], eps: float) -> None:
        rr, rg, rb, gg, gb, bb = covariance
        self._r = rr + eps
        self._rg, self._rb = rg / self._r, rb / self._r
        rest = gb - self._rb * rg
        self._g = gg + eps - self._rg * rg
        self._gb = rest / self._g
        self._b = bb + eps - self._rb * rb - self._gb * rest

    def solve(self, red: Any, green: Any, blue: Any) -> tuple[Any, Any, Any]:
        """The three entries of ``a`` from those of ``c``."""
        green = green - self._rg * red
        blue = (blue - self._rb * red - self._gb * green) / self._b
        green = green / self._g - self._gb * blue
        return red / self._r - self._rg * green - self._rb * blue, green, blue
