from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_training import evidence_batch, random_unary, scene_of
from torch import Tensor

from training.refiners import CodeConfig, CodeRefiner
from training.refiners.code import WeighedEvidence

CLASSES, CELL, ROWS, COLUMNS = 3, 8, 12, 16
SETS = ((1, 1, 1), (1, 0, 0), (0, 1, 1))
PATCH = (slice(2, 4), slice(2, 4))
LEFT = (slice(0, ROWS), slice(0, COLUMNS // 2))


@pytest.fixture(scope="module")
def refiner() -> CodeRefiner:
    torch.manual_seed(0)
    return CodeRefiner(CLASSES, {4: 2, 8: 2, 16: 2}, CodeConfig(2, 1)).double()


def halves(sure: float = 3.0) -> Tensor:
    """Scores [1, C, h, w] at 1/4 of an image: the left half is class 0, the right one class 1."""
    scores = torch.zeros(1, CLASSES, 2 * ROWS, 2 * COLUMNS, dtype=torch.float64)
    scores[:, 0, :, :COLUMNS] = sure
    scores[:, 1, :, COLUMNS:] = sure
    return scores


def known(cells: tuple[slice, slice], pixels: int = CELL, row: int = 1) -> NDArray[np.uint8]:
    """Row `row` is known in these cells, in their first `pixels` rows of pixels."""
    index = np.zeros((1, ROWS, CELL, COLUMNS, CELL), np.uint8)
    index[0, cells[0], :pixels, cells[1]] = row
    return index.reshape(1, ROWS * CELL, COLUMNS * CELL)


@torch.no_grad()
def trusted(
    refiner: CodeRefiner, index: NDArray[np.uint8], weight: float = 1.0, sure: float = 3.0
) -> Tensor:
    """Trust in both sets of each cell together, [h, w]."""
    return weighed(refiner, index, weight, sure).trust.sum(dim=0)[0, 0]


@torch.no_grad()
def held(refiner: CodeRefiner, index: NDArray[np.uint8]) -> Tensor:
    """How firmly each cell is anchored, [h, w]."""
    return weighed(refiner, index).anchor[0, 0]


def weighed(
    refiner: CodeRefiner, index: NDArray[np.uint8], weight: float = 1.0, sure: float = 3.0
) -> WeighedEvidence:
    unary = random_unary(ROWS * CELL, COLUMNS * CELL, classes=CLASSES, batch=1)
    evidence = evidence_batch(index, SETS, (0, weight, weight))
    unary = dataclasses.replace(unary, scores=halves(sure))
    return refiner.prepare(scene_of(unary, evidence)).evidence


def test_only_known_cells_are_trusted(refiner: CodeRefiner) -> None:
    found = trusted(refiner, known(PATCH))
    assert (found[PATCH] > 0).all()
    found[PATCH] = 0
    assert not found.any()


def test_trust_grows_with_the_weight_of_the_source(refiner: CodeRefiner) -> None:
    whole, half = (trusted(refiner, known(PATCH), weight) for weight in (1.0, 0.5))
    torch.testing.assert_close(half, whole / 2)


def test_many_pixels_say_more_than_few_but_each_says_less(refiner: CodeRefiner) -> None:
    few, many = (trusted(refiner, known(PATCH, pixels))[2, 2] for pixels in (2, CELL))
    assert few < many < CELL / 2 * few


def test_the_more_of_its_class_evidence_names_the_firmer_the_rest_is_held(
    refiner: CodeRefiner,
) -> None:
    half = (slice(0, ROWS // 2), LEFT[1])
    few, some, all_of_it = (held(refiner, known(cells))[-1, -1] for cells in (PATCH, half, LEFT))
    assert 1.5 * few < some
    assert 1.5 * some < all_of_it


def test_evidence_that_names_all_of_its_one_class_does_not_pull(refiner: CodeRefiner) -> None:
    most = (slice(0, 2 * ROWS // 3), LEFT[1])
    assert (trusted(refiner, known(most))[most] > 0).all()
    assert not trusted(refiner, known(LEFT)).any()
    of_two_classes = trusted(refiner, known((slice(0, ROWS), slice(COLUMNS // 2, COLUMNS)), row=2))
    assert (of_two_classes[:, COLUMNS // 2 :] > 0).all()


@pytest.mark.parametrize("cells", [PATCH, LEFT, (slice(0, ROWS), slice(0, COLUMNS))])
def test_evidence_that_the_image_thinks_impossible_is_no_division_by_zero(
    refiner: CodeRefiner, cells: tuple[slice, slice]
) -> None:
    found = trusted(refiner, known(cells, row=2), sure=800.0)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
