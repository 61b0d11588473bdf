"""Every kernel of a bundle with what it is compiled for: block sizes, warps, argument types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton

from seg_perception.runtime.kernel_programs import Argument
from training.kernels import guided, image, lattice, mean_field, message

MAX_CLASSES = 256
"""What uint8 labels can tell apart; void (255) included."""

CORNERS = {"bilateral": 6, "spatial": 3}
"""d + 1 of the two lattices of a dense CRF."""

STORAGE = ("float32", "float16")


@dataclass(frozen=True)
class Source:
    """A kernel before compilation.

    Attributes:
        function: what `triton.jit` gave.
        types: of the arguments, in order, as `seg_perception.runtime.kernel_programs.Argument`.
        constants: compile-time arguments: block sizes.
        warps: 32 threads each, a block.
    """

    function: Any
    types: tuple[str, ...]
    constants: Mapping[str, int]
    warps: int = 4

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """Run-time arguments by name and type."""
        names = [name for name in self.function.arg_names if name not in self.constants]
        return tuple(Argument(name, kind) for name, kind in zip(names, self.types, strict=True))


def kernel_sources(classes: int, storage: str = "float32") -> dict[str, Source]:
    """Every kernel by name.

    Args:
        classes: C, 1 to `MAX_CLASSES`.
        storage: dtype of message and coefficients.

    Raises:
        ValueError: no such number of classes or storage.
    """
    if not 1 <= classes <= MAX_CLASSES:
        raise ValueError(f"{classes} classes: kernels exist for 1 to {MAX_CLASSES}")
    if storage not in STORAGE:
        raise ValueError(f"storage {storage!r} is not one of {', '.join(STORAGE)}")
    return {
        **_guided(classes, f"{storage}*"),
        **_messages(classes, f"{storage}*"),
        **_lattice(classes),
        **_mean_field(classes),
        **_images(),
    }


FLOATS, INTS, LONGS, BYTES = "float32*", "int32*", "int64*", "uint8*"
INT, FLOAT = "int32", "float32"


def _guided(classes: int, stored: str) -> dict[str, Source]:
    block = {"COLUMNS": 32, "ROWS": 16, "CLASSES": min(8, triton.next_power_of_2(classes))}
    sizes = (INT,) * 4
    return {
        "guided_stats": Source(
            guided.guided_stats, (FLOATS, FLOATS, INT, INT, INT, FLOAT), {"COLUMNS": 64}, warps=2
        ),
        "guided_solve": Source(
            guided.guided_solve, (stored, FLOATS, FLOATS, stored, *sizes), block
        ),
        "guided_update": Source(
            guided.guided_update, (stored, FLOATS, FLOATS, FLOATS, FLOATS, *sizes), block
        ),
    }


def _messages(classes: int, stored: str) -> dict[str, Source]:
    padded = _padded(classes)
    return {
        "softmax_message": Source(
            message.softmax_message,
            (FLOATS, FLOATS, stored, INT, INT),
            {"CLASSES": padded, "PIXELS": 32},
            _class_warps(padded),
        ),
        "message_matrix": Source(
            message.message_matrix,
            (FLOATS, FLOATS, FLOATS, INT),
            {"ROWS": 16, "CLASSES": padded},
        ),
    }


def _lattice(classes: int) -> dict[str, Source]:
    padded = _padded(classes)
    sources = {
        "lattice_build_bilateral": Source(
            lattice.lattice_build_bilateral,
            (FLOATS, LONGS, INTS, FLOATS, INT, INT, INT, FLOAT, FLOAT),
            {"PIXELS": 64},
            warps=2,  # one thread a pixel: none that would repeat another's compare-and-swap
        ),
        "lattice_build_spatial": Source(
            lattice.lattice_build_spatial,
            (LONGS, INTS, FLOATS, INT, INT, INT, FLOAT),
            {"PIXELS": 128},
        ),
        "lattice_number": Source(
            lattice.lattice_number, (LONGS, INTS, LONGS, INTS, INT, INT), {"SLOTS": 1024}
        ),
        "lattice_blur": Source(
            lattice.lattice_blur,
            (FLOATS, FLOATS, INTS, INTS, INT, INT, INT),
            {"VERTICES": max(8, 1024 // padded), "CHANNELS": padded},
        ),
        "lattice_clear": Source(lattice.lattice_clear, (FLOATS, INTS, INT, INT), {"BLOCK": 1024}),
    }
    for name, corners in CORNERS.items():
        per_pixel = {"CORNERS": corners, "PIXELS": 256}
        sources[f"lattice_neighbours_{name}"] = Source(
            lattice.lattice_neighbours,
            (LONGS, INTS, LONGS, INTS, INTS, INT, INT),
            {"D": corners - 1, "VERTICES": 128},
        )
        sources[f"lattice_index_{name}"] = Source(
            lattice.lattice_index, (INTS, FLOATS, INTS, FLOATS, INT), per_pixel
        )
        sources[f"lattice_inverse_{name}"] = Source(
            lattice.lattice_inverse, (FLOATS, INTS, FLOATS, FLOATS, INT), per_pixel
        )
    return sources


def _mean_field(classes: int) -> dict[str, Source]:
    padded = _padded(classes)
    block = {"CLASSES": padded, "PIXELS": 32}
    warps = _class_warps(padded)
    lattices = (INTS, FLOATS, FLOATS, FLOATS, FLOATS)
    return {
        "mean_field_splat": Source(
            mean_field.mean_field_splat,
            (FLOATS, *(INTS, FLOATS, FLOATS) * 2, INT, INT),
            block,
            warps,
        ),
        "mean_field_update": Source(
            mean_field.mean_field_update,
            (FLOATS, *(*lattices, FLOATS) * 2, INT, INT),
            block,
            warps,
        ),
        "mean_field_scores": Source(
            mean_field.mean_field_scores, (FLOATS, *lattices * 2, FLOATS, INT, INT), block, warps
        ),
    }


def _images() -> dict[str, Source]:
    return {
        "upsample_argmax": Source(
            image.upsample_argmax, (FLOATS, *(BYTES,) * 3, *(INT,) * 5), {"PIXELS": 256}
        ),
        "image_moments": Source(image.image_moments, (BYTES, LONGS, INT), {"PIXELS": 1024}),
        "normalise_image": Source(
            image.normalise_image, (BYTES, LONGS, FLOATS, INT), {"PIXELS": 512}
        ),
    }


def _padded(classes: int) -> int:
    """Block sizes are powers of two."""
    return triton.next_power_of_2(classes)


def _class_warps(padded: int) -> int:
    """One thread a pixel holds up to 32 classes; more are shared out among warps."""
    return max(1, padded // 32)
