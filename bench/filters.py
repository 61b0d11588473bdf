"""The filters side by side with their peers, in one process and on one image.

``python bench/filters.py`` prints rows for bench/RESULTS.md. Peers that are not installed are left
out, with a word: pydensecrf (PyPI also has it as pydensecrf2), OpenCV's ximgproc
(opencv-contrib-python-headless), torch, crfasrnn_pytorch and guided-filter-pytorch (their folders
on PYTHONPATH). Times are the best of several calls taken in turns, so that a busy machine slows
both sides.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets import open_dataset
from seg_perception.filters import (
    PermutohedralLattice,
    dense_crf,
    describe_kernels,
    guided_crf,
    set_num_threads,
)

SIZES = ((360, 480, 11), (512, 1024, 19))
ITERATIONS = 5
SPATIAL = (3.0, 3.0)
BILATERAL = ((80.0, 13.0, 10.0), (30.0, 8.0, 4.0), (160.0, 3.0, 5.0))
GUIDED = {"radius": 3, "eps": 1.0, "weight": 2.0, "iterations": 3}
QUARTER = 4
PAUSE = 0.02
"""Seconds before each call: torch's threads spin for a while after theirs, on the cores of ours."""

Array = NDArray[Any]
Run = Callable[[], Array]


@dataclass(frozen=True)
class Problem:
    """An image with scores that are right in the main.

    Attributes:
        image: uint8 RGB [H, W, 3].
        scores: float32 [C, H, W].
    """

    image: NDArray[np.uint8]
    scores: NDArray[np.float32]

    @property
    def size(self) -> str:
        """HxWxC."""
        return f"{self.image.shape[0]}x{self.image.shape[1]}x{len(self.scores)}"


@dataclass(frozen=True)
class Peer:
    """Someone else's way to the same result.

    Attributes:
        name: for the table.
        module: that is imported for it.
        run: given the module, computes what ours computes.
    """

    name: str
    module: str
    run: Callable[[Any], Array]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camvid", help="CamVid's folder: take its frame, not a rendered one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    if torch := installed("torch"):
        torch.set_num_threads(options.threads)  # whatever OMP_NUM_THREADS says
    print(f"filters: {describe_kernels()}\n")
    print("| what | ours (ms) | peer | peer (ms) | times faster | largest difference |")
    print("|---|---|---|---|---|---|")
    problems = [problem(*size, options.camvid) for size in SIZES]
    for one in problems:
        for bilateral in BILATERAL:
            dense(one, bilateral, options.repeats)
    guided(problems[0], options.repeats)
    backward(problems[0], options.repeats)


def problem(height: int, width: int, classes: int, camvid: str | None) -> Problem:
    """One frame, and scores made from its truth: misplaced, blurred and noisy."""
    if camvid:
        sample = open_dataset("camvid", root=camvid, split="val")[0]
    else:
        sample = open_dataset("street", split="val", frames=1, height=height, width=width)[0]
    image = cv2.resize(sample.image, (width, height), interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(sample.labels, (width, height), interpolation=cv2.INTER_NEAREST)
    truth = np.roll(4.0 * np.eye(256, classes)[labels], (2, 3), (0, 1))
    blurred = np.dstack(
        [cv2.GaussianBlur(plane, (0, 0), 3.0) for plane in np.moveaxis(truth, 2, 0)]
    )
    noisy = blurred + np.random.default_rng(0).normal(0, 1, blurred.shape)
    return Problem(image, np.ascontiguousarray(noisy.transpose(2, 0, 1), np.float32))


def dense(one: Problem, bilateral: tuple[float, float, float], repeats: int) -> None:
    """Dense CRF with the build of its lattices; both sides divide by the count."""
    sxy, srgb, weight = bilateral

    def ours() -> Array:
        return dense_crf(
            one.scores, one.image, iterations=ITERATIONS, spatial=SPATIAL, bilateral=bilateral
        )

    def pydensecrf(module: Any) -> Array:
        classes, height, width = one.scores.shape
        crf = module.DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-one.scores.reshape(classes, -1)))
        after = {"normalization": module.NORMALIZE_AFTER}
        crf.addPairwiseGaussian(sxy=SPATIAL[0], compat=SPATIAL[1], **after)
        crf.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=one.image, compat=weight, **after)
        return np.array(crf.inference(ITERATIONS)).reshape(one.scores.shape)

    vertices = PermutohedralLattice.bilateral(one.image, sxy, srgb).n_vertices
    what = f"dense CRF {one.size}, {sxy:g}/{srgb:g}/{weight:g} ({vertices} vertices)"
    peer = Peer("pydensecrf", "pydensecrf.densecrf", pydensecrf)
    contest(what, ours, [peer], repeats, of_ours=softmax)


