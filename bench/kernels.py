"""The GPU kernels beside their peers on this GPU: errors against float64, times, ratios.

    python bench/kernels.py --out gpu_out           a few minutes; a second call goes on
    TRITON_INTERPRET=1 python bench/kernels.py --tiny --out /tmp/out     whether it runs, on a CPU

Peers: the plain torch filters (`training.filters`) on the same GPU, and a ConvCRF (Teichmann and
Cipolla 2018), which truncates the Gaussians to a window instead of using a lattice, so that it
computes something else; its time is shown, not its error. Times are medians of CUDA-graph replays,
without launches from Python. Results are kept in OUT/kernels.json by case.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.profiler import ProfilerActivity, profile

from training.datasets.evidence import MAX_SETS
from training.export import graph as export_graph
from training.export.graph import CodeGraph, describe
from training.filters import (
    LinearFilter,
    bilateral_features,
    guided_filter,
    lattice_filter,
    spatial_features,
)
from training.kernels.filters import KernelGuidedFilter, KernelLatticeFilter
from training.kernels.launch import Prepared, prepare_program
from training.model import Segmenter
from training.networks import unet
from training.networks.unet import normalise_image
from training.recipes.camvid_code import RECIPE

REPEATS = 30
GUIDED = {"radius": 3, "eps": 1.0, "iterations": 3}
DENSE = {"sxy_spatial": 3.0, "sxy": 80.0, "srgb": 13.0, "iterations": 5}
CONV_CRF_RADIUS = 3
PROFILED = os.environ.get("PROFILED") != "0"
"""The profiler cannot look on while compute-sanitizer does."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        name: of the operator and the size.
        target_ms: what issue 4 asks for, if anything.
        measure: gives the figures.
    """

    name: str
    target_ms: float | None
    measure: Callable[[], Row]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--tiny", action="store_true", help="sizes that an interpreter can do")
    options = parser.parse_args()
    if DEVICE.type == "cpu" and not options.tiny:
        raise SystemExit("no GPU here: --tiny with TRITON_INTERPRET=1 checks that this runs")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / ("kernels_tiny.json" if options.tiny else "kernels.json")
    results: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    failed = False
    for case in cases(options.tiny):
        if case.name not in results:
            print(f"{case.name} ...", flush=True)
            torch.manual_seed(0)
            try:
                results[case.name] = {"target_ms": case.target_ms, **case.measure()}
            except RuntimeError as error:  # the others go on, the next call tries again
                print(f"{case.name} failed: {error}")
                failed = True
            path.write_text(json.dumps(results, indent=1))
            torch.cuda.empty_cache()
    print(table(results))
    sys.exit(failed)


def cases(tiny: bool) -> list[Case]:
    """Every case; the tiny ones are for the interpreter."""
    if tiny:
        return [
            Case("GuidedCrf 8x6x3", None, lambda: guided_case(8, 6, 3, "float32")),
            Case("MeanField 8x6x3", None, lambda: mean_field_case(8, 6, 3)),
            Case("Describe 8x8x3", None, lambda: describe_case(8, 8, 3)),
            Case("NormaliseImage 8x8", None, lambda: normalise_case(8, 8)),
            Case("default model 96x96", None, lambda: model_case(96, 96)),
            Case("guided backward 6x5x2", None, lambda: backward_case("guided", 6, 5, 2)),
            Case("lattice backward 6x5x2", None, lambda: backward_case("lattice", 6, 5, 2)),
        ]
    return [
        Case("GuidedCrf 300x500x21", 0.15, lambda: guided_case(300, 500, 21, "float32")),
        Case("GuidedCrf 300x500x21 f16", 0.15, lambda: guided_case(300, 500, 21, "float16")),
        Case("GuidedCrf 256x512x19", None, lambda: guided_case(256, 512, 19, "float32")),
        Case("GuidedCrf 256x512x19 f16", None, lambda: guided_case(256, 512, 19, "float16")),
        Case("MeanField 360x480x11", 0.5, lambda: mean_field_case(360, 480, 11)),
        Case("MeanField 1024x2048x19", 5.0, lambda: mean_field_case(1024, 2048, 19)),
        Case("Describe 1024x2048x19", None, lambda: describe_case(1024, 2048, 19)),
        Case("NormaliseImage 1024x2048", None, lambda: normalise_case(1024, 2048)),
        Case("default model 360x480", None, lambda: model_case(360, 480)),
        Case("default model 1024x2048", None, lambda: model_case(1024, 2048)),
        Case("guided backward 90x120x11", None, lambda: backward_case("guided", 90, 120, 11)),
        Case("lattice backward 360x480x11", None, lambda: backward_case("lattice", 360, 480, 11)),
    ]


def guided_case(height: int, width: int, classes: int, storage: str) -> Row:
    """The guided-filter CRF beside the torch filter."""
    scores, image = scene(height, width, classes)
    weights = 2.0 * (1 - torch.eye(classes, device=DEVICE))
    inputs = {"scores": scores, "guide": image, "weights": weights}
    program = prepare_program("GuidedCrf", inputs, GUIDED, storage)

    def peer(dtype: torch.dtype) -> Tensor:
        built = guided_filter(image[None].to(dtype), GUIDED["radius"], GUIDED["eps"])
        return mean_field(scores.to(dtype), [(built, weights.to(dtype))], GUIDED["iterations"])

    program.run()
    found = {
        "error": relative_error(program.outputs["refined"], peer(torch.float64)),
        "ms": median_ms(program.run),
        "torch_ms": median_ms(lambda: peer(torch.float32)),
    }
    # Scores in, scores out, once an iteration: nothing can do with less.
    moved = 2 * scores.numel() * scores.element_size() * GUIDED["iterations"]
    return found | {"floor_ms": moved / bandwidth() * 1e3, "kernels_us": by_kernel(program)}


def mean_field_case(height: int, width: int, classes: int) -> Row:
    """The dense CRF beside the torch lattice and a ConvCRF."""
    scores, image = scene(height, width, classes)
    identity = torch.eye(classes, device=DEVICE)
    spatial, bilateral, compatibility = 3 * identity, 5 * identity, 1 - identity
    inputs = {
        "scores": scores,
        "image": image,
        "spatial_weight": spatial,
        "bilateral_weight": bilateral,
        "compatibility": compatibility,
    }
    program = prepare_program("MeanField", inputs, DENSE)

    def peer(dtype: torch.dtype) -> Tensor:
        exact = image[None].to(dtype)
        near = lattice_filter(spatial_features(exact, DENSE["sxy_spatial"]))
        alike = lattice_filter(bilateral_features(exact, DENSE["sxy"], DENSE["srgb"]))
        pairs = [
            (near, (compatibility @ spatial).to(dtype)),
            (alike, (compatibility @ bilateral).to(dtype)),
        ]
        return mean_field(scores.to(dtype), pairs, DENSE["iterations"])

    program.run()
    exact = peer(torch.float64)
    labels = program.outputs["refined"].argmax(0)
    return {
        "error": relative_error(program.outputs["refined"], exact),
        "same_labels": 100.0 * float((labels == exact.argmax(0)).double().mean()),
        "ms": median_ms(program.run),
        # Its lattice is built on the host's word (unique, nonzero): no CUDA graph takes that.
        "torch_ms": median_ms(lambda: peer(torch.float32), graph=False),
        "conv_crf_ms": median_ms(lambda: conv_crf(scores, image, compatibility)),
        "vertices": int(program.arrays["count_bilateral"]),
        "kernels_us": by_kernel(program),
    }


def describe_case(height: int, width: int, classes: int) -> Row:
    """Upsampling, labels, confidence, entropy beside torch."""
    scores = torch.randn(classes, height // 4, width // 4, device=DEVICE)
    program = prepare_program("Describe", {"scores": scores}, {"H": height, "W": width})
    program.run()
    expected = describe(scores[None], (height, width))
    wrong = [
        (program.outputs[name] != map_[0]).double().mean().item()
        for name, map_ in zip(program.outputs, expected, strict=True)
    ]
    return {
        "error": max(wrong),
        "ms": median_ms(program.run),
        "torch_ms": median_ms(lambda: describe(scores[None], (height, width))),
    }


def normalise_case(height: int, width: int) -> Row:
    """The image on its way in, beside torch."""
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, device=DEVICE)
    program = prepare_program("NormaliseImage", {"image": image}, {})
    program.run()

    def peer(dtype: torch.dtype) -> Tensor:
        return normalise_image(image.permute(2, 0, 1)[None].to(dtype))[0]

    return {
        "error": relative_error(program.outputs["normalised"], peer(torch.float64)),
        "ms": median_ms(program.run),
        "torch_ms": median_ms(lambda: peer(torch.float32)),
    }


def backward_case(kind: str, height: int, width: int, classes: int) -> Row:
    """One filter built, applied and differentiated, as training does; launched from Python."""
    scores, image = scene(height, width, classes)
    gradient = torch.randn(1, *scores.shape, device=DEVICE)

    def trained(build: Callable[[Tensor], LinearFilter], dtype: torch.dtype) -> Tensor:
        x = scores[None].to(dtype).requires_grad_()
        build(image[None].to(dtype)).apply(x).backward(gradient.to(dtype))
        assert x.grad is not None
        return x.grad

    def features(guide: Tensor) -> Tensor:
        return bilateral_features(guide, DENSE["sxy"], DENSE["srgb"])

    ours, peer = {
        "guided": (lambda g: KernelGuidedFilter(g, 3, 1.0), lambda g: guided_filter(g, 3, 1.0)),
        "lattice": (
            lambda g: KernelLatticeFilter(features(g)),
            lambda g: lattice_filter(features(g)),
        ),
    }[kind]
    return {
        "error": relative_error(trained(ours, torch.float32), trained(peer, torch.float64)),
        "ms": median_ms(lambda: trained(ours, torch.float32), graph=False),
        "torch_ms": median_ms(lambda: trained(peer, torch.float32), graph=False),
    }


@torch.no_grad()
def model_case(height: int, width: int) -> Row:
    """The default recipe's whole graph with random weights and our kernels at both ends.

    It stands in for the engine, as one CUDA graph; beside it the same in torch alone.
    """
    classes = 11
    model = Segmenter(classes, RECIPE.unary, RECIPE.refiners).eval().to(DEVICE)
    graph = CodeGraph(model, (height, width))
    image = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8, device=DEVICE)
    inputs = (
        image,
        torch.zeros(1, height, width, dtype=torch.uint8, device=DEVICE),
        torch.ones(MAX_SETS, classes, device=DEVICE),
        torch.zeros(MAX_SETS, device=DEVICE),
        torch.zeros(1, model.code.size(height, width), device=DEVICE),
        torch.zeros(1, device=DEVICE),
    )
    expected = graph(*inputs)[0]
    row = {"torch_ms": median_ms(lambda: graph(*inputs))}
    with kernels_at_both_ends(image, classes):
        wrong = (graph(*inputs)[0] != expected).double().mean().item()
        return {"error": wrong, "ms": median_ms(lambda: graph(*inputs)), **row}


@contextmanager
def kernels_at_both_ends(image: Tensor, classes: int) -> Iterator[None]:
    """In this block the graph normalises this image, and describes its scores, by our kernels."""
    _, height, width, _ = image.shape
    scores = torch.zeros(classes, height // 4, width // 4, device=DEVICE)
    first = prepare_program("NormaliseImage", {"image": image[0]}, {})
    last = prepare_program("Describe", {"scores": scores}, {"H": height, "W": width})

    def normalised(_: Tensor) -> Tensor:
        first.run()
        return first.outputs["normalised"][None]

    def described(found: Tensor, _: tuple[int, int]) -> tuple[Tensor, ...]:
        scores.copy_(found[0])
        last.run()
        return tuple(last.outputs[name][None] for name in ("labels", "confidence", "entropy"))

    with (
        patch.object(unet, "normalise_image", normalised),
        patch.object(export_graph, "describe", described),
    ):
        yield


def scene(height: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Scores [C, H, W] of blobs with noise, and an image [3, H, W] of regions with noise."""
    coarse = max(2, height // 40), max(2, width // 40)
    regions = interpolate(torch.rand(1, 3, *coarse) * 255, (height, width), mode="nearest")[0]
    image = (regions + 8 * torch.randn(3, height, width)).clamp(0, 255).round()
    blobs = interpolate(torch.randn(1, classes, *coarse), (height, width), mode="bilinear")[0]
    scores = 4 * blobs + torch.randn(classes, height, width)
    return scores.to(DEVICE), image.to(DEVICE)


def mean_field(unary: Tensor, pairs: list[tuple[LinearFilter, Tensor]], iterations: int) -> Tensor:
    """Mean field with torch filters, of unary [C, H, W]."""
    scores = unary[None]
    for _ in range(iterations):
        q = scores.softmax(1)
        sent = [torch.einsum("tf,bfhw->bthw", m, f.apply(q)) for f, m in pairs]
        scores = unary - torch.stack(sent).sum(0)
    return scores[0]


def conv_crf(scores: Tensor, image: Tensor, compatibility: Tensor) -> Tensor:
    """Dense CRF with Gaussians truncated to a window of (2 CONV_CRF_RADIUS + 1)^2 pixels."""
    radius = CONV_CRF_RADIUS
    shifts = [(dy, dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
    kernels = [_pair(image, dy, dx) for dy, dx in shifts]
    total = torch.stack(kernels).sum(0)
    refined = scores
    for _ in range(DENSE["iterations"]):
        q = refined.softmax(0)
        sent = torch.zeros_like(q)
        for (dy, dx), kernel in zip(shifts, kernels, strict=True):
            sent.addcmul_(kernel, torch.roll(q, (dy, dx), (1, 2)))
        refined = scores - torch.einsum("tf,fhw->thw", compatibility, sent / total)
    return refined


def _pair(image: Tensor, dy: int, dx: int) -> Tensor:
    """Weight of the pixel (dy, dx) away, both Gaussians together; wraps around at borders."""
    near = -(dy * dy + dx * dx) / 2 / DENSE["sxy_spatial"] ** 2
    far = -(dy * dy + dx * dx) / 2 / DENSE["sxy"] ** 2
    color = (image - torch.roll(image, (dy, dx), (1, 2))).square().sum(0)
    return 3 * math.exp(near) + 5 * torch.exp(far - color / 2 / DENSE["srgb"] ** 2)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude."""
    return float((found - expected).abs().max() / expected.abs().max())


def median_ms(run: Callable[[], Any], graph: bool = True) -> float:
    """Median time of a run; as a CUDA graph where that is possible."""
    if DEVICE.type == "cpu":
        return float("nan")
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    repeated = _captured(run) if graph else run
    times = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        repeated()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def _captured(run: Callable[[], Any]) -> Callable[[], Any]:
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        run()
    return recorded.replay


def bandwidth() -> float:
    """Bytes a second that a copy on this device reads and writes."""
    if DEVICE.type == "cpu":
        return float("nan")
    a = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
    b = torch.empty_like(a)
    return 2 * a.numel() / (median_ms(lambda: b.copy_(a)) / 1e3)


def by_kernel(program: Prepared) -> dict[str, float]:
    """Microseconds that each kernel takes in one run, all its launches together."""
    if DEVICE.type == "cpu" or not PROFILED:
        return {}
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(REPEATS):
            program.run()
        torch.cuda.synchronize()
    total = {event.key: event.self_device_time_total for event in profiler.key_averages()}
    ours = {source.function.__name__ for source in program.sources.values()}
    found = {name: us / REPEATS for name, us in total.items() if name in ours}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def table(results: dict[str, Row]) -> str:
    """The results as Markdown, then the time of each kernel."""
    lines = [
        "| case | error | ms | target | torch ms | ratio | ConvCRF ms | floor ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        cells = [
            name,
            f"{row['error']:.1e}",
            *(_cell(row.get(key)) for key in ("ms", "target_ms", "torch_ms")),
            _cell(row["torch_ms"] / row["ms"] if "torch_ms" in row else None),
            *(_cell(row.get(key)) for key in ("conv_crf_ms", "floor_ms")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for name, row in results.items():
        if "kernels_us" in row:
            parts = [f"{kernel} {us:.0f}" for kernel, us in row["kernels_us"].items()]
            lines.append(f"{name}, us: {', '.join(parts)}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    main()
