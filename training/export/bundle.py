"""Write a bundle, and prove it: the exported graph must answer as the trained model does."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.datasets import Sample, open_dataset
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.runtime.bundle import (
    FORMAT_VERSION,
    GOLDEN_FILE,
    LOOPED,
    MANIFEST_FILE,
    MODEL_FILE,
    Bundle,
    GoldenCase,
    Manifest,
    Refiner,
    check_bundle,
    hash_file,
    input_specs,
    load_bundle,
    output_specs,
)
from seg_perception.runtime.kernel_programs import KERNELS_FOLDER
from seg_perception.runtime.runner import open_runner
from training.datasets.evidence import can_be_drawn, collate, max_sets
from training.errors import TrainingError
from training.export.chain import Chain, check_programs
from training.export.graph import CodeGraph, Graph, UnaryGraph
from training.export.model_card import model_card
from training.export.onnx_file import exportable, halve_weights, to_onnx
from training.export.rounding import Rounding, answer, round_model
from training.model import Segmenter

CARD_FILE = "MODEL_CARD.md"
GOLDEN_CASES = 2
GOLDEN_KINDS = ("ego_lane", "points:0.01")


@dataclass(frozen=True)
class About:
    """What a bundle says of its origin.

    Attributes:
        name: of the model.
        classes: in the order of their ids.
        groups: class names by group.
        recipe: the recipe's fields, the seed among them.
        data: name and terms of each dataset it was trained on.
        scores: measured scores.
    """

    name: str
    classes: Sequence[ClassInfo]
    groups: Mapping[str, tuple[str, ...]]
    recipe: Mapping[str, Any]
    data: Sequence[Mapping[str, str]]
    scores: Mapping[str, Any]


def write_bundle(
    model: Segmenter,
    size: tuple[int, int],
    about: About,
    out: Path,
    kernel_storage: str | None = None,
    rounding: Rounding | None = None,
) -> Bundle:
    """Export a model to a bundle folder, which is replaced as a whole or not at all.

    Args:
        model: trained; it is not changed.
        size: (height, width) of the image in pixels, multiples of 8.
        about: what the manifest and the model card say.
        out: the bundle's folder.
        kernel_storage: dtype that the GPU kernels store large arrays in ("float32", "float16"),
            for a bundle that carries them; None for one without.
        rounding: of convolutions to eight bits; None to leave them as they are.

    Raises:
        TrainingError: the size is no multiple of 8, there is nothing to round, or `out` holds
            something else than a bundle.
        BundleError: ONNX Runtime does not answer as the trained model does; or, of a rounded one,
            not as the file says; or the GPU kernels do not take the model's sizes.
    """
    if size[0] % 8 or size[1] % 8:
        raise TrainingError(
            f"size {size} must be multiples of 8: the solve works on cells of 8 x 8"
        )
    _check_replaceable(out)
    graph = (CodeGraph if model.code else UnaryGraph)(exportable(model), size).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder.chmod(0o755)
        _fill(folder, graph, about, kernel_storage, rounding)
        bundle = load_bundle(folder)
        # A vehicle may lack the compiled filters, so both ways through our operators must do.
        for filters in (True, False) if bundle.manifest.custom_ops else (True,):
            check_bundle(bundle, open_runner(bundle, "onnx", filters=filters))
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return load_bundle(out)


def _fill(
    folder: Path,
    graph: Graph,
    about: About,
    kernel_storage: str | None,
    rounding: Rounding | None,
) -> None:
    """Write all files of a bundle; arguments as in `write_bundle`."""
    model, size, classes = graph.model, graph.size, len(about.classes)
    code_size = model.code.size(*size) if model.code else 0
    inputs = input_specs(*size, classes, code_size, max_sets(classes), len(graph.chain.looped))
    traced = to_onnx(graph, inputs, graph.outputs)
    cases = [_golden_case(graph, sample, about) for sample in _golden_samples(size)]
    quantisation = None
    if rounding is not None:
        unknown = _nothing_known(cases[0])
        traced, quantisation = round_model(traced, rounding, unknown, classes)
        cases = [GoldenCase(case.inputs, answer(traced, case.inputs)) for case in cases]
    commit = _commit()
    card = model_card(
        about.name, about.data, about.scores, commit, quantisation, correctable=bool(code_size)
    )
    onnx.save(halve_weights(traced), folder / MODEL_FILE)
    np.savez_compressed(folder / GOLDEN_FILE, **_flatten(cases))
    (folder / CARD_FILE).write_text(card)
    if kernel_storage:
        _write_kernels(folder / KERNELS_FOLDER, graph.chain, classes, kernel_storage)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=about.name,
        classes=tuple(about.classes),
        class_groups=dict(about.groups),
        height=size[0],
        width=size[1],
        encoding="rgb8",
        inputs=inputs,
        outputs=output_specs(*size, code_size),
        code_size=code_size,
        refiners=_refiners(model),
        custom_ops=tuple(graph.chain.shapes),
        provenance={"recipe": about.recipe, "data": list(about.data), "commit": commit},
        scores=about.scores,
        files=_hashes(folder),
        quantisation=quantisation,
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json())


def _write_kernels(folder: Path, chain: Chain, classes: int, storage: str) -> None:
    # Triton is a large package, which no bundle without kernels needs.
    from training.export.compile_kernels import compile_kernels
    from training.kernels.programs import programs
    from training.kernels.sources import kernel_sources

    check_programs(chain, programs(kernel_sources(classes, storage), storage))
    compile_kernels(folder, classes, storage)


def _hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file of the folder and below it, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def _refiners(model: Segmenter) -> tuple[Refiner, ...]:
    return tuple(
        Refiner(name, {**dataclasses.asdict(refiner.config), LOOPED: refiner.looped})
        for name, refiner in model.refiners.items()
    )


def _golden_samples(size: tuple[int, int]) -> list[Sample]:
    """Rendered frames: recorded ones may not be passed on."""
    street = open_dataset(
        "street", None, "train", frames=GOLDEN_CASES, height=size[0], width=size[1]
    )
    return [street[index] for index in range(GOLDEN_CASES)]


def _golden_case(graph: Graph, sample: Sample, about: About) -> GoldenCase:
    """Inputs and the trained model's own answers."""
    inputs: dict[str, NDArray[Any]] = {"image": sample.image[None]}
    if graph.chain.looped:
        counts = [graph.model.refiners[name].iterations for name in graph.chain.looped]
        inputs["refiner_iterations"] = np.array(counts, np.int64)
    if isinstance(graph, CodeGraph):
        inputs |= _golden_evidence(graph, sample, about)
    with torch.no_grad():
        answers = graph(*(torch.from_numpy(inputs[name]) for name in graph.inputs))
    outputs = (answer.numpy() for answer in answers)
    return GoldenCase(inputs, dict(zip(graph.outputs, outputs, strict=True)))