def guided(one: Problem, repeats: int) -> None:
    """Guided CRF at a quarter of the size, with the guide's statistics."""
    height, width = (side // QUARTER for side in one.image.shape[:2])
    guide = cv2.resize(one.image, (width, height), interpolation=cv2.INTER_AREA)
    scores = np.ascontiguousarray(one.scores[:, ::QUARTER, ::QUARTER])
    radius, eps = GUIDED["radius"], GUIDED["eps"]

    def ximgproc(module: Any) -> Array:
        filter_ = module.createGuidedFilter(guide, radius, eps)
        return looped(lambda probs: np.stack([filter_.filter(plane) for plane in probs]))

    def usual_torch(module: Any) -> Array:
        import torch

        image = torch.from_numpy(guide).permute(2, 0, 1)[None].float()
        filter_ = module.GuidedFilter2d(radius, eps)
        return looped(lambda probs: filter_(torch.from_numpy(probs)[None], image)[0].numpy())

    def plain_torch(module: Any) -> Array:
        from training.filters import TorchGuidedFilter

        image = module.from_numpy(guide).permute(2, 0, 1)[None].float()
        filter_ = TorchGuidedFilter(image, radius, eps)
        return looped(lambda probs: filter_.apply(module.from_numpy(probs)[None])[0].numpy())

    def looped(smooth: Callable[[Array], Array]) -> Array:
        now = scores
        for _ in range(GUIDED["iterations"]):
            now = scores + GUIDED["weight"] * smooth(softmax(now).astype(np.float32))
        return softmax(now)

    what = f"guided CRF {width}x{height}x{len(scores)}"
    peers = [
        Peer("cv2.ximgproc", "cv2.ximgproc", ximgproc),
        Peer("guided-filter-pytorch", "guided_filter", usual_torch),
        Peer("our plain torch", "torch", plain_torch),
    ]
    contest(what, lambda: guided_crf(scores, guide, **GUIDED), peers, repeats * 5, of_ours=softmax)


def backward(one: Problem, repeats: int) -> None:
    """From the refined scores back to the unary ones, paper 002's parameters; the same loss."""
    try:
        import torch
    except ImportError:
        print("| backward through the dense CRF | torch is not installed | | | | |")
        return
    from training.filters import TorchLatticeFilter, bilateral_features, spatial_features
    from training.refiners.mean_field import (
        Field,
        Kernel,
        MeanFieldConfig,
        MeanFieldRefiner,
        mean_field_step,
    )

    image = torch.from_numpy(one.image).permute(2, 0, 1)[None].float()
    unary = torch.from_numpy(one.scores)[None].requires_grad_()
    goal = torch.randn(unary.shape, generator=torch.Generator().manual_seed(0))
    refiner = MeanFieldRefiner(len(one.scores), {}, MeanFieldConfig()).train()

    def gradient(refined: Any) -> Run:
        """A run of the backward pass alone, as often as one likes."""
        loss = (refined.softmax(1) * goal).sum()
        return lambda: torch.autograd.grad(loss, unary, retain_graph=True)[0].numpy()

    def forward(field: Field) -> Any:
        state = field.unary
        for _ in range(ITERATIONS):
            state = mean_field_step(field, state)
        return state

    weights = (refiner.spatial_weight, refiner.bilateral_weight, refiner.compatibility)

    def reference(_: Any) -> Run:
        config = refiner.config
        lattices = (
            TorchLatticeFilter(spatial_features(image, config.sxy_spatial)),
            TorchLatticeFilter(bilateral_features(image, config.sxy, config.srgb)),
        )
        kernels = tuple(map(Kernel, lattices, weights))
        return gradient(forward(Field(unary, kernels, refiner.compatibility)))

    def crfasrnn(module: Any) -> Run:
        return gradient(module.CrfRnn(len(one.scores), ITERATIONS)(image, unary))

    ours = gradient(forward(refiner.prepare_operands(unary, image, *weights)))
    for name, module, prepare in (
        ("crfasrnn_pytorch", "crfasrnn.crfrnn", crfasrnn),
        ("our plain torch", "torch", reference),
    ):
        what = f"backward through the dense CRF {one.size}, 160/3/5"
        found = installed(module)
        run = prepare(found) if found else None
        contest(what, ours, [Peer(name, module, lambda _, run=run: run())], repeats // 2)


def contest(
    what: str,
    ours: Run,
    peers: list[Peer],
    repeats: int,
    of_ours: Callable[[Array], Array] = np.asarray,
) -> None:
    """Print one row for each peer.

    Args:
        what: is computed.
        ours: our way.
        peers: the others'.
        repeats: calls of each.
        of_ours: untimed, from our result to what the peers give.
    """
    for peer in peers:
        module = installed(peer.module)
        if module is None:
            print(f"| {what} | {timed(ours)[0]:.1f} | {peer.name} is not installed | | | |")
            continue
        theirs = partial(peer.run, module)
        turns = [(timed(ours), timed(theirs)) for _ in range(max(repeats, 1))]
        own, other = (min(turn[side][0] for turn in turns) for side in (0, 1))
        difference = np.abs(of_ours(turns[0][0][1]) - turns[0][1][1]).max()
        ratio = f"{other:.1f} | {other / own:.1f} | {difference:.1e}"
        print(f"| {what} | {own:.1f} | {peer.name} | {ratio} |", flush=True)


def timed(run: Run) -> tuple[float, Array]:
    """Milliseconds and the result."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    result = run()
    return 1e3 * (time.perf_counter() - start), result


def installed(module: str) -> Any:
    """The module, or None."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def softmax(scores: Array) -> Array:
    """Probabilities over the first axis."""
    exponentials = np.exp(scores - scores.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


if __name__ == "__main__":
    main()
