"""Sharper score maps: mean field inference of a dense CRF, with a lattice or the guided filter.

Both repeat ``s <- u + weight * K softmax(s)`` (paper 002, and 001 with the signs put right): pixels
that look alike pull each other's scores together.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import FilterError
from seg_perception.filters import checks
from seg_perception.filters.linear import GuidedFilter, LinearFilter, PermutohedralLattice
from seg_perception.filters.native import Handle, check, library, pointer

Floats = NDArray[np.float32]

Weight = float | Floats
"""What messages of one kind count: a number, or float32 [C, C] that mixes classes."""


@dataclass(frozen=True)
class _Weights:
    """Weights as the compiled kernels take them.

    Attributes:
        numbers: one a kernel; looked at where it has no matrix.
        matrices: float32 [C, C] in the place of compatibility and number, or None.
        compatibility: float32 [C, C], applied once to all messages with numbers; None = -I.
    """

    numbers: tuple[float, ...]
    matrices: tuple[Floats | None, ...]
    compatibility: Floats | None

    @staticmethod
    def of(weights: Sequence[Weight], compatibility: Floats | None, n_classes: int) -> _Weights:
        """Check them; multiples of the identity become numbers, which cost one product less.

        Raises:
            FilterError: a matrix of another size, or what is not finite.
        """
        plain = [_as_number(weight, n_classes) for weight in weights]
        if compatibility is not None:
            compatibility = _square(compatibility, n_classes, "compatibility")
        numbers = tuple(one for one in plain if isinstance(one, float))
        if len(numbers) == len(plain):
            return _Weights(numbers, (None,) * len(plain), compatibility)
        identity = np.eye(n_classes, dtype=np.float32)
        mu = -identity if compatibility is None else compatibility
        matrices = (mu @ one if isinstance(one, np.ndarray) else mu * one for one in plain)
        return _Weights((0.0,) * len(plain), tuple(matrices), None)

    def as_matrices(self, n_classes: int) -> list[Floats]:
        """What is taken off the scores, one float32 [C, C] a kernel."""
        mu = self.compatibility
        shared = -np.eye(n_classes, dtype=np.float32) if mu is None else mu
        pairs = zip(self.numbers, self.matrices, strict=True)
        return [shared * number if own is None else own for number, own in pairs]


def dense_crf(
    scores: Floats,
    image: NDArray[np.uint8],
    *,
    iterations: int = 5,
    spatial: tuple[float, Weight] | None = (3.0, 3.0),
    bilateral: tuple[float, float, Weight] | None = (30.0, 8.0, 4.0),
    compatibility: Floats | None = None,
    valid: NDArray[np.bool_] | None = None,
    symmetric: bool = False,
) -> Floats:
    """Dense CRF (Kraehenbuehl and Koltun, 2011) by mean field on permutohedral lattices.

    Args:
        scores: float32 [C, H, W], log domain, higher is better: logits, or `probs_to_scores`.
        image: uint8 RGB [H, W, 3].
        iterations: mean field updates, >= 0.
        spatial: (sxy in pixels, weight) of the Gaussian over positions; None = without.
        bilateral: (sxy in pixels, srgb in levels, weight) of that over positions and colours;
            None = without. A weight is a number, or float32 [C, C]: ``weight @ message``.
        compatibility: float32 [C, C]: ``s <- u - compatibility @ message``, the penalty of a row's
            class where messages speak for a column's; None = Potts, -1 on the diagonal.
        valid: bool [H, W], False on padding, which never enters and keeps its scores.
        symmetric: normalise kernels symmetrically, as pydensecrf does by default, instead of by
            the count (paper 002).

    Returns:
        float32 [C, H, W], scores: softmax over C gives probabilities, argmax the labels.

    Raises:
        FilterError: inputs that do not fit each other; the message says what to change.
    """
    scores, image = checks.shape_of_planes(scores, "scores"), checks.rgb(image)
    height, width = image.shape[:2]
    checks.same_size(scores, height, width)
    terms: list[tuple[PermutohedralLattice, Weight]] = []
    if spatial:
        sxy, weight = _parts(spatial, "spatial", "sxy, weight")
        lattice = PermutohedralLattice.spatial(height, width, sxy, valid, symmetric=symmetric)
        terms.append((lattice, weight))
    if bilateral:
        sxy, srgb, weight = _parts(bilateral, "bilateral", "sxy, srgb, weight")
        lattice = PermutohedralLattice.bilateral(image, sxy, srgb, valid, symmetric=symmetric)
        terms.append((lattice, weight))
    return lattice_mean_field(scores, terms, iterations, compatibility)


def lattice_mean_field(
    scores: Floats,
    terms: Sequence[tuple[PermutohedralLattice, Weight]],
    iterations: int,
    compatibility: Floats | None = None,
) -> Floats:
    """Mean field with lattices that are at hand: several score maps of one image share them.

    Args:
        scores: float32 [C, H, W].
        terms: lattices of that size with their weights, one or more, see `dense_crf`.
        iterations: updates, >= 0.
        compatibility: float32 [C, C] or None, see `dense_crf`.

    Raises:
        FilterError: inputs that do not fit each other.
    """
    scores = checks.shape_of_planes(scores, "scores")
    checks.whole(iterations=iterations)
    if not terms:
        raise FilterError("no kernel: give `spatial`, `bilateral` or both")
    for lattice, _ in terms:
        checks.same_size(scores, lattice.height, lattice.width)
    kernels = [lattice.kernel for lattice, _ in terms]
    weights = _Weights.of([weight for _, weight in terms], compatibility, len(scores))
    loaded = library()
    handles = [kernel.value for kernel in kernels if isinstance(kernel, Handle)]
    if not loaded or len(handles) < len(kernels):
        filters = [lattice for lattice, _ in terms]
        return _mean_field(checks.planes(scores, "scores"), filters, weights, iterations)
    out = np.empty_like(scores)
    count = len(handles)
    status = loaded.segf_mean_field(
        pointer(scores),
        len(scores),
        (ctypes.c_void_p * count)(*handles),
        (ctypes.c_float * count)(*weights.numbers),
        (ctypes.c_void_p * count)(*map(pointer, weights.matrices)),
        count,
        pointer(weights.compatibility),
        iterations,
        pointer(out),
    )
    check(status)
    return out


def guided_crf(
    scores: Floats,
    guide: NDArray[Any],
    *,
    radius: int = 3,
    eps: float = 1.0,
    weight: float = 2.0,
    compatibility: Floats | None = None,
    iterations: int = 3,
    valid: NDArray[np.bool_] | None = None,
) -> Floats:
    """Mean field with the guided filter (paper 001), far cheaper than `dense_crf`.

    Meant for scores at a quarter of the image's size, with the image area-downsampled as the guide.

    Args:
        scores: float32 [C, H, W], log domain, higher is better.
        guide: uint8 or floating RGB [H, W, 3], 0-255, of the size of the scores.
        radius: of the filter's windows, pixels.
        eps: ridge of the filter, squared levels of 0-255.
        weight: of the pairwise term; 2 suits good scores, 4 noisy ones.
        compatibility: float32 [C, C] or None, see `dense_crf`.
        iterations: updates, >= 0.
        valid: bool [H, W], False on padding, which never enters and keeps its scores.

    Returns:
        float32 [C, H, W], scores.

    Raises:
        FilterError: inputs that do not fit each other; the message says what to change.
    """
    scores = checks.planes(scores, "scores")
    checks.whole(iterations=iterations)
    guided = GuidedFilter(guide, radius, eps, valid)
    checks.same_size(scores, guided.height, guided.width)
    weights = _Weights.of([weight], compatibility, len(scores))
    loaded = library()
    if not loaded or not isinstance(guided.kernel, Handle):
        return _mean_field(scores, [guided], weights, iterations)
    out = np.empty_like(scores)
    status = loaded.segf_guided_mean_field(
        guided.kernel.value,
        pointer(scores),
        len(scores),
        weight,
        pointer(weights.compatibility),
        iterations,
        pointer(out),
    )
    check(status)
    return out


def probs_to_scores(probs: NDArray[np.floating[Any]], floor: float = 1e-8) -> Floats:
    """Scores of probabilities: their logarithm, with zeros raised to `floor`.

    Args:
        probs: floating [C, H, W], >= 0.
        floor: the least probability, > 0.

    Raises:
        FilterError: not such an array, or negative.
    """
    probs = checks.planes(probs, "probs")
    checks.positive(floor=floor)
    if probs.min() < 0:
        raise FilterError(
            f"probs go down to {probs.min():.3g}: these are scores already, give them as they are"
        )
    return np.log(np.maximum(probs, np.float32(floor)))


def _mean_field(
    unary: Floats,
    filters: Sequence[LinearFilter],
    weights: _Weights,
    iterations: int,
) -> Floats:
    """The update in numpy, where there are no compiled kernels."""
    matrices = weights.as_matrices(len(unary))
    scores = unary
    for _ in range(iterations):
        probs = _softmax(scores)
        terms = zip(filters, matrices, strict=True)
        messages = [np.einsum("ij,jhw->ihw", matrix, one.apply(probs)) for one, matrix in terms]
        scores = (unary - np.sum(messages, axis=0)).astype(np.float32)
    return scores.copy()


def _softmax(scores: Floats) -> Floats:
    exponentials = np.exp(scores - scores.max(axis=0))
    return np.asarray(exponentials / exponentials.sum(axis=0), np.float32)


def _as_number(weight: Weight, n_classes: int) -> Weight:
    if not isinstance(weight, np.ndarray):
        if not np.isfinite(weight):
            raise FilterError(f"the weight is {weight}: give a finite number")
        return float(weight)
    matrix = _square(weight, n_classes, "the weight")
    number = float(matrix[0, 0])
    return number if np.array_equal(matrix, number * np.eye(n_classes)) else matrix


def _square(matrix: Floats, n_classes: int, name: str) -> Floats:
    matrix = np.ascontiguousarray(matrix, np.float32)
    if matrix.shape != (n_classes, n_classes) or not np.isfinite(matrix).all():
        raise FilterError(
            f"{name} is {list(matrix.shape)}: give finite numbers "
            f"[{n_classes}, {n_classes}], one row and column a class"
        )
    return matrix


def _parts(kernel: Sequence[Any], name: str, names: str) -> Sequence[Any]:
    if len(kernel) != names.count(",") + 1:
        raise FilterError(f"{name} has {len(kernel)} numbers: give ({names})")
    return kernel
