"""The schema of kernels.json: what is read, what is refused, what a program comes to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from seg_perception.errors import BundleError
from seg_perception.runtime.kernel_programs import (
    ALIGNMENT,
    MEMSET,
    Argument,
    Binary,
    Kernel,
    KernelFile,
    Launch,
    Limit,
    Program,
    Scratch,
    Step,
    Tensor,
    evaluate,
    plan,
)

BLUR = Kernel(
    entry="blur",
    threads=128,
    arguments=(
        Argument("values", "float32*"),
        Argument("blurred", "float32*"),
        Argument("size", "int32"),
        Argument("sigma", "float32"),
    ),
    constants={"BLOCK": 64},
    binaries={"sm_87": Binary("blur.sm_87.cubin", "ab" * 32, 1024, 40, 0)},
)
PROGRAM = Program(
    inputs=(Tensor("scores", "float32", ("C", "W")), Tensor("guide", "uint8", ("3", "W"))),
    outputs=(Tensor("blurred", "float32", ("C", "W")),),
    attributes=("iterations", "sigma"),
    workspace=(Scratch("count", "int32", "1"), Scratch("values", "float16", "power_of_two(C * W)")),
    before=(Step(MEMSET, (), ("count", "255")),),
    repeat="iterations - 1",
    each=(
        Step(
            "blur",
            ("ceil_div(W, 64)", "C", "1"),
            ("scores", "blurred", "C * W", "1 / (2 * sigma)"),
        ),
    ),
    after=(Step(MEMSET, (), ("values", "0")),),
)
FILE = KernelFile(1, "triton 3", 5, "float32", {"blur": BLUR}, {"Blur": PROGRAM})
SHAPES = {"scores": (5, 100), "guide": (3, 100)}


def test_survives_json() -> None:
    assert KernelFile.from_json(FILE.to_json()) == FILE


def test_a_limit_is_kept_or_said() -> None:
    limited = replace(PROGRAM, limits=(Limit("W / sigma", 100, "raise sigma"),))
    assert plan(limited, SHAPES, {"iterations": 1, "sigma": 1.01}).launches
    with pytest.raises(BundleError, match=r"W / sigma is 100, .* below 100 only: raise sigma"):
        plan(limited, SHAPES, {"iterations": 1, "sigma": 1.0})


def test_plan_writes_out_repetitions_with_numbers() -> None:
    blur = Launch("blur", (2, 5, 1), ("scores", "blurred", 500, 0.125))
    assert plan(PROGRAM, SHAPES, {"iterations": 3, "sigma": 4.0}).launches == (
        Launch(MEMSET, (0, 0, 0), ("count", 255)),
        blur,
        blur,
        Launch(MEMSET, (0, 0, 0), ("values", 0)),
    )


def test_plan_lays_out_an_aligned_workspace() -> None:
    made = plan(PROGRAM, SHAPES, {"iterations": 1, "sigma": 4.0})
    assert made.sizes == {"count": 4, "values": 512 * 2}
    assert made.offsets == {"count": 0, "values": ALIGNMENT}
    assert made.workspace_bytes == ALIGNMENT + 1024


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ceil_div(7, 2) * min(W, 3) - 1", 11),
        ("max(W, 3) // 3 + power_of_two(5)", 11),
        ("power_of_two(1)", 1),
        ("power_of_two(8)", 8),
        ("1 / W", 0.1),
        ("power_of_two(ceil_div(W * 1.2, 2.5))", 8),
    ],
)
def test_evaluates(expression: str, value: float) -> None:
    assert evaluate(expression, {"W": 10}) == pytest.approx(value)


@pytest.mark.parametrize(
    "expression", ["__import__('os')", "W.real", "Z + 1", "1 +", "1 / 0", "-W"]
)
def test_refuses_any_other_expression(expression: str) -> None:
    with pytest.raises(BundleError, match="cannot be evaluated"):
        evaluate(expression, {"W": 10})


@pytest.mark.parametrize(
    ("shapes", "attributes", "message"),
    [
        ({"scores": (5, 100)}, {"iterations": 1, "sigma": 1}, "'guide' has shape"),
        ({**SHAPES, "guide": (3, 90)}, {"iterations": 1, "sigma": 1}, "W is 90 instead of 100"),
        ({**SHAPES, "guide": (1, 100)}, {"iterations": 1, "sigma": 1}, "3 is 1 instead of 3"),
        (SHAPES, {"iterations": 1}, "attribute 'sigma' is missing"),
        (SHAPES, {"iterations": 0, "sigma": 1}, "at least one iteration"),
    ],
)
def test_plan_refuses(
    shapes: dict[str, tuple[int, ...]], attributes: dict[str, float], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        plan(PROGRAM, shapes, attributes)


def test_refuses_a_newer_format_and_what_is_no_json() -> None:
    with pytest.raises(BundleError, match="format 2"):
        KernelFile.from_json(json.dumps({"format_version": 2}))
    with pytest.raises(BundleError, match="not JSON"):
        KernelFile.from_json("{")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("sharpen", ("1", "1", "1"), ()), "launches 'sharpen'"),
        (replace(PROGRAM.each[0], grid=("1",)), "a grid of 3"),
        (replace(PROGRAM.each[0], arguments=("scores",)), "blur takes"),
        (replace(PROGRAM.each[0], arguments=("scores", "values", "1", "1")), "float16"),
        (replace(PROGRAM.each[0], arguments=("scores", "blurred", "guide", "1")), "uint8"),
        (replace(PROGRAM.each[0], arguments=("C", "blurred", "1", "1")), "a number"),
        (Step(MEMSET, (), ("scores", "0")), "an array of the workspace and a byte"),
        (Step(MEMSET, (), ("values", "256")), "an array of the workspace and a byte"),
        (Step(MEMSET, (), ("values",)), "an array of the workspace and a byte"),
    ],
)
def test_refuses_a_program_that_its_kernels_do_not_fit(step: Step, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        replace(FILE, programs={"Blur": replace(PROGRAM, each=(step,))})


def test_refuses_an_unknown_dtype() -> None:
    odd = replace(PROGRAM, workspace=(Scratch("values", "float8", "1"),))
    with pytest.raises(BundleError, match="float8"):
        replace(FILE, programs={"Blur": odd})
