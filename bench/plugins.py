"""Measure what the plugins cost the CPU: the Python between TensorRT and the driver, per frame.

``python bench/plugins.py [--kernels DIR]`` times `enqueue` of the guided CRF and of the mean field,
with NVIDIA's own bindings, over a compiled libcuda that drives no GPU (test/fake_libcuda.c): every
launch crosses into C with all its arguments, and returns at once. Next to it stands a bare
`cuLaunchKernel` through ctypes, as often: what no launcher in Python can go below. DIR is a
bundle's kernels folder; without it the kernels are compiled first (needs torch and triton).

What is not in the figures: the driver's own time for a launch (2 to 5 us each on a GPU), and
TensorRT's call into Python. Both vanish from a frame once the engine is replayed as a CUDA graph.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from ctypes import addressof, c_int, c_void_p
from hashlib import sha256
from pathlib import Path
from typing import Any

from seg_perception.runtime.cuda import CudaDriver
from seg_perception.runtime.kernel_programs import KernelFile, plan
from seg_perception.runtime.plugins.kernels import Kernels

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test"))

from fake_libcuda import compile_libcuda  # noqa: E402
from real_tensorrt import load_tensorrt  # noqa: E402

REPEATS = 2000
TARGET_US = 150.0
CASES = {
    "guided CRF, 3 iterations, 120x90": (
        "GuidedCrf",
        (90, 120),
        {"radius": 3, "eps": 1.0, "iterations": 3},
    ),
    "mean field, 5 iterations, 480x360": (
        "MeanField",
        (360, 480),
        {"sxy_spatial": 3.0, "sxy": 60.0, "srgb": 10.0, "iterations": 5},
    ),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=Path, metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trt = load_tensorrt(Path(folder))
        driver = CudaDriver(str(compile_libcuda(Path(folder))))
        kernels = open_folder(options.kernels or compiled(Path(folder) / "kernels"))
        print(f"TensorRT bindings {trt.__version__}, {kernels.file.classes} classes\n")
        print("| plugin | launches | enqueue, us | bare launches, us | ratio |")
        print("|---|---|---|---|---|")
        sums = [0.0, 0.0]
        for name, (operator, size, attributes) in CASES.items():
            enqueue, launches = prepared(trt, kernels, driver, operator, size, attributes)
            ours_us, bare_us = median_us(enqueue), median_us(bare(driver, launches))
            print(row(name, launches, ours_us, bare_us))
            sums = [sums[0] + ours_us, sums[1] + bare_us]
        print(row("both, one after the other", "", *sums))
        print(f"\ntarget: {TARGET_US:g} us, {'met' if sums[0] <= TARGET_US else 'missed'} by both")


def open_folder(folder: Path) -> Kernels:
    """The kernels of a folder, without a bundle around it."""
    content = (folder / "kernels.json").read_bytes()
    return Kernels(
        KernelFile.from_json(content.decode()),
        lambda name: (folder / name).read_bytes(),
        sha256(content).hexdigest(),
    )


def compiled(folder: Path, architectures: Sequence[int] = ()) -> Path:
    """Kernels for CamVid's 11 classes, for these compute capabilities (87, ...) and as PTX."""
    from training.export.compile_kernels import compile_kernels

    compile_kernels(folder, 11, architectures=architectures)
    return folder


def prepared(
    trt: Any,
    kernels: Kernels,
    driver: CudaDriver,
    operator: str,
    size: tuple[int, int],
    attributes: dict[str, Any],
) -> tuple[Callable[[], Any], int]:
    """`enqueue` of a plugin with its arguments, and how many launches it makes."""
    from seg_perception.runtime.plugins import plugin as plugins

    program = kernels.file.programs[operator]
    sizes = {"C": kernels.file.classes, "H": size[0], "W": size[1]}
    shapes = {
        tensor.name: tuple(sizes.get(entry) or int(entry) for entry in tensor.shape)
        for tensor in program.inputs
    }
    described = [description(trt, shape) for shape in shapes.values()]
    made = getattr(plugins, operator)(kernels, driver, attributes)
    made.on_shape_change(described, described[:1])
    addresses = [1 << 20 | i << 8 for i in range(len(described))]
    enqueue = lambda: made.enqueue(described, described[:1], addresses, [1 << 21], 1 << 22, 7)  # noqa: E731
    return enqueue, len(plan(program, shapes, attributes).launches)


def description(trt: Any, shape: tuple[int, ...]) -> Any:
    """Of a dense float32 tensor, with a batch where it has channels."""
    desc = trt.PluginTensorDesc()
    desc.dims, desc.type = (1, *shape) if len(shape) == 3 else shape, trt.float32
    return desc


def bare(driver: CudaDriver, launches: int) -> Callable[[], None]:
    """As many launches, each with the same arguments, straight to the library."""
    value = c_int(1)
    arguments = (c_void_p * 8)(*[addressof(value)] * 8)
    call = driver._launch

    def launch() -> None:
        for _ in range(launches):
            call(1, 1, 1, 1, 128, 1, 1, 0, 7, arguments, None)
        assert value.value

    return launch


def median_us(work: Callable[[], Any]) -> float:
    """Median time of one call, microseconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(1e6 * (time.perf_counter() - start))
    return statistics.median(times[REPEATS // 10 :])


def row(name: str, launches: int | str, ours_us: float, bare_us: float) -> str:
    """Of the table."""
    return f"| {name} | {launches} | {ours_us:.0f} | {bare_us:.0f} | {ours_us / bare_us:.2f} |"


if __name__ == "__main__":
    main()
