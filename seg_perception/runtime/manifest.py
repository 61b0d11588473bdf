"""What a bundle says about itself: `manifest.json` as frozen records.

The names, dtypes and shapes of the graph's inputs and outputs are a contract (docs of
`input_specs` and `output_specs`), so a manifest that deviates is refused here, before any runtime
sees the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from seg_perception.classes import VOID, ClassInfo
from seg_perception.errors import BundleError
from seg_perception.runtime.json_record import decode

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
ENCODING = "rgb8"

_GROUPS = {"input": ("height", "width", "encoding"), "graph": ("inputs", "outputs")}
"""Fields of `Manifest` that stand in an object of their own in the file."""

UNREFINED_OUTPUT = "labels_unrefined"
"""Labels before refinement and correction: for comparison, and for what the overlay outlines."""

EVALUATION_OUTPUTS = ("labels_replaced", "labels_optimised_replaced")
"""Outputs that only the evaluation asks for: the scores with zero code, and the corrected ones,
restricted to the classes that the evidence leaves possible."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the graph; dtype is numpy's name, shape is static."""

    name: str
    dtype: str
    shape: tuple[int, ...]


LOOPED = "looped"
"""Among a refiner's parameters: whether its number of steps is an input of the graph."""


@dataclass(frozen=True)
class Refiner:
    """One refinement stage inside the graph.

    Attributes:
        name: unique in its model.
        parameters: for the record, but for `iterations` and `LOOPED` of a looped refiner.
    """

    name: str
    parameters: Mapping[str, Any]


QUANTISED = ("int8", "fp8")


@dataclass(frozen=True)
class Quantisation:
    """How convolutions of the graph were rounded to eight bits.

    Attributes:
        precision: one of `QUANTISED`; fp8 is E4M3.
        calibration: which frames the scales come from, for the record.
        loss: what the rounding costs, for the record.

    Raises:
        BundleError: another precision.
    """

    precision: str
    calibration: Mapping[str, Any]
    loss: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.precision not in QUANTISED:
            raise BundleError(
                f"quantisation.precision is {self.precision!r}, known are {', '.join(QUANTISED)}: "
                "update seg_perception or export again"
            )


