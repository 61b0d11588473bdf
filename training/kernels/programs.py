"""The order of launches of each operator: `kernels.json`'s programs (docs/kernels.md)."""

from __future__ import annotations

from collections.abc import Mapping

from seg_perception.runtime.kernel_programs import MEMSET, Limit, Program, Scratch, Step, Tensor
from training.kernels.sources import CORNERS, Source

MAX_BLOCKS = 1024
"""Of the launches that walk over vertices, whose number the host does not know."""

PIXELS = "H * W"


def programs(sources: Mapping[str, Source], storage: str) -> dict[str, Program]:
    """Every program by the name of its operator, for kernels with these block sizes."""
    return {
        "GuidedCrf": _guided_crf(sources, storage),
        "MeanField": _mean_field(sources),
        "Describe": _describe(sources),
        "NormaliseImage": _normalise_image(sources),
    }


def _guided_crf(sources: Mapping[str, Source], storage: str) -> Program:
    block = sources["guided_solve"].constants
    tiles = (
        f"ceil_div(W, {block['COLUMNS']})",
        f"ceil_div(H, {block['ROWS']})",
        f"ceil_div(C, {block['CLASSES']})",
    )
    sizes = ("C", "H", "W", "radius")

    def iteration(state: str) -> tuple[Step, ...]:
        return (
            _over_pixels("softmax_message", sources, (state, "weights", "message", "C", PIXELS)),
            Step("guided_solve", tiles, ("message", "guide", "stats", "coefficients", *sizes)),
            Step(
                "guided_update",
                tiles,
                ("coefficients", "guide", "stats", "scores", "refined", *sizes),
            ),
        )

    columns = sources["guided_stats"].constants["COLUMNS"]
    stats = Step(
        "guided_stats",
        (f"ceil_div(W, {columns})", "H", "1"),
        ("guide", "stats", "H", "W", "radius", "eps"),
    )
    return Program(
        inputs=(
            Tensor("scores", "float32", ("C", "H", "W")),
            Tensor("guide", "float32", ("3", "H", "W")),
            Tensor("weights", "float32", ("C", "C")),
        ),
        outputs=(Tensor("refined", "float32", ("C", "H", "W")),),
        attributes=("radius", "eps", "iterations"),
        workspace=(
            Scratch("stats", "float32", f"10 * {PIXELS}"),
            Scratch("message", storage, f"C * {PIXELS}"),
            Scratch("coefficients", storage, f"4 * C * {PIXELS}"),
        ),
        before=(stats, *iteration("scores")),
        repeat="iterations - 1",
        each=iteration("refined"),
        after=(),
    )


def _mean_field(sources: Mapping[str, Source]) -> Program:
    rows = sources["message_matrix"].constants["ROWS"]

    def weigh(name: str) -> Step:
        arguments = ("compatibility", f"{name}_weight", f"message_{name}", "C")
        return Step("message_matrix", (f"ceil_div(C, {rows})", "1", "1"), arguments)

    splat = ("corner_{0}", "share_{0}", "splat_{0}")
    read = ("corner_{0}", "share_{0}", "inverse_{0}", "filtered_{0}", "message_{0}")

    def both(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.format(kind) for kind in ("spatial", "bilateral") for name in names)

    blurs = (*_blurs("spatial", sources), *_blurs("bilateral", sources))
    shape = Tensor("scores", "float32", ("C", "H", "W"))
    square = ("C", "C")
    return Program(
        inputs=(
            shape,
            Tensor("image", "float32", ("3", "H", "W")),
            Tensor("spatial_weight", "float32", square),
            Tensor("bilateral_weight", "float32", square),
            Tensor("compatibility", "float32", square),
        ),
        outputs=(Tensor("refined", "float32", shape.shape),),
        attributes=("sxy_spatial", "sxy", "srgb", "iterations"),
        workspace=(*_lattice_arrays("spatial"), *_lattice_arrays("bilateral")),
        before=(
            weigh("spatial"),
            weigh("bilateral"),
            *_build("spatial", ("1 / sxy_spatial",), sources),
            *_build("bilateral", ("1 / sxy", "1 / srgb"), sources),
            _over_pixels("mean_field_splat", sources, ("scores", *both(splat), "C", PIXELS)),
            *blurs,
        ),
        repeat="iterations - 1",
        each=(
            _over_pixels(
                "mean_field_update",
                sources,
                ("scores", *both((*read, "splat_{0}")), "C", PIXELS),
            ),
            *blurs,
        ),
        after=(
            _over_pixels(
                "mean_field_scores", sources, ("scores", *both(read), "refined", "C", PIXELS)
            ),
        ),
        limits=(BILATERAL_KEYS,),
    )


