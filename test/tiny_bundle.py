"""A small, valid bundle for tests: the exact graph contract, made with `onnx.helper`, no training.

The model is a nearest-colour classifier, so that every answer can be checked by hand:

- score of class c = -|image - colour of c|^2 / TEMPERATURE; `labels_unrefined` is its argmax
- evidence adds weight * log(allowed + tiny): it always wins where it speaks with weight 1; and its
  mean over the image, a hundredth as strong, is added everywhere: correction reaches beyond it
- `labels`, `confidence` (max p * 255), `entropy` (of p, 255 = log C) are those of the sum
- `labels_replaced`, `labels_optimised_replaced`: both scores, restricted to what is allowed
- `code` = (measured + prior_precision * prior_code) / (1 + prior_precision), where measured is a
  fixed linear function of the mean colour and the mean evidence weight (`measured_code`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception.classes import CAMVID_GROUPS, ClassInfo
from seg_perception.runtime.bundle import (
    FORMAT_VERSION,
    GOLDEN_FILE,
    LOOPED,
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    Refiner,
    TensorSpec,
    hash_file,
    input_specs,
    output_specs,
)
from seg_perception.runtime.runner import Runner

TINY_CLASSES = (
    ClassInfo(0, "sky", (0, 0, 255)),
    ClassInfo(1, "road", (255, 0, 0)),
    ClassInfo(2, "sidewalk", (0, 255, 0)),
    ClassInfo(3, "car", (255, 255, 255)),
)
TEMPERATURE = 8000.0
ALLOWED_FLOOR = 1e-12
REACH = 0.01
MAX_SETS = 32


def write_tiny_bundle(
    folder: Path,
    *,
    height: int = 24,
    width: int = 32,
    classes: Sequence[ClassInfo] = TINY_CLASSES,
    code_size: int = 4,
    max_sets: int = MAX_SETS,
) -> Path:
    """Write a tiny bundle into `folder` (made if need be) and return it; code_size 0 = no code."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = input_specs(height, width, len(classes), code_size, max_sets)
    outputs = output_specs(height, width, code_size)
    model = tiny_model(inputs, outputs, classes, code_size)
    (folder / MODEL_FILE).write_bytes(model)
    write_golden(folder, inputs)
    (folder / "MODEL_CARD.md").write_text("# tiny\n\nA nearest-colour classifier for tests.\n")
    names = {info.name for info in classes}
    write_manifest(
        folder,
        Manifest(
            format_version=FORMAT_VERSION,
            name="tiny",
            classes=tuple(classes),
            class_groups={
                group: tuple(name for name in members if name in names)
                for group, members in CAMVID_GROUPS.items()
            },
            height=height,
            width=width,
            encoding="rgb8",
            inputs=inputs,
            outputs=outputs,
            code_size=code_size,
            refiners=(),
            custom_ops=(),
            provenance={"recipe": "test/tiny_bundle.py", "data": [], "commit": ""},
            scores={},
            files={
                name: hash_file(folder / name)
                for name in (MODEL_FILE, GOLDEN_FILE, "MODEL_CARD.md")
            },
        ),
    )
    return folder


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json."""
    (folder / MANIFEST_FILE).write_text(manifest.to_json())


def reseal(folder: Path, **changes: Any) -> None:
    """Rewrite manifest.json with these fields changed, and with the hashes of the files as found.

    This makes a bundle that is honest about its files, but wrong in what it claims or holds.
    """
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text())
    files = {name: hash_file(folder / name) for name in manifest.files}
    write_manifest(folder, replace(manifest, **{"files": files, **changes}))


def color_image(labels: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """The uint8 [H, W, 3] image that the tiny model labels as `labels` uint8 [H, W]."""
    return np.array([info.color for info in classes], np.uint8)[labels]


def measured_code(
    image: NDArray[np.uint8], mean_weight: float, code_size: int
) -> NDArray[np.float32]:
    """The code float32 [1, K] of an image of the model's size [H, W, 3], without a prior."""
    measured = np.append(image.reshape(-1, 3).mean(axis=0) / 255.0, mean_weight)
    return (measured[None] @ _projection(code_size)).astype(np.float32)