@dataclass(frozen=True)
class Manifest:
    """What a bundle is and holds.

    Attributes:
        format_version: layout of the bundle; this code reads `FORMAT_VERSION`.
        name: name of the model.
        classes: the C classes, in the order of their ids 0 to C - 1.
        class_groups: names of classes by the name of their group, e.g. ground: (road, sidewalk).
        height: rows of the image that the graph takes.
        width: columns of that image.
        encoding: pixel format of the image, "rgb8".
        inputs: what the graph takes, see `input_specs`.
        outputs: what it answers, see `output_specs`.
        code_size: K, numbers in the optimisable code; 0 = the model has none and takes no evidence.
        refiners: refinement stages in the order of their execution.
        custom_ops: operators of the ONNX domain `seg_perception` that the graph uses.
        provenance: recipe, data and its terms, commit.
        scores: what the model reached when it was exported.
        files: sha256 (hexadecimal) by path relative to the bundle, of every file but the manifest.
        quantisation: how convolutions were rounded; None = they were not.

    Raises:
        BundleError: the fields contradict each other or the contract.
    """

    format_version: int
    name: str
    classes: tuple[ClassInfo, ...]
    class_groups: Mapping[str, tuple[str, ...]]
    height: int
    width: int
    encoding: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    code_size: int
    refiners: tuple[Refiner, ...]
    custom_ops: tuple[str, ...]
    provenance: Mapping[str, Any]
    scores: Mapping[str, Any]
    files: Mapping[str, str]
    quantisation: Quantisation | None = None

    def __post_init__(self) -> None:
        _check_version(self.format_version)
        _check_classes(self.classes, self.class_groups)
        if self.encoding != ENCODING:
            raise BundleError(f"encoding is {self.encoding!r}, only {ENCODING!r} is known")
        _check_specs(self)
        _check_files(self.files)

    @property
    def n_classes(self) -> int:
        """C, the number of classes."""
        return len(self.classes)

    @property
    def takes_evidence(self) -> bool:
        """Whether the model has a code, and so can be corrected by evidence."""
        return any(spec.name == "evidence" for spec in self.inputs)

    @property
    def max_sets(self) -> int:
        """S, the rows of `evidence_sets`; 0 for a model that takes no evidence."""
        return next((spec.shape[0] for spec in self.inputs if spec.name == "evidence_sets"), 0)

    @property
    def looped_refiners(self) -> dict[str, int]:
        """Refiners whose number of steps can be changed, in order, with the number by default."""
        looped = [refiner for refiner in self.refiners if refiner.parameters.get(LOOPED)]
        return {refiner.name: _iterations(refiner) for refiner in looped}

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """Names of what a vehicle needs of a frame: all outputs but those that only compare."""
        comparing = (UNREFINED_OUTPUT, *EVALUATION_OUTPUTS)
        return tuple(spec.name for spec in self.outputs if spec.name not in comparing)

    def to_json(self) -> str:
        """The text of `manifest.json`.

        Raises:
            ValueError: `scores`, `provenance` or parameters hold a NaN or infinite number.
            TypeError: they hold something that JSON cannot.
        """
        record = asdict(self)
        for group, names in _GROUPS.items():
            record[group] = {name: record.pop(name) for name in names}
        if self.quantisation is None:
            del record["quantisation"]
        return json.dumps(record, indent=2, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Read the text of a `manifest.json`.

        Raises:
            BundleError: it is not JSON, of another format version, or breaks the contract.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"not JSON ({error}): copy the bundle again or export again"
            ) from None
        if not isinstance(record, dict):
            raise BundleError("not a JSON object: this is no bundle manifest, export again")
        # Before all else: the fields of a newer format are not known here.
        _check_version(record.get("format_version"))
        for group, names in _GROUPS.items():
            _ungroup(record, group, names)
        manifest: Manifest = decode(Manifest, record, "manifest")
        return manifest


def input_specs(
    height: int, width: int, n_classes: int, code_size: int, max_sets: int, looped: int = 0
) -> tuple[TensorSpec, ...]:
    """The inputs of a graph, in order.

    `image` uint8 [1, H, W, 3] RGB; and, with a code (code_size K > 0): `evidence` uint8 [1, H, W],
    `evidence_sets` float32 [S, C], `evidence_weight` float32 [S] (see
    `seg_perception.evidence.record.Evidence`), `prior_code` float32 [1, K] and `prior_precision`
    float32 [1] (the code of the previous frame and how far to trust it; 0 = not at all). With R
    `looped` refiners (see `Manifest.looped_refiners`): `refiner_iterations` int64 [R].
    """
    image = TensorSpec("image", "uint8", (1, height, width, 3))
    iterations = (TensorSpec("refiner_iterations", "int64", (looped,)),) if looped else ()
    if not code_size:
        return (image, *iterations)
    return (
        image,
        TensorSpec("evidence", "uint8", (1, height, width)),
        TensorSpec("evidence_sets", "float32", (max_sets, n_classes)),
        TensorSpec("evidence_weight", "float32", (max_sets,)),
        TensorSpec("prior_code", "float32", (1, code_size)),
        TensorSpec("prior_precision", "float32", (1,)),
        *iterations,
    )


def output_specs(height: int, width: int, code_size: int) -> tuple[TensorSpec, ...]:
    """The outputs of a graph, in order.

    Uint8 [1, H, W]: `labels`, `confidence` (255 = certain), `entropy` (255 = log C) and
    `labels_unrefined`; with a code also `code` float32 [1, K] and, uint8 [1, H, W], the
    `EVALUATION_OUTPUTS`, which a model may lack.
    """

    def uint8_map(name: str) -> TensorSpec:
        return TensorSpec(name, "uint8", (1, height, width))

    answers = [uint8_map(name) for name in ("labels", "confidence", "entropy")]
    if code_size:
        answers.append(TensorSpec("code", "float32", (1, code_size)))
    answers.append(uint8_map(UNREFINED_OUTPUT))
    if code_size:
        answers += [uint8_map(name) for name in EVALUATION_OUTPUTS]
    return tuple(answers)


