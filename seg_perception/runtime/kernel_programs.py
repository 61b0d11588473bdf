"""Precompiled GPU kernels and the order of their launches: `kernels.json` (docs/kernels.md).

A *program* is what one custom operator does: scratch arrays, then launches in order. Everything a
launch needs is written down as plain expressions of the input's sizes and the operator's
attributes, so the code that launches knows nothing of the kernels.
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seg_perception.errors import BundleError
from seg_perception.runtime.json_record import decode

FORMAT_VERSION = 1
KERNELS_FOLDER = "kernels"
KERNELS_FILE = "kernels.json"
PTX = "ptx"
"""Name of the fallback among a kernel's binaries."""

MEMSET = "memset"
"""Name of the one step that is no kernel: set every byte of an array to a value."""

ALIGNMENT = 256
"""Bytes; every scratch array starts at a multiple. Kernels were compiled for multiples of 16."""

DTYPE_BYTES = {"uint8": 1, "float16": 2, "float32": 4, "int32": 4, "int64": 8}

Number = int | float


@dataclass(frozen=True)
class Argument:
    """One argument of a kernel; type is a dtype followed by "*" (device pointer), int32, float32.

    After these come Triton's two hidden pointers (global and profile scratch): pass null.
    """

    name: str
    type: str


@dataclass(frozen=True)
class Binary:
    """A kernel compiled for one architecture.

    Attributes:
        file: path relative to `KERNELS_FOLDER`; a cubin, or the text of the PTX.
        sha256: hexadecimal, of the file.
        shared_bytes: dynamic shared memory a block.
        registers: a thread; 0 in PTX, where the driver assigns them.
        spill_bytes: local memory a thread, for registers that did not fit.
    """

    file: str
    sha256: str
    shared_bytes: int
    registers: int
    spill_bytes: int