def write_golden(folder: Path, inputs: Sequence[TensorSpec]) -> None:
    """Write golden.npz: two random images, the second with evidence where the model takes it."""
    session = onnxruntime.InferenceSession(
        str(folder / MODEL_FILE), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    arrays: dict[str, NDArray[Any]] = {}
    for i in range(2):
        feed = _golden_inputs(inputs, seed=i, known=bool(i))
        answers = session.run(names, feed)
        arrays |= {f"case{i}.in.{name}": array for name, array in feed.items()}
        arrays |= {f"case{i}.out.{name}": array for name, array in zip(names, answers, strict=True)}
    np.savez(folder / GOLDEN_FILE, **arrays)


def tiny_model(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    classes: Sequence[ClassInfo],
    code_size: int,
) -> bytes:
    """The serialised ONNX model, see the module's docstring."""
    graph = _Graph()
    n_classes = len(classes)
    colors = np.array([info.color for info in classes], np.float32)
    pixels = graph.add("Cast", "image", to=TensorProto.FLOAT)
    products = graph.add("MatMul", pixels, graph.constant(2.0 * colors.T / TEMPERATURE))
    scores = graph.add("Sub", products, graph.constant((colors**2).sum(axis=1) / TEMPERATURE))
    graph.labels(scores, "labels_unrefined")
    corrected = _corrected(graph, scores, pixels, code_size) if code_size else scores
    graph.labels(corrected, "labels")
    probability = graph.add("Softmax", corrected, axis=-1)
    peak = graph.add("ReduceMax", probability, axes=[-1], keepdims=0)
    graph.scaled_to_uint8(peak, 255.0, "confidence")
    log = graph.add("Log", graph.add("Max", probability, graph.constant(np.float32(1e-30))))
    surprise = graph.sum_classes(graph.add("Mul", probability, log))
    graph.scaled_to_uint8(surprise, -255.0 / np.log(max(n_classes, 2)), "entropy")
    return graph.serialized(inputs, outputs)


def _corrected(graph: _Graph, scores: str, pixels: str, code_size: int) -> str:
    """Add the evidence to the scores; also adds the outputs that only models with a code have."""
    allowed = graph.add("Gather", "evidence_sets", "evidence", cast_second=True, axis=0)
    weight = graph.add("Gather", "evidence_weight", "evidence", cast_second=True, axis=0)
    weights = graph.add("Unsqueeze", weight, graph.constant(np.array([-1], np.int64)))
    floor = graph.constant(np.float32(ALLOWED_FLOOR))
    pull = graph.add("Mul", weights, graph.add("Log", graph.add("Max", allowed, floor)))
    everywhere = graph.add("ReduceMean", pull, axes=[1, 2], keepdims=1)
    reach = graph.add("Mul", everywhere, graph.constant(np.float32(REACH)))
    corrected = graph.add("Add", scores, graph.add("Add", pull, reach))
    possible = graph.add("Greater", allowed, graph.constant(np.float32(0.5)))
    never = graph.constant(np.float32(-1e9))
    graph.labels(graph.add("Where", possible, scores, never), "labels_replaced")
    graph.labels(graph.add("Where", possible, corrected, never), "labels_optimised_replaced")
    color = graph.add("ReduceMean", pixels, axes=[1, 2], keepdims=0)
    color = graph.add("Div", color, graph.constant(np.float32(255.0)))
    features = graph.add(
        "Concat", color, graph.add("ReduceMean", weights, axes=[1, 2], keepdims=0), axis=1
    )
    measured = graph.add("MatMul", features, graph.constant(_projection(code_size)))
    prior = graph.add("Mul", "prior_precision", "prior_code")
    total = graph.add("Add", "prior_precision", graph.constant(np.float32(1.0)))
    graph.add("Div", graph.add("Add", measured, prior), total, name="code")
    return corrected


class _Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        name = f"constant{len(self.constants)}"
        array = np.asarray(value)
        dtype = np.int64 if array.dtype.kind == "i" else np.float32
        self.constants.append(numpy_helper.from_array(array.astype(dtype), name))
        return name

    def add(
        self, kind: str, *inputs: str, name: str = "", cast_second: bool = False, **attributes: Any
    ) -> str:
        if cast_second:
            inputs = (inputs[0], self.add("Cast", inputs[1], to=TensorProto.INT32))
        name = name or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def sum_classes(self, value: str) -> str:
        return self.add("ReduceSum", value, self.constant(np.array([-1], np.int64)), keepdims=0)

    def labels(self, scores: str, name: str) -> None:
        best = self.add("ArgMax", scores, axis=-1, keepdims=0)
        self.add("Cast", best, name=name, to=TensorProto.UINT8)

    def scaled_to_uint8(self, value: str, scale: float, name: str) -> None:
        scaled = self.add("Mul", value, self.constant(np.float32(scale)))
        clipped = self.add(
            "Clip", scaled, self.constant(np.float32(0)), self.constant(np.float32(255))
        )
        self.add("Cast", self.add("Round", clipped), name=name, to=TensorProto.UINT8)

    def serialized(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [_value_info(spec) for spec in inputs],
            [_value_info(spec) for spec in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}[spec.dtype]
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)


def _projection(code_size: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(4, code_size)).astype(np.float32)


def _golden_inputs(
    inputs: Sequence[TensorSpec], seed: int, known: bool
) -> Mapping[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    feed: dict[str, NDArray[Any]] = {
        spec.name: np.zeros(spec.shape, np.dtype(spec.dtype)) for spec in inputs
    }
    feed["image"] = rng.integers(0, 256, feed["image"].shape, np.uint8)
    if "evidence" in feed:
        feed["evidence_sets"][0] = 1.0
    if "evidence" in feed and known:
        feed["evidence_sets"][1, 0] = 1.0
        feed["evidence_weight"][1] = 1.0
        feed["evidence"][:, : feed["evidence"].shape[1] // 2] = 1
        feed["prior_code"][:] = rng.normal(size=feed["prior_code"].shape)
        feed["prior_precision"][:] = 0.5
    return feed


class LoopedRunner:
    """A runner whose model has looped refiners besides; they change nothing, and are recorded.

    Attributes:
        iterations: what each run was asked for, None where it was left to the manifest.
    """

    def __init__(self, runner: Runner, steps: Mapping[str, int]) -> None:
        manifest = runner.bundle.manifest
        refiners = tuple(
            Refiner(name, {"iterations": count, LOOPED: True}) for name, count in steps.items()
        )
        spec = TensorSpec("refiner_iterations", "int64", (len(refiners),))
        looped = replace(manifest, refiners=refiners, inputs=(*manifest.inputs, spec))
        self.bundle = replace(runner.bundle, manifest=looped)
        self.name, self.reason = runner.name, runner.reason
        self.frames_in_flight = runner.frames_in_flight
        self.iterations: list[list[int] | None] = []
        self._runner = runner

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `Runner.run`."""
        rest = dict(inputs)
        given = rest.pop("refiner_iterations", None)
        self.iterations.append(None if given is None else given.tolist())
        return self._runner.run(rest, outputs)

    def close(self) -> None:
        """See `Runner.close`."""
        self._runner.close()
