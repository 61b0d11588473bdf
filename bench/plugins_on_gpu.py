"""Run the plugins' launches on a real GPU, without TensorRT: torch keeps memory and stream.

``python bench/plugins_on_gpu.py --kernels DIR`` takes the kernels of a bundle (cubins as on the
vehicle, loaded through libcuda), launches the guided CRF and the mean field as `enqueue` does, on
torch's memory, stream and primary context, checks the answers against the plain torch reference in
float64, captures them in a CUDA graph as the runner does, and times both. A fresh answer of the
graph must equal the first bit by bit, or nearly so where atomics add in any order.

Needs torch with CUDA. Where NVIDIA's TensorRT bindings are installed as well, see
test/real_tensorrt.py, the plugin classes themselves are driven; else the launcher that their
`enqueue` consists of.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seg_perception.runtime.cuda import CudaDriver
from seg_perception.runtime.plugins.kernels import Kernels
from seg_perception.runtime.plugins.launcher import Launcher
from training.refiners import (
    GuidedCrfConfig,
    GuidedCrfRefiner,
    MeanFieldConfig,
    MeanFieldRefiner,
)
from training.refiners.protocol import OperatorRefiner

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
sys.path.insert(0, str(ROOT / "test"))

from plugins import compiled, description, open_folder  # noqa: E402
from real_tensorrt import AbsentError, load_tensorrt  # noqa: E402

REPEATS = 200
LIMIT = 1e-4
"""Relative error of float32 kernels against the reference in float64 (issue 4)."""


@dataclass(frozen=True)
class Case:
    """One operator at one size (height, width) of its scores."""

    name: str
    refiner: OperatorRefiner[Any, Any]
    size: tuple[int, int]


@dataclass(frozen=True)
class Work:
    """What one `enqueue` does; `go` puts it on the current stream."""

    go: Callable[[], None]
    output: Tensor
    by: str


def main() -> None:
    """Print the table; exit 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=Path, metavar="DIR")
    options = parser.parse_args()
    torch.zeros(1, device="cuda")  # makes the primary context current, as the runner does
    driver = CudaDriver()
    print(f"{torch.cuda.get_device_name()}, {driver.architecture()}, torch {torch.__version__}\n")
    print("| plugin | by | relative error | launched, ms | as a graph, ms | graph's difference |")
    print("|---|---|---|---|---|---|")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        ours = [int(driver.architecture().removeprefix("sm_"))]
        kernels = open_folder(options.kernels or compiled(Path(folder) / "kernels", ours))
        for case in cases(kernels.file.classes):
            failed |= measured(case, kernels, driver)
    sys.exit(failed)


def cases(classes: int) -> list[Case]:
    """The sizes of issue 4, for the kernels' number of classes."""
    guided = GuidedCrfRefiner(classes, {}, GuidedCrfConfig()).eval()
    # With sxy 160 and srgb 3 the noise alone makes 2.3 million vertices of the largest image, more
    # than the bilateral lattice has room for (docs/kernels.md).
    config = replace(MeanFieldConfig(), sxy=80.0, srgb=13.0, iterations=5)
    dense = MeanFieldRefiner(classes, {}, config).eval()
    return [
        Case("guided CRF, 3 iterations, 500x300", guided, (300, 500)),
        Case("guided CRF, 3 iterations, 120x90", guided, (90, 120)),
        Case("guided CRF, 3 iterations, 512x256", guided, (256, 512)),
        Case("mean field, 5 iterations, 480x360", dense, (360, 480)),
        Case("mean field, 5 iterations, 2048x1024", dense, (1024, 2048)),
    ]


