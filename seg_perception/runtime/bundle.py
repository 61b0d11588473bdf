"""The bundle: a trained model as one immutable, hashed folder, read and verified here.

```
manifest.json   what the model is, and the sha256 of every other file (`Manifest`)
model.onnx      the whole function, pre- and post-processing inside
golden.npz      a few inputs and the answers expected to them: the self-test of every runner
MODEL_CARD.md   for people
```
JSON and ONNX only: opening a bundle never runs code of its author.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import BundleError
from seg_perception.runtime.manifest import (
    EVALUATION_OUTPUTS,
    FORMAT_VERSION,
    GOLDEN_FILE,
    LOOPED,
    MANIFEST_FILE,
    MODEL_FILE,
    UNREFINED_OUTPUT,
    Manifest,
    Quantisation,
    Refiner,
    TensorSpec,
    input_specs,
    output_specs,
)

__all__ = [
    "EVALUATION_OUTPUTS",
    "FORMAT_VERSION",
    "GOLDEN_FILE",
    "LOOPED",
    "MANIFEST_FILE",
    "MODEL_FILE",
    "UNREFINED_OUTPUT",
    "Bundle",
    "GoldenCase",
    "Manifest",
    "Quantisation",
    "Refiner",
    "TensorSpec",
    "check_bundle",
    "hash_file",
    "input_specs",
    "load_bundle",
    "output_specs",
]


@dataclass(frozen=True)
class Tolerance:
    """By how much two runtimes of one model may differ.

    Attributes:
        labels: percent of the pixels.
        maps: mean absolute difference of confidence and entropy, 0 to 255.
        code: difference relative to its norm.
    """

    labels: float
    maps: float
    code: float


WHOLE = Tolerance(labels=0.1, maps=1.0, code=0.05)
ROUNDED = Tolerance(labels=1.0, maps=3.0, code=0.2)
"""Of a model with eight-bit convolutions, where the last bit of a sum decides between two steps.
Between two ways of ONNX Runtime through the default model up to 0.2 % of the labels differ."""


@dataclass(frozen=True)
class GoldenCase:
    """Inputs of the graph by name, and the outputs that every runner must give to them."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: its folder.
        manifest: what it says about itself.
        digest: sha256 of `manifest.json`, which holds the hashes of all else: one name for it all.
    """

    path: Path
    manifest: Manifest
    digest: str

    @property
    def model_path(self) -> Path:
        """The ONNX model."""
        return self.path / MODEL_FILE

    def read(self, name: str) -> bytes:
        """The bytes of one of the bundle's files, which are those that were hashed.

        Raises:
            BundleError: the file is gone, or was changed after the bundle was loaded.
        """
        path = self.path / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read ({error.strerror}): copy the bundle again"
            ) from None
        if hashlib.sha256(content).hexdigest() != self.manifest.files.get(name):
            raise BundleError(
                f"{path} was changed after the bundle was loaded: "
                "copy the bundle again, and never change one in use"
            )
        return content

    def golden(self) -> tuple[GoldenCase, ...]:
        """The cases of the self-test, at least two.

        Raises:
            BundleError: golden.npz is no archive of plain arrays, or lacks cases.
        """
        path = self.path / GOLDEN_FILE
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
            raise BundleError(
                f"{path} cannot be read ({error}): copy the bundle again or export again"
            ) from None
        return _golden_cases(arrays, self.manifest, path)


class CanRun(Protocol):
    """What `check_bundle` needs of a runner."""

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """See `seg_perception.runtime.runner.Runner.run`."""


def hash_file(path: Path | str) -> str:
    """The sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_bundle(path: Path | str) -> Bundle:
    """Read and verify a bundle: format, contract, and the hash of every file.

    Raises:
        BundleError: no bundle is there, or it is corrupt, truncated, tampered with or of a newer
            format; the message names the file and the fix.
    """
    folder = Path(path)
    manifest_path = folder / MANIFEST_FILE
    try:
        content = manifest_path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder} is no bundle ({MANIFEST_FILE}: {error.strerror}): "
            f"give the folder that holds {MANIFEST_FILE} and {MODEL_FILE}"
        ) from None
    try:
        manifest = Manifest.from_json(content.decode())
    except UnicodeDecodeError:
        raise BundleError(f"{manifest_path}: not UTF-8 text: copy the bundle again") from None
    except BundleError as error:
        raise BundleError(f"{manifest_path}: {error}") from None
    _check_listed(folder, manifest.files)
    _check_unlisted(folder, manifest.files)
    return Bundle(folder, manifest, hashlib.sha256(content).hexdigest())


