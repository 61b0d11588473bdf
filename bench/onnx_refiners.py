r"""Our operators inside ONNX Runtime beside the libraries people use instead, in one run.

    pip install pydensecrf2 opencv-contrib-python-headless
    python bench/onnx_refiners.py --threads 2

The frame is a rendered street, the scores its labels with noise. Each operator runs twice: as a
bundle's CPU runner does where the filters are compiled, and as the body of standard operators that
it runs elsewhere. Times include all that is computed once a frame (bilateral lattice, local
statistics; the runner keeps the spatial lattice from frame to frame); each is the best of several,
taken in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import onnxruntime
import pydensecrf.densecrf as peer
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rich.console import Console
from rich.table import Table

from seg_perception.datasets import open_dataset
from seg_perception.filters import describe_kernels, set_num_threads
from seg_perception.runtime.onnx_cut import CutModel
from seg_perception.runtime.onnx_native import CutSession, runs_in_filters
from training.export.onnx_body import DOMAIN, OPSET
from training.export.onnx_functions import FUNCTIONS

CLASSES, HEIGHT, WIDTH, QUARTER = 11, 360, 480, (120, 90)
ITERATIONS = {"MeanField": 5, "GuidedCrf": 3}
Array = NDArray[np.float32]


def operator(
    name: str, attributes: dict[str, float | int], inputs: dict[str, Array], threads: int
) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """One node of ours, ready to run: in the filters, and as standard operators."""
    shape = inputs["scores"].shape
    node = helper.make_node(name, list(inputs), ["refined"], domain=DOMAIN, **attributes)
    given = [
        helper.make_tensor_value_info(key, TensorProto.FLOAT, x.shape) for key, x in inputs.items()
    ]
    output = helper.make_tensor_value_info("refined", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph([node], name, given, [output]),
        functions=[FUNCTIONS[name](attributes, shape[1:])],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    encoded = model.SerializeToString()

    def start(part: bytes) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(part, options)

    filters, body = CutSession(CutModel(encoded, runs_in_filters), start, threads), start(encoded)
    return (
        lambda: filters.run(["refined"], inputs)[0],
        lambda: np.asarray(body.run(["refined"], inputs)[0]),
    )


def dense_crf(image: NDArray[np.uint8], scores: Array, sxy: float, srgb: float) -> Array:
    """Pydensecrf with the same kernels and weights; probabilities [C, H W]."""
    field = peer.DenseCRF2D(WIDTH, HEIGHT, CLASSES)
    field.setUnaryEnergy(np.ascontiguousarray(-scores.reshape(CLASSES, -1)))
    field.addPairwiseGaussian(sxy=3, compat=3, normalization=peer.NORMALIZE_AFTER)
    field.addPairwiseBilateral(
        sxy=sxy, srgb=srgb, rgbim=image, compat=5, normalization=peer.NORMALIZE_AFTER
    )
    return np.array(field.inference(ITERATIONS["MeanField"]))


def guided_loop(guide: NDArray[np.uint8], scores: Array, weights: Array) -> Array:
    """Mean field by `cv2.ximgproc.guidedFilter`; scores [C, h, w]."""
    carrier = cv2.ximgproc.createGuidedFilter(guide, 3, 1.0)
    refined = scores
    for _ in range(ITERATIONS["GuidedCrf"]):
        odds = np.exp(refined - refined.max(axis=0))
        probs = odds / odds.sum(axis=0)
        carried = np.stack([carrier.filter(np.ascontiguousarray(q)) for q in probs])
        refined = scores - np.tensordot(weights, carried, 1)
    return refined


def in_turns(functions: Sequence[Callable[[], Array]], rounds: int) -> list[float]:
    """Best time of each, ms."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[index] = min(best[index], 1e3 * (time.perf_counter() - start))
    return best


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    set_num_threads(options.threads)
    console = Console(width=130)
    console.print(f"filters: {describe_kernels()}")
    sample = open_dataset("street", None, "train", frames=1)[0]
    rng = np.random.default_rng(0)
    truth = np.eye(CLASSES + 1, dtype=np.float32)[np.minimum(sample.labels, CLASSES)]
    noise = rng.standard_normal((*truth.shape[:2], CLASSES), np.float32)
    scores = 2 * truth[..., :CLASSES] + noise
    scores = np.ascontiguousarray(scores.transpose(2, 0, 1))
    image, potts = sample.image, (1 - np.eye(CLASSES)).astype(np.float32)
    planes = image.transpose(2, 0, 1)[None].astype(np.float32)
    small = np.asarray(cv2.resize(image, QUARTER, interpolation=cv2.INTER_AREA), np.uint8)
    coarse = np.ascontiguousarray(scores[:, 2::4, 2::4])

    table = Table("operator", "filters ms", "body ms", "peer", "peer ms", "peer / filters")
    table.add_column("peer / body")
    table.add_column("labels alike %")
    for sxy, srgb in ((80.0, 13.0), (160.0, 3.0)):
        attributes = {"sxy_spatial": 3.0, "sxy": sxy, "srgb": srgb, "iterations": 5}
        identity = np.eye(CLASSES, dtype=np.float32)
        inputs = {"scores": scores[None], "image": planes, "spatial_weight": 3 * identity}
        inputs |= {"bilateral_weight": 5 * identity, "compatibility": potts}
        ours, body = operator("MeanField", attributes, inputs, options.threads)

        def theirs(sxy: float = sxy, srgb: float = srgb) -> Array:
            return dense_crf(image, scores, sxy, srgb)

        alike = (ours()[0].argmax(0).ravel() == theirs().argmax(0)).mean()
        times = in_turns((ours, body, theirs), options.rounds)
        _add(table, f"MeanField {sxy:g} px, {srgb:g} levels, 5 steps", "pydensecrf", times, alike)
    weights = 2 * potts
    inputs = {"scores": coarse[None], "guide": small.transpose(2, 0, 1)[None].astype(np.float32)}
    attributes = {"radius": 3, "eps": 1.0, "iterations": 3}
    ours, body = operator("GuidedCrf", attributes, inputs | {"weights": weights}, options.threads)
    alike = (ours()[0].argmax(0) == guided_loop(small, coarse, weights).argmax(0)).mean()
    peer_loop = partial(guided_loop, small, coarse, weights)
    times = in_turns((ours, body, peer_loop), options.rounds)
    _add(table, "GuidedCrf at 1/4, radius 3, 3 steps", "cv2.ximgproc", times, alike)
    console.print(table)


def _add(table: Table, name: str, other: str, times: list[float], alike: float) -> None:
    ours, body, theirs = times
    ratios = (f"{theirs / ours:.2f}", f"{theirs / body:.2f}", f"{100 * alike:.2f}")
    table.add_row(name, f"{ours:.1f}", f"{body:.1f}", other, f"{theirs:.1f}", *ratios)


if __name__ == "__main__":
    main()