def measured(case: Case, kernels: Kernels, driver: CudaDriver) -> bool:
    """Print a row; whether the answer is wrong."""
    operands = random_operands(case, kernels.file.classes)
    expected = reference(case.refiner, operands)
    work = prepared(case.refiner, operands, kernels, driver)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        work.go()
        stream.synchronize()
        found = work.output.clone()
        launched_ms = milliseconds(work.go)
        graph = captured(driver, stream.cuda_stream, work.go)
        graph_ms = milliseconds(lambda: driver.launch_graph(graph, stream.cuda_stream))
        stream.synchronize()
        driver.destroy_graph(graph)
    again = (work.output - found).abs().max().item()
    error = (found.double() - expected).norm().item() / expected.norm().item()
    verdict = f"{error:.1e}" + ("" if error <= LIMIT else " WRONG")
    times = f"{launched_ms:.3f} | {graph_ms:.3f}"
    print(f"| {case.name} | {work.by} | {verdict} | {times} | {again:.1e} |")
    return not error <= LIMIT


def random_operands(case: Case, classes: int) -> list[Tensor]:
    """Scores, a guide with edges and some noise, and the refiner's own weights."""
    generator = torch.Generator().manual_seed(0)
    height, width = case.size
    scores = 3 * torch.randn(1, classes, height, width, generator=generator)
    blocks = 255 * torch.rand(1, 3, height // 16 + 1, width // 16 + 1, generator=generator)
    guide = torch.nn.functional.interpolate(blocks, scale_factor=16)[..., :height, :width]
    guide = (guide + 3 * torch.randn(guide.shape, generator=generator)).clamp(0, 255)
    weights = [p.detach() for p in case.refiner.parameters()]
    return [x.float().cuda().contiguous() for x in (scores, guide, *weights)]


def reference(refiner: OperatorRefiner[Any, Any], operands: Sequence[Tensor]) -> Tensor:
    """Plain torch in float64."""
    with torch.no_grad():
        state = refiner.prepare_operands(*(x.double() for x in operands))
        answer: Tensor = refiner.scores(state, refiner.solve(state))
    return answer


def prepared(
    refiner: OperatorRefiner[Any, Any],
    operands: Sequence[Tensor],
    kernels: Kernels,
    driver: CudaDriver,
) -> Work:
    """The plugin where TensorRT's bindings are, else its launcher; with memory of torch's."""
    output = torch.empty_like(operands[0])
    inputs, outputs = [x.data_ptr() for x in operands], [output.data_ptr()]
    shapes = [tuple(x.shape[-3:]) for x in operands]
    program = kernels.file.programs[refiner.operator]
    named = {tensor.name: shape for tensor, shape in zip(program.inputs, shapes, strict=True)}
    launcher = Launcher(kernels, refiner.operator, named, refiner.attributes(), driver)
    workspace = torch.empty(launcher.workspace_bytes, dtype=torch.uint8, device="cuda")

    def launch() -> None:
        stream = torch.cuda.current_stream().cuda_stream
        launcher.launch(inputs, outputs, workspace.data_ptr(), stream)

    try:
        trt = load_tensorrt(Path(tempfile.mkdtemp()))
    except AbsentError:
        return Work(launch, output, "launcher")
    from seg_perception.runtime.plugins import plugin as plugins

    described = [description(trt, shape) for shape in shapes]
    made = getattr(plugins, refiner.operator)(kernels, driver, refiner.attributes())
    made.on_shape_change(described, described[:1])

    def enqueue() -> None:
        stream = torch.cuda.current_stream().cuda_stream
        arguments = (inputs, outputs, workspace.data_ptr(), stream)
        made.enqueue(described, described[:1], *arguments)

    return Work(enqueue, output, "enqueue")


def captured(driver: CudaDriver, stream: int, work: Callable[[], None]) -> int:
    """The work as a CUDA graph, as `seg_perception.runtime.tensorrt_runner` captures it."""
    driver.begin_capture(stream)
    try:
        work()
    finally:
        graph = driver.end_capture(stream)
    return graph


def milliseconds(work: Callable[[], None]) -> float:
    """Mean time of one on the current stream, by CUDA's events."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(REPEATS):
        work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / REPEATS


if __name__ == "__main__":
    main()
