"""A model's refiners on their way into the graph.

A refiner is unrolled as it is traced, unless it says otherwise: an `OperatorRefiner` becomes one
node of our domain, whose body follows as a function; a `looped` refiner becomes an ONNX Loop, whose
number of steps the vehicle can change. The tracer knows neither, so both leave a node of our domain
behind, and `complete` puts in what it stands for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from seg_perception.runtime.kernel_programs import Program, plan
from training.export.onnx_body import DOMAIN
from training.export.onnx_functions import FUNCTIONS
from training.export.trace import trace
from training.model import Refined, Segmenter
from training.refiners import OperatorRefiner, Refiner, Scene

REPEAT = "Repeat"
Rebuild = Callable[[Iterable[Tensor]], Any]


@dataclass(frozen=True)
class LoopBody:
    """One step of a looped refiner, as tensors only.

    Attributes:
        step: module that maps the state's tensors and then the prepared ones to the state's.
        examples: its arguments.
        states: how many of them are the state.
    """

    step: nn.Module
    examples: tuple[Tensor, ...]
    states: int


class Chain(nn.Module):
    """The chain of a model, as the graph holds it.

    Args:
        model: in evaluation mode.

    Attributes:
        looped: names of the refiners whose number of steps the graph takes.
        shapes: (C, h, w) of the scores that each operator has seen, by its name.
        loops: what each looped refiner repeats, by its name.
    """

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.refiners = model.refiners
        self.looped = tuple(name for name, refiner in model.refiners.items() if refiner.looped)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.loops: dict[str, LoopBody] = {}

    def forward(self, scene: Scene, iterations: Tensor | None) -> Refined:
        """As `Segmenter.refine`.

        Args:
            scene: with the unary network's own output.
            iterations: int64 [R], of the looped refiners.
        """
        states: dict[str, Any] = {}
        for name, refiner in self.refiners.items():
            if isinstance(refiner, OperatorRefiner):
                scene = scene.refined(self._operator(refiner, scene))
                continue
            prepared = refiner.prepare(scene)
            if iterations is not None and name in self.looped:
                count = iterations[self.looped.index(name)]
                states[name] = self._loop(refiner, prepared, count)
            else:
                states[name] = refiner.solve(prepared)
            scene = scene.refined(refiner.scores(prepared, states[name]))
        return Refined(scene.unary.scores, states)

    def _operator(self, refiner: OperatorRefiner[Any, Any], scene: Scene) -> Tensor:
        operands = refiner.operands(scene)
        shape = [int(n) for n in operands[0].shape]
        self.shapes[refiner.operator] = tuple(shape[1:])
        return refiner.finish(scene, operands[0], _Operator.apply(refiner, shape, *operands))

    def _loop(self, refiner: Refiner[Any, Any], prepared: Any, count: Tensor) -> Any:
        fixed, rebuild_prepared = flatten(prepared)
        state, rebuild = flatten(refiner.start(prepared))
        step = _Step(refiner, rebuild_prepared, rebuild, len(state))
        examples = tuple(x.detach() for x in (*state, *fixed))
        loop = LoopBody(step, examples, len(state))
        self.loops[refiner.name] = loop
        return rebuild(_Repeat.apply(loop, refiner.name, count, *state, *fixed))

    def complete(self, model: onnx.ModelProto) -> None:
        """Give a traced graph the bodies of its operators and loops.

        A chain that is traced twice, as without evidence, shares their bodies and weights.
        """
        graph = model.graph
        nodes = list(graph.node)
        del graph.node[:]
        for node in nodes:
            if node.domain == DOMAIN and node.op_type == REPEAT:
                node = self._loop_node(node, graph)
            elif node.domain == DOMAIN and node.op_type not in {f.name for f in model.functions}:
                attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                shape = self.shapes[node.op_type]
                model.functions.append(FUNCTIONS[node.op_type](attributes, shape))
            graph.node.append(node)

    def _loop_node(self, node: onnx.NodeProto, outer: onnx.GraphProto) -> onnx.NodeProto:
        """The Loop for a placeholder; what the step only reads, it reads from outside."""
        name = helper.get_node_attr_value(node, "name").decode()
        loop = self.loops[name]
        count, *values = node.input
        arguments = [f"in_{i}" for i in range(len(loop.examples))]
        results = [f"out_{i}" for i in range(loop.states)]
        step = trace(loop.step, loop.examples, arguments, results).graph
        outside = dict(zip(arguments[loop.states :], values[loop.states :], strict=True))
        _rename(step, lambda x: outside.get(x, f"{name}/{x}" if x else x))
        known = {weight.name for weight in outer.initializer}
        outer.initializer.extend(w for w in step.initializer if w.name not in known)
        del step.initializer[:]
        _make_loop_body(step, name, loop.states)
        inputs = [count, "", *values[: loop.states]]
        return helper.make_node("Loop", inputs, list(node.output), name=node.name, body=step)


def check_programs(chain: Chain, programs: Mapping[str, Program]) -> None:
    """Refuse a traced chain that the GPU kernels would answer wrongly.

    Args:
        chain: after it was traced.
        programs: of its kernels, by operator.

    Raises:
        BundleError: see `seg_perception.runtime.kernel_programs.plan`.
    """
    for refiner in chain.refiners.values():
        if isinstance(refiner, OperatorRefiner):
            program = programs[refiner.operator]
            sizes = dict(zip(("C", "H", "W"), chain.shapes[refiner.operator], strict=True))
            shapes = {
                tensor.name: [sizes.get(entry) or int(entry) for entry in tensor.shape]
                for tensor in program.inputs
            }
            plan(program, shapes, refiner.attributes())


def flatten(record: Any) -> tuple[list[Tensor], Rebuild]:
    """The tensors of nested dataclasses, tuples and mappings, and how to put others there."""
    if isinstance(record, Tensor):
        return [record], lambda tensors: next(iter(tensors))
    if dataclasses.is_dataclass(record):
        names = [field.name for field in dataclasses.fields(record)]
        parts = [flatten(getattr(record, name)) for name in names]
        kind: Any = type(record)
        return _joined(parts, lambda values: kind(**dict(zip(names, values, strict=True))))
    if isinstance(record, Mapping):
        keys = list(record)
        parts = [flatten(value) for value in record.values()]
        return _joined(parts, lambda values: dict(zip(keys, values, strict=True)))
    if isinstance(record, tuple):
        return _joined([flatten(value) for value in record], tuple)
    return [], lambda _: record


def _joined(
    parts: list[tuple[list[Tensor], Rebuild]], build: Callable[[list[Any]], Any]
) -> tuple[list[Tensor], Rebuild]:
    tensors = [tensor for found, _ in parts for tensor in found]

    def rebuild(given: Iterable[Tensor]) -> Any:
        queue = iter(given)
        return build([again([next(queue) for _ in found]) for found, again in parts])

    return tensors, rebuild


class _Step(nn.Module):
    """A refiner's step on flat tensors."""

    def __init__(
        self,
        refiner: Refiner[Any, Any],
        rebuild_prepared: Rebuild,
        rebuild_state: Rebuild,
        states: int,
    ) -> None:
        super().__init__()
        self.refiner, self.states = refiner, states
        self.rebuild_prepared, self.rebuild_state = rebuild_prepared, rebuild_state

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        state = self.rebuild_state(tensors[: self.states])
        prepared = self.rebuild_prepared(tensors[self.states :])
        return tuple(flatten(self.refiner.step(prepared, state))[0])