def check_bundle(bundle: Bundle, runner: CanRun, outputs: Collection[str] | None = None) -> None:
    """Self-test: does this runner compute the model that the bundle was exported with?

    Every golden case must be answered as expected, and, the negative control, not like another
    case: a runner that always gives the same answer would otherwise pass.

    Args:
        bundle: what to test.
        runner: of the bundle.
        outputs: to ask for; None = all that the golden cases hold, of which some are for the
            evaluation only and cost the runner a second session or engine.

    Raises:
        BundleError: an answer deviates, or the cases cannot tell answers apart.
    """
    path = bundle.path / GOLDEN_FILE
    tolerance = WHOLE if bundle.manifest.quantisation is None else ROUNDED
    cases = bundle.golden()
    answers = [runner.run(case.inputs, _asked(case, outputs)) for case in cases]
    for i, (case, answer) in enumerate(zip(cases, answers, strict=True)):
        deviations = _deviations(case.outputs, answer, tolerance)
        if deviations:
            raise BundleError(
                f"{path}: case {i} is answered wrongly here ({'; '.join(deviations)}): "
                "try another runner or another version of it, or export the bundle again"
            )
        other = cases[(i + 1) % len(cases)]
        if not _deviations(other.outputs, answer, tolerance):
            raise BundleError(
                f"{path}: case {i} is answered like another case, although the inputs differ: "
                "the model ignores its input, do not use this bundle"
            )


def _asked(case: GoldenCase, outputs: Collection[str] | None) -> tuple[str, ...]:
    return tuple(name for name in case.outputs if outputs is None or name in outputs)


def _check_listed(folder: Path, files: Mapping[str, str]) -> None:
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing: copy the bundle again or export again")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{path} leads out of the bundle: replace the link by the file")
        found = hash_file(path)
        if found != digest:
            raise BundleError(
                f"{path} is corrupt or was changed (sha256 {found[:12]}... instead of "
                f"{digest[:12]}...): copy the bundle again or export again"
            )


def _check_unlisted(folder: Path, files: Mapping[str, str]) -> None:
    # An ONNX model can name further files to load, so a file without a hash is a way in.
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name != MANIFEST_FILE and name not in files:
            raise BundleError(
                f"{path} is not listed in {MANIFEST_FILE}, so nothing vouches for it: remove it"
            )


def _golden_cases(
    arrays: Mapping[str, NDArray[Any]], manifest: Manifest, path: Path
) -> tuple[GoldenCase, ...]:
    cases: dict[int, dict[str, dict[str, NDArray[Any]]]] = {}
    for key, array in arrays.items():
        match = re.fullmatch(r"case(\d+)\.(in|out)\.(\w+)", key)
        if match is None:
            raise BundleError(f"{path}: array {key!r} belongs to no case: export again")
        case = cases.setdefault(int(match[1]), {"in": {}, "out": {}})
        case[match[2]][match[3]] = array
    wanted = set(manifest.default_outputs)
    complete = all("image" in case["in"] and wanted <= set(case["out"]) for case in cases.values())
    if len(cases) < 2 or not complete:
        raise BundleError(
            f"{path}: {len(cases)} cases, {'' if complete else 'not '}all complete: "
            f"export again with at least 2, each with an image and {', '.join(sorted(wanted))}"
        )
    return tuple(GoldenCase(cases[i]["in"], cases[i]["out"]) for i in sorted(cases))


def _deviations(
    expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]], tolerance: Tolerance
) -> list[str]:
    """What deviates by more than two runtimes may, in words; the names that both know."""
    deviations = []
    for name in sorted(expected.keys() & found.keys()):
        difference, limit = _difference(name, expected[name], found[name], tolerance)
        # `not <=`, because a NaN is a deviation too.
        if not difference <= limit:
            deviations.append(f"{name} differs by {difference:.3g}, at most {limit:g} is allowed")
    return deviations


def _difference(
    name: str, expected: NDArray[Any], found: NDArray[Any], tolerance: Tolerance
) -> tuple[float, float]:
    if expected.shape != found.shape:
        return float("inf"), 0.0
    if name.startswith("labels"):
        return 100.0 * float(np.mean(expected != found)), tolerance.labels
    difference = found.astype(np.float64) - expected
    if name == "code":
        scale = max(float(np.linalg.norm(expected)), 1e-3)
        return float(np.linalg.norm(difference)) / scale, tolerance.code
    return float(np.abs(difference).mean()), tolerance.maps
