"""The graph as an ONNX file: traced, checked, its weights stored as float16."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seg_perception.runtime.bundle import TensorSpec
from training.export.chain import Chain
from training.export.folding import fold_constants
from training.export.trace import trace

Model = TypeVar("Model", bound=nn.Module)

SMALLEST_HALVED = 1024  # elements; below that a Cast costs more than it saves


def exportable(model: Model) -> Model:
    """A copy in evaluation mode with batch normalisation folded and weights rounded to float16.

    The file holds float16 (`halve_weights`), and the tracer folds batch normalisation. Done here,
    and in this order, the copy has exactly the weights that the file will have.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.BatchNorm2d):
            convolution, norm = module
            module[0], module[1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return model


def to_onnx(
    graph: nn.Module, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Trace a module to ONNX: standard operators, and ours with their bodies.

    Args:
        graph: in evaluation mode; takes tensors as `inputs` say, in order.
        inputs: names, dtypes and shapes.
        outputs: names, in order.
    """
    arguments = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs]
    model = trace(graph, arguments, [spec.name for spec in inputs], outputs)
    for module in graph.modules():
        if isinstance(module, Chain):
            module.complete(model)
    fold_constants(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights as float16 and a Cast, which runtimes fold when they load.

    Halves the file; all arithmetic stays float32.
    """
    nodes, weights = [], []
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype == np.float32 and array.size >= SMALLEST_HALVED:
            stored = f"{weight.name}.half"
            weights.append(numpy_helper.from_array(array.astype(np.float16), stored))
            cast = helper.make_node("Cast", [stored], [weight.name], to=onnx.TensorProto.FLOAT)
            nodes.append(cast)
        else:
            weights.append(weight)
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    del halved.graph.initializer[:], halved.graph.node[:]
    halved.graph.initializer.extend(weights)
    halved.graph.node.extend([*nodes, *model.graph.node])
    onnx.checker.check_model(halved, full_check=True)
    return halved