def _nothing_known(case: GoldenCase) -> dict[str, NDArray[Any]]:
    """The inputs of a case, without its image and evidence."""
    inputs = {name: array for name, array in case.inputs.items() if name != "image"}
    if "evidence" in inputs:
        inputs["evidence"] = np.zeros_like(inputs["evidence"])
    return inputs


def _golden_evidence(graph: CodeGraph, sample: Sample, about: About) -> dict[str, NDArray[Any]]:
    """Evidence of a kind that the classes allow; of other classes than the street's, nonsense."""
    rng = np.random.default_rng(sample.stamp_ns)
    classes, groups = about.classes, about.groups
    kinds = [kind for kind in GOLDEN_KINDS if can_be_drawn(kind, classes, groups)]
    kind = kinds[int(rng.integers(len(kinds)))]
    labels = np.where(sample.labels < len(classes), sample.labels, VOID).astype(np.uint8)
    known = collate([partial_truth(labels, kind, None, classes=classes, groups=groups, rng=rng)])
    assert graph.model.code is not None
    return {
        "evidence": known.index.numpy(),
        "evidence_sets": known.sets[0].numpy(),
        "evidence_weight": known.weight[0].numpy(),
        "prior_code": np.zeros((1, graph.model.code.size(*graph.size)), np.float32),
        "prior_precision": np.zeros(1, np.float32),
    }


def _flatten(cases: Sequence[GoldenCase]) -> dict[str, NDArray[Any]]:
    """As arrays by golden.npz's names."""
    return {
        f"case{i}.{side}.{name}": array
        for i, case in enumerate(cases)
        for side, arrays in (("in", case.inputs), ("out", case.outputs))
        for name, array in arrays.items()
    }


def _commit() -> str:
    """The commit that exports, with a mark where the tree holds more than it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _check_replaceable(target: Path) -> None:
    """A slip of the pen (`--out models`) must not cost a folder of somebody's."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() and not (target / MANIFEST_FILE).is_file():
        raise TrainingError(
            f"{target} exists and is no bundle, so it is not replaced: give another"
        )


def _replace(source: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        os.replace(target, old / target.name)
        os.replace(source, target)
        shutil.rmtree(old)
    else:
        os.replace(source, target)