BILATERAL_KEYS = Limit(
    "W / sxy + H / sxy + 765 / srgb",
    400,
    "raise sxy or srgb of the recipe's mean_field, or export without kernels",
)
"""A key has 12 bits for each of the 5 coordinates, which are at most 5 times this sum; beyond that
distant vertices would fall together."""


VERTICES = {
    "spatial": f"min(3 * {PIXELS}, ceil_div(1.2 * {PIXELS}, sxy_spatial * sxy_spatial)"
    " + ceil_div(4 * (H + W), sxy_spatial) + 16)",
    "bilateral": f"min(6 * {PIXELS}, max(262144, {PIXELS} // 2))",
}
"""Room of each lattice. All corners of all pixels can be different ones (3 N and 6 N), but the
spatial lattice covers a rectangle with 2 / sqrt(3) / sxy^2 vertices a pixel, and its border. How
many the bilateral one has depends on the image: 5,000 to 40,000 at 360 x 480 on CamVid with a dense
CRF's usual parameters (measured); corners beyond its room are left out."""


def _slots(kind: str) -> str:
    return f"power_of_two(2 * {VERTICES[kind]})"


def _lattice_arrays(kind: str) -> tuple[Scratch, ...]:
    corners, vertices, slots = CORNERS[kind], VERTICES[kind], _slots(kind)
    return (
        Scratch(f"table_{kind}", "int64", slots),
        Scratch(f"vertex_{kind}", "int32", slots),
        Scratch(f"key_{kind}", "int64", vertices),
        Scratch(f"count_{kind}", "int32", "1"),
        Scratch(f"neighbour_{kind}", "int32", f"{2 * corners} * {vertices}"),
        Scratch(f"corner_{kind}", "int32", f"{corners} * {PIXELS}"),
        Scratch(f"share_{kind}", "float32", f"{corners} * {PIXELS}"),
        Scratch(f"ones_{kind}", "float32", vertices),
        Scratch(f"blurred_ones_{kind}", "float32", vertices),
        Scratch(f"inverse_{kind}", "float32", PIXELS),
        Scratch(f"message_{kind}", "float32", "C * C"),
        Scratch(f"splat_{kind}", "float32", f"C * {vertices}"),
        Scratch(f"half_{kind}", "float32", f"C * {vertices}"),
        Scratch(f"filtered_{kind}", "float32", f"C * {vertices}"),
    )


def _build(kind: str, scales: tuple[str, ...], sources: Mapping[str, Source]) -> tuple[Step, ...]:
    """Everything of a lattice that depends on the image alone."""
    image = ("image",) if kind == "bilateral" else ()
    table, corner, share = f"table_{kind}", f"corner_{kind}", f"share_{kind}"
    vertex, key, count = f"vertex_{kind}", f"key_{kind}", f"count_{kind}"
    ones, blurred = f"ones_{kind}", f"blurred_ones_{kind}"
    slots, vertices = _slots(kind), VERTICES[kind]
    number = sources["lattice_number"].constants["SLOTS"]
    neighbours = f"lattice_neighbours_{kind}"
    turns = [(ones, blurred), (blurred, ones)]
    blurs = [_blur(kind, axis, *turns[axis % 2], "1", sources) for axis in range(CORNERS[kind])]
    result = turns[CORNERS[kind] % 2][0]
    return (
        Step(MEMSET, (), (table, "255")),
        Step(MEMSET, (), (count, "0")),
        Step(MEMSET, (), (ones, "0")),
        _over_pixels(
            f"lattice_build_{kind}",
            sources,
            (*image, table, corner, share, "H", "W", slots, *scales),
        ),
        Step(
            "lattice_number",
            (f"ceil_div({slots}, {number})", "1", "1"),
            (table, vertex, key, count, slots, vertices),
        ),
        Step(
            neighbours,
            _over_vertices(kind, sources[neighbours].constants["VERTICES"]),
            (table, vertex, key, count, f"neighbour_{kind}", slots, vertices),
        ),
        _clear(kind, sources),
        _over_pixels(f"lattice_index_{kind}", sources, (corner, share, vertex, ones, PIXELS)),
        *blurs,
        _over_pixels(
            f"lattice_inverse_{kind}",
            sources,
            (result, corner, share, f"inverse_{kind}", PIXELS),
        ),
    )


