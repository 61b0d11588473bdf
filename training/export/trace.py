"""Modules traced to ONNX."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn

from training.export.onnx_body import OPSET


def trace(
    module: nn.Module, arguments: Sequence[Tensor], inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Trace a module with fixed shapes.

    The tracing exporter is used on purpose: the unrolled solve has a thousand nodes, which it
    writes in half a second where `dynamo=True` takes over a minute for the same graph (torch 2.13).

    Args:
        module: in evaluation mode.
        arguments: to trace with.
        inputs: names of the arguments.
        outputs: names of the results.
    """
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(arguments),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    return onnx.load_from_string(buffer.getvalue())