@dataclass(frozen=True)
class Kernel:
    """A kernel and how to launch it.

    Attributes:
        entry: name of the function inside the binary.
        threads: threads a block, all along x.
        arguments: in order.
        constants: compiled in, for the record.
        binaries: by architecture, "sm_87", ...; and `PTX`.
    """

    entry: str
    threads: int
    arguments: tuple[Argument, ...]
    constants: Mapping[str, int]
    binaries: Mapping[str, Binary]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a program.

    Attributes:
        name: as the steps call it.
        dtype: a key of `DTYPE_BYTES`.
        shape: names of sizes or numbers, without the batch. An input's shape gives the names their
            values; an output's may also name attributes.
    """

    name: str
    dtype: str
    shape: tuple[str, ...]


@dataclass(frozen=True)
class Scratch:
    """An array of the workspace, `size` (an expression) elements."""

    name: str
    dtype: str
    size: str


@dataclass(frozen=True)
class Step:
    """A launch.

    Attributes:
        kernel: a name of `KernelFile.kernels`, or `MEMSET`.
        grid: blocks along x, y, z as expressions; empty for `MEMSET`.
        arguments: names of tensors or scratch arrays, and expressions; one for each of the
            kernel's arguments. `MEMSET`: the array of the workspace, the byte.
    """

    kernel: str
    grid: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Limit:
    """What shapes and attributes must keep, or the kernels answer wrongly.

    Attributes:
        value: an expression.
        below: what it must stay below.
        advice: what to do where it does not.
    """

    value: str
    below: int
    advice: str


@dataclass(frozen=True)
class Program:
    """The launches of one operator: `before` once, `each` `repeat` times, `after` once.

    Attributes:
        attributes: names of the operator's attributes that expressions use.
        repeat: an expression.
        limits: all must be kept.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    attributes: tuple[str, ...]
    workspace: tuple[Scratch, ...]
    before: tuple[Step, ...]
    repeat: str
    each: tuple[Step, ...]
    after: tuple[Step, ...]
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class KernelFile:
    """`kernels.json`.

    Attributes:
        format_version: this code reads `FORMAT_VERSION`.
        compiler: name and version, for the record.
        classes: C that the kernels were compiled for.
        storage: "float32" or "float16": dtype of the large intermediate arrays.
        kernels: by name.
        programs: by name of the operator.
    """

    format_version: int
    compiler: str
    classes: int
    storage: str
    kernels: Mapping[str, Kernel]
    programs: Mapping[str, Program]

    def __post_init__(self) -> None:
        for name, program in self.programs.items():
            _check_program(name, program, self.kernels)

    def to_json(self) -> str:
        """The text of `kernels.json`."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> KernelFile:
        """Read the text of a `kernels.json`.

        Raises:
            BundleError: it is not JSON, of another format version, or breaks the schema.
        """
        try:
            record = json.loads(text)
        except ValueError as error:
            raise BundleError(f"{KERNELS_FILE} is not JSON ({error}): export again") from None
        version = record.get("format_version") if isinstance(record, dict) else None
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{KERNELS_FILE} is of format {version!r}, this code reads {FORMAT_VERSION}: "
                "export again, or update seg_perception"
            )
        found: KernelFile = decode(KernelFile, record, KERNELS_FILE)
        return found


@dataclass(frozen=True)
class Launch:
    """A step with its numbers: what enqueue walks through.

    Attributes:
        kernel: name, or `MEMSET` (arguments: array, byte).
        grid: blocks along x, y, z; (0, 0, 0) for `MEMSET`.
        arguments: str names an array, anything else is passed by value.
    """

    kernel: str
    grid: tuple[int, int, int]
    arguments: tuple[str | Number, ...]


@dataclass(frozen=True)
class Plan:
    """A program for given shapes and attributes.

    Attributes:
        offsets: byte offset of each scratch array in the workspace, multiples of `ALIGNMENT`.
        sizes: bytes of each scratch array.
        workspace_bytes: of all of them.
        launches: in order, repetitions written out.
    """

    offsets: Mapping[str, int]
    sizes: Mapping[str, int]
    workspace_bytes: int
    launches: tuple[Launch, ...]


def plan(
    program: Program, shapes: Mapping[str, Sequence[int]], attributes: Mapping[str, Number]
) -> Plan:
    """Work out a program's workspace and launches. The kernels hold for C = `KernelFile.classes`.

    Args:
        program: of `KernelFile.programs`.
        shapes: shape of every input by name, without the batch.
        attributes: value of each of `program.attributes`.

    Raises:
        BundleError: inputs or attributes are missing, shapes contradict each other, a limit is not
            kept, or there is nothing to repeat (`repeat` is negative).
    """
    values: dict[str, Number] = {**_sizes(program.inputs, shapes)}
    for name in program.attributes:
        if name not in attributes:
            raise BundleError(
                f"attribute {name!r} is missing: give {', '.join(program.attributes)}"
            )
        values[name] = attributes[name]
    _check_limits(program.limits, values)
    offsets, sizes, end = {}, {}, 0
    for array in program.workspace:
        offsets[array.name] = end
        sizes[array.name] = int(evaluate(array.size, values)) * DTYPE_BYTES[array.dtype]
        end += -(-sizes[array.name] // ALIGNMENT) * ALIGNMENT
    repeat = int(evaluate(program.repeat, values))
    if repeat < 0:
        raise BundleError(f"{program.repeat} is {repeat}: give at least one iteration")
    steps = program.before + program.each * repeat + program.after
    arrays = frozenset(array.name for array in _arrays(program))
    return Plan(offsets, sizes, end, tuple(_launch(step, arrays, values) for step in steps))


def evaluate(expression: str, values: Mapping[str, Number]) -> Number:
    """Value of an expression: numbers, names, + - * / //, ceil_div, min, max, power_of_two.

    Raises:
        BundleError: it holds anything else, or a name without a value.
    """
    try:
        value: Number = _value(ast.parse(expression, mode="eval").body, values)
        return value
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError) as error:
        raise BundleError(
            f"expression {expression!r} of {KERNELS_FILE} cannot be evaluated ({error}): "
            "export again"
        ) from None


def power_of_two(x: int) -> int:
    """The smallest power of two that is at least x (x >= 1)."""
    return 1 << (x - 1).bit_length()


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "ceil_div": lambda a, b: int(-(-a // b)),  # an integer, also of attributes that are not
    "min": min,
    "max": max,
    "power_of_two": power_of_two,
}


def _value(node: ast.expr, values: Mapping[str, Number]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _FUNCTIONS[name](*(_value(argument, values) for argument in arguments))
    raise TypeError(f"{type(node).__name__} is not allowed")


def _sizes(inputs: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for tensor in inputs:
        shape = shapes.get(tensor.name, ())
        if len(shape) != len(tensor.shape):
            raise BundleError(
                f"input {tensor.name!r} has shape {tuple(shape)} instead of "
                f"[{', '.join(tensor.shape)}]"
            )
        for name, size in zip(tensor.shape, shape, strict=True):
            expected = int(name) if name.isdecimal() else sizes.setdefault(name, size)
            if expected != size:
                raise BundleError(
                    f"{name} is {size} instead of {expected} in input {tensor.name!r}: "
                    f"its shape is [{', '.join(tensor.shape)}]"
                )
    return sizes


def _check_limits(limits: Sequence[Limit], values: Mapping[str, Number]) -> None:
    for limit in limits:
        found = evaluate(limit.value, values)
        if not found < limit.below:
            raise BundleError(
                f"{limit.value} is {found:.0f}, and the kernels are right below {limit.below} only:"
                f" {limit.advice}"
            )


def _launch(step: Step, arrays: frozenset[str], values: Mapping[str, Number]) -> Launch:
    grid = [int(evaluate(expression, values)) for expression in step.grid] or [0, 0, 0]
    arguments = tuple(
        argument if argument in arrays else evaluate(argument, values)
        for argument in step.arguments
    )
    return Launch(step.kernel, (grid[0], grid[1], grid[2]), arguments)


def _arrays(program: Program) -> tuple[Tensor | Scratch, ...]:
    return (*program.inputs, *program.outputs, *program.workspace)


def _check_program(name: str, program: Program, kernels: Mapping[str, Kernel]) -> None:
    where = f"{KERNELS_FILE}: program {name}"
    dtypes = {array.name: array.dtype for array in _arrays(program)}
    for array, dtype in dtypes.items():
        if dtype not in DTYPE_BYTES:
            raise BundleError(f"{where}: {array} is of unknown dtype {dtype!r}: export again")
    for step in (*program.before, *program.each, *program.after):
        if step.kernel == MEMSET:
            _check_memset(step, [array.name for array in program.workspace], where)
            continue
        if step.kernel not in kernels:
            raise BundleError(f"{where} launches {step.kernel!r}, which is not there: export again")
        expected = [argument.type for argument in kernels[step.kernel].arguments]
        found = [f"{dtypes[name]}*" if name in dtypes else "a number" for name in step.arguments]
        if len(step.grid) != 3 or not _fits(expected, found):
            raise BundleError(
                f"{where}: {step.kernel} takes {expected} and a grid of 3, "
                f"found {found} and {len(step.grid)}: export again"
            )


def _check_memset(step: Step, scratch: Sequence[str], where: str) -> None:
    match step.arguments:
        case (array, byte) if array in scratch and byte.isdecimal() and int(byte) < 256:
            return
    raise BundleError(
        f"{where}: {MEMSET} takes an array of the workspace and a byte, found "
        f"{list(step.arguments)}: export again"
    )


def _fits(expected: Sequence[str], found: Sequence[str]) -> bool:
    return len(expected) == len(found) and all(
        there == (wanted if wanted.endswith("*") else "a number")
        for wanted, there in zip(expected, found, strict=True)
    )
