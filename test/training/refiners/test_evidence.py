from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.refiners import EvidenceBatch, pool_evidence


@given(
    seed=st.integers(0, 2**32 - 1),
    stride=st.sampled_from([4, 8]),
    rows=st.integers(2, 6),
    batch=st.integers(1, 2),
    known=st.sampled_from([0.0, 0.05, 1.0]),
)
def test_cells_hold_what_a_loop_over_them_finds(
    seed: int, stride: int, rows: int, batch: int, known: float
) -> None:
    rng = np.random.default_rng(seed)
    shape = (batch, stride * 2, stride * 3 + 1)
    index = (rng.integers(1, rows, shape) * (rng.random(shape) < known)).astype(np.uint8)
    sets = rng.integers(0, 2, (batch, rows, 3)).astype(np.float32)
    weight = rng.random((batch, rows), np.float32)
    weight[:, 0] = 0
    pooled = pool_evidence(EvidenceBatch(*map(torch.from_numpy, (index, sets, weight))), stride)
    assert pooled.coverage.shape == (batch, 1, 2, 3)
    for image in range(batch):
        for row in range(2):
            for column in range(3):
                cell = index[
                    image,
                    row * stride : (row + 1) * stride,
                    column * stride : (column + 1) * stride,
                ]
                at = (slice(None), image, slice(None), row, column)
                _assert_cell(
                    cell, sets[image], weight[image], pooled.allowed[at], pooled.weight[at]
                )
                covered = pooled.coverage[image, 0, row, column]
                np.testing.assert_allclose(covered, (cell > 0).mean(), rtol=1e-6)


def _assert_cell(
    cell: NDArray[np.uint8],
    sets: NDArray[np.float32],
    weight: NDArray[np.float32],
    allowed: torch.Tensor,
    trust: torch.Tensor,
) -> None:
    """Of the sets in a cell the first and the last are kept, and no other."""
    present = np.unique(cell[cell > 0])
    kept = [present.max(), present.min()] if present.size else [0, 0]
    np.testing.assert_array_equal(allowed, sets[kept])
    np.testing.assert_array_equal(trust[:, 0], weight[kept])


def test_the_gradient_reaches_the_weights() -> None:
    weight = torch.tensor([[0.0, 1.0]], requires_grad=True)
    index = torch.ones(1, 8, 16, dtype=torch.uint8)
    pooled = pool_evidence(EvidenceBatch(index, torch.ones(1, 2, 3), weight), 8)
    pooled.weight.sum().backward()
    assert weight.grad is not None
    np.testing.assert_array_equal(weight.grad, [[0, 4]])  # two cells, each named twice