def _blurs(kind: str, sources: Mapping[str, Source]) -> tuple[Step, ...]:
    """Blur what was splat into `filtered`, and clear `splat`."""
    source, half, filtered = f"splat_{kind}", f"half_{kind}", f"filtered_{kind}"
    # The last blur has to end in `filtered`, the first to leave `splat` behind for good.
    later = [filtered if (CORNERS[kind] - axis) % 2 else half for axis in range(CORNERS[kind])]
    blurs = [
        _blur(kind, axis, before, after, "C", sources)
        for axis, (before, after) in enumerate(zip([source, *later], later, strict=False))
    ]
    return (*blurs, _clear(kind, sources))


def _clear(kind: str, sources: Mapping[str, Source]) -> Step:
    """Make `splat` ready for the next one, as far as there are vertices."""
    grid = _over_vertices(kind, sources["lattice_clear"].constants["BLOCK"] // 16)
    arguments = (f"splat_{kind}", f"count_{kind}", VERTICES[kind], "C")
    return Step("lattice_clear", grid, arguments)


def _blur(
    kind: str, axis: int, before: str, after: str, channels: str, sources: Mapping[str, Source]
) -> Step:
    grid = _over_vertices(kind, sources["lattice_blur"].constants["VERTICES"])
    return Step(
        "lattice_blur",
        grid,
        (
            before,
            after,
            f"neighbour_{kind}",
            f"count_{kind}",
            str(axis),
            VERTICES[kind],
            channels,
        ),
    )


def _describe(sources: Mapping[str, Source]) -> Program:
    maps = ("labels", "confidence", "entropy")
    arguments = ("scores", *maps, "C", "h", "w", "H", "W")
    return _single_use(
        inputs=(Tensor("scores", "float32", ("C", "h", "w")),),
        outputs=tuple(Tensor(name, "uint8", ("H", "W")) for name in maps),
        attributes=("H", "W"),
        steps=(_over_pixels("upsample_argmax", sources, arguments),),
    )


def _normalise_image(sources: Mapping[str, Source]) -> Program:
    return _single_use(
        inputs=(Tensor("image", "uint8", ("H", "W", "3")),),
        outputs=(Tensor("normalised", "float32", ("3", "H", "W")),),
        workspace=(Scratch("moments", "int64", "6"),),
        steps=(
            Step(MEMSET, (), ("moments", "0")),
            _over_pixels("image_moments", sources, ("image", "moments", PIXELS)),
            _over_pixels("normalise_image", sources, ("image", "moments", "normalised", PIXELS)),
        ),
    )


def _single_use(
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    steps: tuple[Step, ...],
    attributes: tuple[str, ...] = (),
    workspace: tuple[Scratch, ...] = (),
) -> Program:
    return Program(inputs, outputs, attributes, workspace, steps, "0", (), ())


def _over_pixels(kernel: str, sources: Mapping[str, Source], arguments: tuple[str, ...]) -> Step:
    block = sources[kernel].constants["PIXELS"]
    return Step(kernel, (f"ceil_div({PIXELS}, {block})", "1", "1"), arguments)


def _over_vertices(kind: str, block: int) -> tuple[str, str, str]:
    return f"min(ceil_div({VERTICES[kind]}, {block}), {MAX_BLOCKS})", "1", "1"
