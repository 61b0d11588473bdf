"""What every runner does before it runs: refuse wrong inputs, fill in those left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import RunnerError
from seg_perception.runtime.manifest import Manifest


def nothing_known(manifest: Manifest) -> dict[str, NDArray[Any]]:
    """All inputs but `image`, saying "nothing known": no evidence, no previous code.

    Refiners take as many steps as the manifest says.
    """
    inputs: dict[str, NDArray[Any]] = {
        spec.name: np.zeros(spec.shape, np.dtype(spec.dtype))
        for spec in manifest.inputs
        if spec.name != "image"
    }
    if "evidence_sets" in inputs:
        # Unused rows too, so that no arithmetic on them meets an empty set.
        inputs["evidence_sets"][:] = 1.0
    if "refiner_iterations" in inputs:
        inputs["refiner_iterations"][:] = list(manifest.looped_refiners.values())
    return inputs


def check_inputs(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuse inputs that the graph does not take.

    Raises:
        RunnerError: a name is unknown, `image` is missing, or a dtype or shape is wrong.
    """
    specs = {spec.name: spec for spec in manifest.inputs}
    unknown = sorted(inputs.keys() - specs.keys())
    if unknown:
        raise RunnerError(
            f"inputs {unknown} are unknown to the model {manifest.name!r}: "
            f"it takes {', '.join(specs)}"
        )
    if "image" not in inputs:
        raise RunnerError(f"input 'image' is missing: give uint8 {list(specs['image'].shape)}")
    for name, array in inputs.items():
        spec = specs[name]
        if array.dtype != np.dtype(spec.dtype) or array.shape != spec.shape:
            raise RunnerError(
                f"input {name!r} is {array.dtype} {list(array.shape)}: "
                f"give {spec.dtype} {list(spec.shape)}"
            )


def check_outputs(manifest: Manifest, outputs: tuple[str, ...]) -> None:
    """Refuse output names that the graph does not have.

    Raises:
        RunnerError: a name is unknown.
    """
    known = [spec.name for spec in manifest.outputs]
    unknown = [name for name in outputs if name not in known]
    if unknown:
        raise RunnerError(
            f"outputs {unknown} are unknown to the model {manifest.name!r}: "
            f"it answers {', '.join(known)}"
        )
