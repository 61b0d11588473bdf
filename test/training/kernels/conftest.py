"""Tensors lie where the kernels run: on the CPU in the interpreter, else on the GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def where_kernels_run() -> Iterator[None]:
    with torch.device("cpu" if os.environ["TRITON_INTERPRET"] == "1" else "cuda"):
        yield
