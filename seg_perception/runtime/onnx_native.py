"""Our operators in the compiled filters, between ONNX Runtime sessions of the rest of the model.

A body of standard operators has to write every intermediate array to memory, which is what its time
goes into; the kernels of `seg_perception.filters` do a whole step in one pass over the pixels. An
operator library that ONNX Runtime loads would need its C headers, which its wheels do not carry. So
the model is cut (`onnx_cut`): arrays cross a cut without a copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from seg_perception.filters import PermutohedralLattice, guided_crf, lattice_mean_field
from seg_perception.filters.linear import image_features
from seg_perception.filters.native import at_most
from seg_perception.runtime.onnx_cut import Call, CutModel, Stage
from seg_perception.runtime.onnx_tensorrt import DOMAIN
from seg_perception.runtime.onnx_wire import TensorType

Array = NDArray[Any]

_FLOAT = 1  # TensorProto.DataType
_ELEMENTS = {
    _FLOAT: "float",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "double",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
_NUMBERS = {f"tensor({word})": number for number, word in _ELEMENTS.items()}


@dataclass(frozen=True)
class Described:
    """What a session tells of a value: name, type ("tensor(float)") and shape."""

    name: str
    type: str
    shape: list[int | None]

    @staticmethod
    def of(name: str, type_: TensorType) -> Described:
        """Of a value with this type."""
        return Described(name, f"tensor({_ELEMENTS[type_.element]})", list(type_.shape or ()))


@dataclass(frozen=True)
class Operator:
    """How the filters run an operator.

    Attributes:
        run: from its operands, with a batch of one, and its attributes to its answer.
        attributes: names of all that it has.
    """

    run: Callable[..., Array]
    attributes: frozenset[str]


def runs_in_filters(call: Call) -> bool:
    """Whether the filters know this operator, with just these attributes."""
    known = OPERATORS.get(call.operator) if call.domain == DOMAIN else None
    return known is not None and known.attributes == call.attributes.keys()


class CutSession:
    """Stands where ONNX Runtime's `InferenceSession` of the whole model would.

    Args:
        cut: the model.
        open_session: makes an `InferenceSession` of a serialised model.
        threads: of the filters, None = one for each core. They take as many as the runtime, which
            sleeps meanwhile: on two cores a second thread never cost time, and saved 3 ms of a
            mean field at 240x180.

    Raises:
        ValueError: what would have to cross a cut is no tensor.
    """

    def __init__(
        self, cut: CutModel, open_session: Callable[[bytes], Any], threads: int | None
    ) -> None:
        self._cut, self._threads = cut, threads
        self._constants = _constants(cut, open_session)
        self._steps: list[tuple[Any, Stage]] = []
        types = dict(cut.inputs)
        for stage in cut.stages:
            session = None
            if stage.wanted:
                given = {name: types[name] for name in stage.given}
                session = open_session(cut.piece(stage.wanted, given))
                types |= {value.name: _type(value) for value in session.get_outputs()}
            unknown = TensorType(_FLOAT, None)
            types |= {call.output: types.get(call.inputs[0], unknown) for call in stage.calls}
            self._steps.append((session, stage))

    def get_inputs(self) -> list[Described]:
        """Of the whole model."""
        return list(itertools.starmap(Described.of, self._cut.inputs.items()))

    def get_outputs(self) -> list[Described]:
        """Of the whole model."""
        return list(itertools.starmap(Described.of, self._cut.outputs.items()))

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """These outputs; any thread may call it.

        Raises:
            FilterError: scores or an image are not finite.
        """
        values = {**self._constants, **inputs}
        for session, stage in self._steps:
            if session is not None:
                given = {name: values[name] for name in stage.given}
                values |= zip(stage.wanted, session.run(stage.wanted, given), strict=True)
            for call in stage.calls:
                operands = [values[name] for name in call.inputs]
                with at_most(self._threads):
                    values[call.output] = OPERATORS[call.operator].run(*operands, **call.attributes)
        return [values[name] for name in names]


def _constants(cut: CutModel, open_session: Callable[[bytes], Any]) -> dict[str, Array]:
    if not cut.constants:
        return {}
    session = open_session(cut.piece(cut.constants, {}))
    return dict(zip(cut.constants, session.run(cut.constants, {}), strict=True))


def _type(value: Any) -> TensorType:
    """Of what a session tells of a value: it has no sizes for a scalar, and for what it ignores."""
    if value.type not in _NUMBERS:
        raise ValueError(f"{value.name} is {value.type}: only tensors can go to the filters")
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorType(_NUMBERS[value.type], shape or None)


def _guided_crf(
    scores: Array, guide: Array, weights: Array, *, radius: int, eps: float, iterations: int
) -> Array:
    """See `training.refiners.guided_crf`."""
    refined = guided_crf(
        scores[0],
        guide[0].transpose(1, 2, 0),
        radius=radius,
        eps=eps,
        weight=1.0,
        compatibility=weights,
        iterations=iterations,
    )
    return refined[None]


def _mean_field(
    scores: Array,
    image: Array,
    spatial_weight: Array,
    bilateral_weight: Array,
    compatibility: Array,
    *,
    sxy_spatial: float,
    sxy: float,
    srgb: float,
    iterations: int,
) -> Array:
    """See `training.refiners.mean_field`."""
    height, width = scores.shape[-2:]
    features = image_features(height, width, image[0].transpose(1, 2, 0), sxy, srgb)
    terms = [
        (_spatial_lattice(height, width, sxy_spatial), spatial_weight),
        (PermutohedralLattice.of_features(features), bilateral_weight),
    ]
    return lattice_mean_field(scores[0], terms, iterations, compatibility)[None]


@lru_cache(maxsize=2)
def _spatial_lattice(height: int, width: int, sxy: float) -> PermutohedralLattice:
    """The same for every frame of a model."""
    return PermutohedralLattice.spatial(height, width, sxy)


OPERATORS: Mapping[str, Operator] = {
    "GuidedCrf": Operator(_guided_crf, frozenset({"radius", "eps", "iterations"})),
    "MeanField": Operator(_mean_field, frozenset({"sxy_spatial", "sxy", "srgb", "iterations"})),
}
"""By name, all of domain `DOMAIN`."""