def _iterations(refiner: Refiner) -> int:
    found = refiner.parameters.get("iterations")
    if not isinstance(found, int) or found < 0:
        raise BundleError(
            f"refiner {refiner.name!r} is looped and says {found!r} iterations: export again"
        )
    return found


def _ungroup(record: dict[str, Any], group: str, names: Sequence[str]) -> None:
    members = record.pop(group, None)
    if not isinstance(members, dict) or sorted(members) != sorted(names):
        raise BundleError(f"{group} should be an object with the fields {names}: export again")
    record.update(members)


def _check_version(found: object) -> None:
    if not isinstance(found, int) or found < 1:
        raise BundleError(f"format_version is {found!r}: this is no bundle manifest, export again")
    if found > FORMAT_VERSION:
        raise BundleError(
            f"made by a newer seg_perception (format {found}, this reads {FORMAT_VERSION}): "
            "update seg_perception or export again"
        )


def _check_classes(
    classes: Sequence[ClassInfo], class_groups: Mapping[str, tuple[str, ...]]
) -> None:
    ids = [info.id for info in classes]
    if not classes or len(classes) > VOID or ids != list(range(len(classes))):
        raise BundleError(f"class ids are {ids}: export with the ids 0, 1, 2, ... in order")
    names = {info.name for info in classes}
    if len(names) != len(classes):
        raise BundleError("two classes have the same name: export with a name for each")
    for info in classes:
        if not all(0 <= level <= 255 for level in info.color):
            raise BundleError(f"class {info.name!r} has the colour {info.color}: give 0 to 255")
    for group, members in class_groups.items():
        unknown = sorted(set(members) - names)
        if unknown:
            raise BundleError(f"group {group!r} names unknown classes {unknown}: export again")


def _check_specs(manifest: Manifest) -> None:
    height, width, code_size = manifest.height, manifest.width, manifest.code_size
    if height < 1 or width < 1 or code_size < 0:
        raise BundleError(f"a model of {width}x{height} with code size {code_size}: export again")
    if manifest.takes_evidence != (code_size > 0):
        raise BundleError(
            f"code size is {code_size}, but the graph takes "
            f"{'' if manifest.takes_evidence else 'no '}evidence: export again"
        )
    _check_same(
        "inputs",
        manifest.inputs,
        input_specs(
            height,
            width,
            manifest.n_classes,
            code_size,
            manifest.max_sets,
            len(manifest.looped_refiners),
        ),
        optional=(),
    )
    _check_same(
        "outputs",
        manifest.outputs,
        output_specs(height, width, code_size),
        optional=EVALUATION_OUTPUTS,
    )
    if code_size and not 2 <= manifest.max_sets <= 256:
        raise BundleError(f"evidence_sets has {manifest.max_sets} rows: export with 2 to 256")


def _check_same(
    side: str,
    found: Sequence[TensorSpec],
    expected: Sequence[TensorSpec],
    optional: Sequence[str],
) -> None:
    names = [spec.name for spec in found]
    required = {spec.name for spec in expected} - set(optional)
    unknown = sorted(set(names) - {spec.name for spec in expected})
    missing = sorted(required - set(names))
    if unknown or missing or len(set(names)) != len(names):
        raise BundleError(
            f"graph {side} are {names} (unknown {unknown}, missing {missing}): export again"
        )
    wanted = {spec.name: spec for spec in expected}
    for spec in found:
        if spec != wanted[spec.name]:
            raise BundleError(
                f"graph {side}: {_describe(spec)} should be {_describe(wanted[spec.name])} "
                "by the size, classes and code of this manifest: export again"
            )


def _describe(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {list(spec.shape)}"


def _check_files(files: Mapping[str, str]) -> None:
    for required in (MODEL_FILE, GOLDEN_FILE):
        if required not in files:
            raise BundleError(f"files does not list {required}: export again")
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
            raise BundleError(
                f"files lists {name!r}, which is no plain path inside the bundle: "
                "do not use this bundle, get it again from its author"
            )