class _Operator(torch.autograd.Function):
    """Runs a refiner; traced, it is one node of our domain."""

    @staticmethod
    def forward(
        ctx: Any, refiner: OperatorRefiner[Any, Any], shape: list[int], *operands: Tensor
    ) -> Tensor:
        if torch.jit.is_tracing():
            return operands[0].clone()  # what it computes is not looked at, but would be recorded
        prepared = refiner.prepare_operands(*operands)
        return refiner.scores(prepared, refiner.solve(prepared))

    @staticmethod
    def symbolic(
        g: Any, refiner: OperatorRefiner[Any, Any], shape: list[int], *operands: Any
    ) -> Any:
        kinds = {int: "i", float: "f"}
        attributes = {f"{k}_{kinds[type(v)]}": v for k, v in refiner.attributes().items()}
        node = g.op(f"{DOMAIN}::{refiner.operator}", *operands, **attributes)
        return node.setType(operands[0].type().with_sizes(shape))


class _Repeat(torch.autograd.Function):
    """Runs steps; traced, it is the placeholder of a Loop."""

    @staticmethod
    def forward(
        ctx: Any, loop: LoopBody, name: str, count: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        state, fixed = tensors[: loop.states], tensors[loop.states :]
        for _ in range(0 if torch.jit.is_tracing() else int(count)):
            state = loop.step(*state, *fixed)
        return tuple(x.clone() for x in state)

    @staticmethod
    def symbolic(g: Any, loop: LoopBody, name: str, count: Any, *tensors: Any) -> Any:
        made = g.op(f"{DOMAIN}::{REPEAT}", count, *tensors, name_s=name, outputs=loop.states)
        values = (made,) if loop.states == 1 else tuple(made)
        for value, state, example in zip(values, tensors, loop.examples, strict=False):
            value.setType(state.type().with_sizes(list(example.shape)))
        return values


def _rename(graph: onnx.GraphProto, name: Callable[[str], str]) -> None:
    """Give every value of a graph without subgraphs another name."""
    for node in graph.node:
        node.input[:] = [name(x) for x in node.input]
        node.output[:] = [name(x) for x in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = name(value.name)


def _make_loop_body(step: onnx.GraphProto, name: str, states: int) -> None:
    """Turn a step's graph into a Loop's body: iteration number and condition before the state."""
    number = helper.make_tensor_value_info(f"{name}/number", onnx.TensorProto.INT64, [])
    before, after = (
        helper.make_tensor_value_info(f"{name}/{x}", onnx.TensorProto.BOOL, [])
        for x in ("go", "go_on")
    )
    arguments, results = list(step.input)[:states], list(step.output)
    del step.input[:], step.output[:]
    step.input.extend([number, before, *arguments])
    step.output.extend([after, *results])
    step.node.append(helper.make_node("Identity", [before.name], [after.name]))
    step.name = name
