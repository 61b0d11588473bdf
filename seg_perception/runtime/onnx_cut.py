"""Cut an ONNX model at nodes that something else is to run, into models that a runtime takes.

The nodes that are taken out are *calls*. A value's stage is the number of calls, one behind the
other, that it waits for. The nodes of one stage become one model, and the calls that wait for no
more follow it:

    stage 0: model, calls    stage 1: model, calls    ...

so that there are as few models as the chain of calls allows. What depends on no input (weights, and
what is computed from them) does not cross a cut: every model gets its own, which its runtime folds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from seg_perception.runtime.onnx_prune import Node, needed_nodes
from seg_perception.runtime.onnx_wire import (
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    GRAPH_VALUE_INFO,
    MODEL_GRAPH,
    NODE_DOMAIN,
    NODE_INPUT,
    NODE_OP_TYPE,
    NODE_OUTPUT,
    TENSOR_NAME,
    VALUE_NAME,
    TensorType,
    delimited,
    fields,
    number_attributes,
    payloads,
    tensor_type,
    tensor_value,
    text,
    texts,
)


@dataclass(frozen=True)
class Call:
    """A node that is taken out.

    Attributes:
        domain: of the operator.
        operator: its name.
        inputs: names of the values it reads.
        output: name of its first value.
        attributes: those that are numbers.
    """

    domain: str
    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, float | int]

    @staticmethod
    def parse(node: memoryview) -> Call:
        """Of a NodeProto."""
        domain, operator = text(node, NODE_DOMAIN), text(node, NODE_OP_TYPE)
        inputs, outputs = texts(node, NODE_INPUT), texts(node, NODE_OUTPUT)
        return Call(domain, operator, inputs, "".join(outputs[:1]), number_attributes(node))


@dataclass(frozen=True)
class Stage:
    """The nodes of one model, and the calls behind it.

    Attributes:
        given: values that the nodes read: inputs, and what stages before made.
        wanted: values that the nodes make and others read; none: there is no model.
        calls: none needs another's answer.
    """

    given: tuple[str, ...]
    wanted: tuple[str, ...]
    calls: tuple[Call, ...]


class CutModel:
    """A model and its stages.

    Args:
        model: a serialised ModelProto; its nodes stand in topological order, as ONNX demands.
        is_call: which nodes of the main graph, with one output, are taken out. Nodes of subgraphs
            stay where they are.

    Attributes:
        inputs: types by name.
        outputs: likewise.
        calls: in order.
        constants: what calls read that depends on no input.
        stages: in order.

    Raises:
        ValueError: `model` is not in protobuf's wire format.
    """

    def __init__(self, model: bytes, is_call: Callable[[Call], bool]) -> None:
        whole = memoryview(model)
        (self._graph,) = payloads(whole, MODEL_GRAPH)
        self._around = [field.whole for field in fields(whole) if field.number != MODEL_GRAPH]
        self._nodes = [Node.parse(node) for node in payloads(self._graph, GRAPH_NODE)]
        self._weights = _by_name(self._graph, GRAPH_INITIALIZER, TENSOR_NAME)
        self._declared = _by_name(self._graph, GRAPH_INPUT, VALUE_NAME)
        self._outputs = _by_name(self._graph, GRAPH_OUTPUT, VALUE_NAME)
        # Up to IR version 3, weights stand among the inputs as well.
        given = [name for name in self._declared if name not in self._weights]
        self.inputs = {name: tensor_type(self._declared[name]) for name in given}
        self.outputs = {name: tensor_type(value) for name, value in self._outputs.items()}
        parsed = (Call.parse(node.encoded) for node in self._nodes if len(node.makes) == 1)
        self.calls = tuple(call for call in parsed if is_call(call))
        self._answers = {call.output for call in self.calls}
        self._stage = self._stages_of_values()
        read = {name for call in self.calls for name in call.inputs}
        self.constants = tuple(sorted(read - self._stage.keys()))
        last = max(self._stage.values(), default=0)
        self.stages = tuple(self._make_stage(number) for number in range(last + 1))

    def piece(self, wanted: Collection[str], given: Mapping[str, TensorType]) -> bytes:
        """The model of the nodes between two sets of values, serialised.

        Args:
            wanted: names of its outputs.
            given: its inputs.
        """
        nodes, read = needed_nodes(self._nodes, wanted, given)
        rebuilt = (GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE_INFO)
        parts: list[bytes | memoryview] = [delimited(GRAPH_NODE, node.encoded) for node in nodes]
        parts += [field.whole for field in fields(self._graph) if field.number not in rebuilt]
        for name in sorted(read & self._weights.keys()):
            parts.append(delimited(GRAPH_INITIALIZER, self._weights[name]))
            if name in self._declared:
                parts.append(delimited(GRAPH_INPUT, self._declared[name]))
        parts += [delimited(GRAPH_INPUT, tensor_value(name, given[name])) for name in given]
        # The runtime finds the types of values inside the graph itself.
        named = {name: delimited(VALUE_NAME, name) for name in wanted}
        parts += [delimited(GRAPH_OUTPUT, self._outputs.get(n, named[n])) for n in wanted]
        return b"".join([*self._around, delimited(MODEL_GRAPH, b"".join(parts))])

    def _stages_of_values(self) -> dict[str, int]:
        """The stage whose nodes make a value, or can read it first; constants have none."""
        stage = dict.fromkeys(self.inputs, 0)
        for node in self._nodes:
            before = [stage[name] for name in node.reads if name in stage]
            is_call = self._is_call(node)
            if before or is_call or not (node.reads or _is_constant(node)):
                stage |= dict.fromkeys(node.makes, max(before, default=0) + is_call)
        return stage

    def _make_stage(self, number: int) -> Stage:
        there = {name for name, stage in self._stage.items() if stage < number}
        there |= self.inputs.keys() | self._answers
        made = {name for name, stage in self._stage.items() if stage == number} - there
        wanted = made & self._outputs.keys()
        if number == 0:
            wanted |= self._outputs.keys() - self._stage.keys()
        for node in self._nodes:
            if self._is_call(node) or any(self._stage.get(n, 0) > number for n in node.makes):
                wanted |= made & node.reads
        _, read = needed_nodes(self._nodes, wanted, there)
        calls = tuple(call for call in self.calls if self._stage[call.output] == number + 1)
        return Stage(tuple(sorted(read & there)), tuple(sorted(wanted)), calls)

    def _is_call(self, node: Node) -> bool:
        return not node.makes.isdisjoint(self._answers)


def _by_name(graph: memoryview, number: int, name: int) -> dict[str, memoryview]:
    return {text(message, name): message for message in payloads(graph, number)}


def _is_constant(node: Node) -> bool:
    """Rather than a random number, which reads nothing either."""
    return text(node.encoded, NODE_OP_TYPE) == "Constant"
