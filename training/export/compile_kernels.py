"""Compile every GPU kernel for every supported GPU, on a machine without one.

    python -m training.export.compile_kernels --classes 19 --out kernels

writes `kernels.json` (docs/kernels.md) and one file a kernel and architecture, and prints what each
takes of the GPU. Needs `pip install triton`, which brings the assembler along.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seg_perception.runtime.kernel_programs import (
    FORMAT_VERSION,
    KERNELS_FILE,
    PTX,
    Binary,
    Kernel,
    KernelFile,
)
from training.kernels.programs import programs
from training.kernels.sources import STORAGE, Source, kernel_sources

ARCHITECTURES = (87, 89, 90, 100, 110, 120)
"""Jetson Orin; Ada; Hopper; Blackwell (data centre, Jetson Thor, desktop)."""

PTX_CAPABILITY = 80
"""Ampere and everything after it can run the fallback."""

PTX_VERSION = 80
"""Of CUDA 12.0, which JetPack 6 and newer drivers read."""

SHARED_BYTES = {87: 163, 89: 99, 90: 227, 100: 227, 110: 227, 120: 99}
"""Most shared memory a block may have, KiB (CUDA C++ programming guide, technical specifications
per compute capability)."""

TYPES = {"float32": "fp32", "float16": "fp16", "int32": "i32", "int64": "i64", "uint8": "u8"}
"""Triton's names."""


@dataclass(frozen=True)
class Compiled:
    """One file of the folder, and its entry in `kernels.json`."""

    binary: Binary
    entry: str
    content: bytes


def compile_kernels(
    out: Path,
    classes: int,
    storage: str = "float32",
    architectures: Iterable[int] = ARCHITECTURES,
) -> KernelFile:
    """Write the `kernels` folder of a bundle.

    Args:
        out: the folder, made if it is not there.
        classes: C of the bundle.
        storage: dtype of the large intermediate arrays, "float32" or "float16".
        architectures: compute capabilities, 10 major + minor; PTX comes on top.

    Raises:
        ValueError: no such number of classes or storage.
        RuntimeError: Triton is set to its interpreter.
    """
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("TRITON_INTERPRET=1 runs kernels in Python: unset it to compile them")
    sources = kernel_sources(classes, storage)
    jobs = [
        (name, classes, storage, capability)
        for name in sources
        for capability in (*architectures, None)
    ]
    # Not forked: torch's threads and Triton's compiler do not survive it.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        made = dict(zip(jobs, pool.map(_compile_one, *zip(*jobs, strict=True)), strict=True))
    out.mkdir(parents=True, exist_ok=True)
    for compiled in made.values():
        (out / compiled.binary.file).write_bytes(compiled.content)
    file = KernelFile(
        format_version=FORMAT_VERSION,
        compiler=f"triton {triton.__version__}",
        classes=classes,
        storage=storage,
        kernels={
            name: _kernel(source, [one for job, one in made.items() if job[0] == name])
            for name, source in sources.items()
        },
        programs=programs(sources, storage),
    )
    (out / KERNELS_FILE).write_text(file.to_json())
    return file


def architecture_of(binary: Binary) -> str:
    """The key of a binary in `Kernel.binaries`: what stands before or behind the last dot."""
    parts = binary.file.split(".")
    return PTX if parts[-1] == PTX else parts[-2]


def resource_report(file: KernelFile) -> str:
    """Registers a thread, shared memory a block and spills, one line a kernel and architecture."""
    rows = [f"{'kernel':<30}{'arch':<8}{'registers':>10}{'shared B':>10}{'spill B':>9}"]
    for name, kernel in file.kernels.items():
        for architecture, binary in kernel.binaries.items():
            if architecture != PTX:
                rows.append(
                    f"{name:<30}{architecture:<8}{binary.registers:>10}"
                    f"{binary.shared_bytes:>10}{binary.spill_bytes:>9}"
                )
    return "\n".join(rows)


def over_the_limits(file: KernelFile) -> list[str]:
    """Kernels that spill registers or ask for more shared memory than the GPU has, in words."""
    found = []
    for name, kernel in file.kernels.items():
        for architecture, binary in kernel.binaries.items():
            if binary.spill_bytes:
                found.append(f"{name} spills {binary.spill_bytes} bytes on {architecture}")
            limit = _shared_limit(architecture)
            if binary.shared_bytes > limit:
                found.append(
                    f"{name} takes {binary.shared_bytes} of {limit} bytes of shared memory "
                    f"on {architecture}"
                )
    return found


def _shared_limit(architecture: str) -> int:
    if architecture == PTX:  # it may come to run anywhere
        return min(SHARED_BYTES.values()) * 1024
    return SHARED_BYTES[int(architecture.removeprefix("sm_"))] * 1024


def _kernel(source: Source, compiled: Sequence[Compiled]) -> Kernel:
    return Kernel(
        entry=compiled[0].entry,
        threads=32 * source.warps,
        arguments=source.arguments,
        constants=dict(source.constants),
        binaries={architecture_of(one.binary): one.binary for one in compiled},
    )


def _compile_one(name: str, classes: int, storage: str, capability: int | None) -> Compiled:
    """One kernel for one architecture; None: the PTX."""
    # Line tables name files of this machine, and are half of a cubin.
    triton.knobs.compilation.disable_line_info = True
    source = kernel_sources(classes, storage)[name]
    made = triton.compile(
        _ast_source(source),
        target=GPUTarget("cuda", capability or PTX_CAPABILITY, 32),
        options={
            "num_warps": source.warps,
            "enable_fp_fusion": True,
            "ptx_version": None if capability else PTX_VERSION,
        },
    )
    content = made.asm["cubin"] if capability else made.asm["ptx"].encode()
    file = f"{name}.sm_{capability}.cubin" if capability else f"{name}.{PTX}"
    registers, spilled = _resources(made.asm["cubin"])
    binary = Binary(
        file=file,
        sha256=sha256(content).hexdigest(),
        shared_bytes=made.metadata.shared,
        registers=registers if capability else 0,
        spill_bytes=spilled if capability else 0,
    )
    return Compiled(binary, made.metadata.name, content)


def _ast_source(source: Source) -> ASTSource:
    names: list[str] = source.function.arg_names
    types = {argument.name: _triton_type(argument.type) for argument in source.arguments}
    pointers = [i for i, name in enumerate(names) if types.get(name, "").startswith("*")]
    return ASTSource(
        fn=source.function,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs=dict(source.constants),
        attrs={(i,): [["tt.divisibility", 16]] for i in pointers},
    )


def _triton_type(kind: str) -> str:
    return "*" * kind.endswith("*") + TYPES[kind.rstrip("*")]


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers a thread, and bytes of local memory a thread.

    The kernels keep no arrays in local memory, so it holds nothing but spilled registers.
    """
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: Mapping[str, str] = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", text))
    return int(found["REG"]), int(found["STACK"]) + int(found["LOCAL"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export.compile_kernels", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--classes", type=int, required=True, help="number of classes")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--storage", choices=STORAGE, default=STORAGE[0])
    options = parser.parse_args(arguments)
    file = compile_kernels(options.out, options.classes, options.storage)
    print(resource_report(file))  # noqa: T201
    if problems := over_the_limits(file):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
