"""Linear filters behind one protocol: built once a frame, applied to any number of planes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import FilterError
from seg_perception.filters import checks
from seg_perception.filters.native import Handle, library, pointer
from seg_perception.filters.portable import PortableBox, PortableGuided, PortableLattice

MID_GREY = 128.0
"""Taken off guides before products are formed: it changes no result, but costs fewer digits."""


class Kernel(Protocol):
    """What does the work: compiled (`Handle`) or numpy (`portable`)."""

    def apply(self, x: NDArray[Any], transposed: bool) -> NDArray[Any]:
        """Filter planes [C, H, W]."""
        ...


class LinearFilter:
    """``y = D K E x`` with a kernel ``K`` over the valid pixels and factors ``D``, ``E`` a pixel.

    Attributes:
        height: H that it was built for, pixels.
        width: W.
        kernel: what does the work.
    """

    def __init__(self, height: int, width: int, kernel: Kernel):
        self.height, self.width, self.kernel = height, width, kernel

    def apply(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter each plane.

        Args:
            x: float32 [C, H, W], finite.

        Returns:
            float32 [C, H, W], 0 at pixels that are not valid.

        Raises:
            FilterError: of another size or type, or not finite.
        """
        return self._run(x, transposed=False)

    def transpose(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The adjoint, ``E K^T D x``: what gradients go back through. Otherwise as `apply`."""
        return self._run(x, transposed=True)

    def _run(self, x: NDArray[np.float32], transposed: bool) -> NDArray[np.float32]:
        x = checks.planes(x)
        checks.same_size(x, self.height, self.width)
        return self.kernel.apply(x, transposed).astype(np.float32, copy=False)


class BoxFilter(LinearFilter):
    """The mean over the valid pixels of a square window, which is clipped at the borders."""

    def __init__(
        self, height: int, width: int, radius: int, valid: NDArray[np.bool_] | None = None
    ):
        """Count the pixels of each window.

        Args:
            height: of the planes, pixels.
            width: of the planes.
            radius: of the window of (2 radius + 1)^2 pixels, >= 0.
            valid: bool [H, W], False on padding; None = all valid.

        Raises:
            FilterError: a wrong parameter.
        """
        radius = _window_radius(radius, height, width)
        valid = checks.mask(valid, height, width)
        loaded = library()
        kernel: Kernel = (
            Handle(loaded, "box", "segf_box", height, width, radius, pointer(valid))
            if loaded
            else PortableBox(height, width, radius, valid)
        )
        super().__init__(height, width, kernel)


class GuidedFilter(LinearFilter):
    """The guided filter with a colour guide (He, Sun and Tang, TPAMI 2013), count-normalised.

    In each window the output is an affine function of the guide's colour; the functions of all
    windows that hold a pixel are averaged there. Edges of the guide become edges of the output.
    """

    def __init__(
        self,
        guide: NDArray[Any],
        radius: int = 3,
        eps: float = 1.0,
        valid: NDArray[np.bool_] | None = None,
    ):
        """Compute what depends on the guide only.

        Args:
            guide: uint8 or floating [H, W, 3], 0-255, as large as the planes.
            radius: of the windows, pixels.
            eps: ridge on the covariance of the guide's colours, squared levels of 0-255, > 0.
            valid: bool [H, W], False on padding; None = all valid.

        Raises:
            FilterError: a wrong parameter.
        """
        planes = _guide_planes(guide)
        checks.positive(eps=eps)
        _, height, width = planes.shape
        radius = _window_radius(radius, height, width)
        valid = checks.mask(valid, height, width)
        loaded = library()
        kernel: Kernel
        if loaded:
            sizes = (height, width, radius, eps)
            given = (*sizes, pointer(planes), pointer(valid))
            kernel = Handle(loaded, "guided", "segf_guided", *given)
        else:
            kernel = PortableGuided(PortableBox(height, width, radius, valid), planes, eps)
        super().__init__(height, width, kernel)


class PermutohedralLattice(LinearFilter):
    """A Gaussian over position and colour by the permutohedral lattice (Adams and others, 2010).

    Make it with `bilateral`, `spatial` or `of_features`. Normalised over the valid pixels: by the
    count, ``(K x) / (K 1)``, or symmetrically, ``(K (x / n)) / n`` with ``n = sqrt(K 1)``, which is
    pydensecrf's default.
    """

    @property
    def n_vertices(self) -> int:
        """How many vertices the lattice has: what one iteration costs beside its pixels."""
        loaded = library()
        if isinstance(self.kernel, Handle) and loaded:
            return int(loaded.segf_lattice_vertices(self.kernel.value))
        assert isinstance(self.kernel, PortableLattice)
        return self.kernel.n_vertices

    @classmethod
    def bilateral(
        cls,
        image: NDArray[np.uint8],
        sxy: float,
        srgb: float,
        valid: NDArray[np.bool_] | None = None,
        *,
        symmetric: bool = False,
    ) -> PermutohedralLattice:
        """The five-dimensional Gaussian over positions and colours.

        Args:
            image: uint8 RGB [H, W, 3].
            sxy: standard deviation over positions, pixels.
            srgb: standard deviation over each colour, levels.
            valid: bool [H, W], False on padding; None = all valid.
            symmetric: normalise symmetrically.

        Raises:
            FilterError: a wrong parameter.
        """
        image = checks.rgb(image)
        height, width = image.shape[:2]
        return cls._of_image(height, width, image, sxy, srgb, valid, symmetric)

    @classmethod
    def spatial(
        cls,
        height: int,
        width: int,
        sxy: float,
        valid: NDArray[np.bool_] | None = None,
        *,
        symmetric: bool = False,
    ) -> PermutohedralLattice:
        """The two-dimensional Gaussian over positions, for planes [H, W]; see `bilateral`."""
        return cls._of_image(height, width, None, sxy, 1.0, valid, symmetric)

    @classmethod
    def of_features(
        cls,
        features: NDArray[np.float32],
        valid: NDArray[np.bool_] | None = None,
        *,
        symmetric: bool = False,
    ) -> PermutohedralLattice:
        """The Gaussian over any one to six features.

        Args:
            features: float32 [D, H, W], in standard deviations, finite.
            valid: bool [H, W], False on padding; None = all valid.
            symmetric: normalise symmetrically.

        Raises:
            FilterError: a wrong parameter.
        """
        features = checks.planes(features, "features")
        dims, height, width = features.shape
        if dims > MAX_FEATURES:
            raise FilterError(f"{dims} features: the lattice takes at most {MAX_FEATURES}")
        valid = checks.mask(valid, height, width)
        loaded = library()
        if not loaded:
            return cls(height, width, PortableLattice(features, valid, symmetric))
        given = (height, width, dims, pointer(features), pointer(valid), symmetric)
        return cls(height, width, Handle(loaded, "lattice", "segf_lattice_of_features", *given))

    @classmethod
    def _of_image(
        cls,
        height: int,
        width: int,
        image: NDArray[np.uint8] | None,
        sxy: float,
        srgb: float,
        valid: NDArray[np.bool_] | None,
        symmetric: bool,
    ) -> PermutohedralLattice:
        checks.positive(height=height, width=width, sxy=sxy, srgb=srgb)
        valid = checks.mask(valid, height, width)
        loaded = library()
        if not loaded:
            features = image_features(height, width, image, sxy, srgb)
            return cls(height, width, PortableLattice(features, valid, symmetric))
        given = (height, width, pointer(image), sxy, srgb, pointer(valid), symmetric)
        return cls(height, width, Handle(loaded, "lattice", "segf_lattice_of_image", *given))


MAX_FEATURES = 6


def image_features(
    height: int, width: int, image: NDArray[Any] | None, sxy: float, srgb: float
) -> NDArray[np.float32]:
    """float32 [2 or 5, H, W]: positions over `sxy`, colours of [H, W, 3] over `srgb`."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.float32(sxy)
    if image is None:
        return np.stack([x, y])
    return np.stack([x, y, *(image.astype(np.float32) / np.float32(srgb)).transpose(2, 0, 1)])


def _window_radius(radius: int, height: int, width: int) -> int:
    """A radius that does as much as `radius`: windows end at the image anyway."""
    checks.positive(height=height, width=width)
    checks.whole(radius=radius)
    return min(radius, max(height, width))


def _guide_planes(guide: NDArray[Any]) -> NDArray[np.float32]:
    """The guide as float32 [3, H, W], centred on grey."""
    if guide.ndim != 3 or guide.shape[2] != 3:
        raise FilterError(
            f"the guide is {guide.dtype} {list(guide.shape)}: give an RGB image [H, W, 3], 0-255"
        )
    return checks.planes(guide.transpose(2, 0, 1).astype(np.float32), "the guide") - MID_GREY
