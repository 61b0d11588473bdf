from __future__ import annotations

import numpy as np
import torch

from training.export.graph import best, describe, obey, restrict


def test_maps_are_those_of_the_upsampled_softmax() -> None:
    scores = 3 * torch.randn(1, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    labels, confidence, entropy = describe(scores, (12, 16))
    fine = torch.nn.functional.interpolate(scores, (12, 16), mode="bilinear", align_corners=False)
    probs = fine.double().softmax(dim=1).numpy()
    uncertain = -(probs * np.log(probs)).sum(axis=1) / np.log(5)
    for found, expected in ((confidence, probs.max(axis=1)), (entropy, uncertain)):
        assert found.dtype == torch.uint8
        np.testing.assert_allclose(found, expected * 255, atol=0.51)
    np.testing.assert_array_equal(labels, probs.argmax(axis=1))


def test_no_score_is_too_large_for_the_maps() -> None:
    scores = torch.tensor([0.0, 5e3, -5e3]).reshape(1, 3, 1, 1)
    labels, confidence, entropy = describe(scores, (1, 1))
    assert (int(labels), int(confidence), int(entropy)) == (1, 255, 0)


def test_equal_scores_are_as_uncertain_as_can_be() -> None:
    _, confidence, entropy = describe(torch.zeros(1, 4, 1, 1), (2, 2))
    assert (confidence == 64).all()
    assert (entropy == 255).all()


def test_a_class_that_is_ruled_out_cannot_win() -> None:
    scores = torch.tensor([50.0, 0.0, -30.0]).reshape(1, 3, 1, 1)
    allowed = torch.tensor([0.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    assert int(best(restrict(scores, allowed))) == 2
    assert int(best(restrict(scores, torch.ones_like(allowed)))) == 0


SETS = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.float32)


def obeyed(odds: list[float], known: list[int], *, weight: float = 1.0) -> list[int]:
    """Labels of four pixels in one cell, 0 before, of which `known` holds the rows of `SETS`."""
    weights = torch.tensor([0, weight, weight, weight])
    scores = torch.tensor(odds).log().reshape(1, 3, 1, 1)
    evidence = torch.tensor(known, dtype=torch.uint8).reshape(1, 2, 2)
    found = obey(torch.zeros(1, 2, 2, dtype=torch.uint8), scores, evidence, SETS, weights)
    assert found.dtype == torch.uint8
    return found.flatten().tolist()


def obeyed_in_cells(likely: list[float], row: int = 1) -> list[bool]:
    """Whether evidence of one row is, in cells that give class 1 these probabilities."""
    probs = torch.tensor([[1 - p, p, 1e-9] for p in likely]).T.reshape(1, 3, 1, -1)
    known = torch.full((1, 1, len(likely)), row, dtype=torch.uint8)
    zero = torch.zeros_like(known)
    found = obey(zero, probs.log(), known, SETS, torch.tensor([0.0, 1, 1, 1]))
    return (found[0, 0] > 0).tolist()


def test_every_pixel_obeys_its_own_set() -> None:
    assert obeyed([0.6, 0.15, 0.25], [0, 1, 1, 3]) == [0, 1, 1, 2]
    assert obeyed([0.6, 0.15, 0.25], [0, 2, 2, 3]) == [0, 2, 2, 2]


def test_of_three_sets_in_a_cell_two_choose_the_class() -> None:
    assert obeyed([0.6, 0.15, 0.25], [0, 1, 2, 3]) == [0, 1, 1, 2]


def test_evidence_that_is_seldom_contradicted_is_obeyed_even_where_it_is_unlikely() -> None:
    assert all(obeyed_in_cells([0.9] * 98 + [0.02] * 2))


def test_evidence_that_is_often_contradicted_is_obeyed_where_it_is_likely() -> None:
    believed = obeyed_in_cells([0.9] * 75 + [0.2] * 5 + [0.05] * 20)
    assert believed == [True] * 80 + [False] * 20


def test_what_one_set_is_wrong_about_is_not_held_against_another() -> None:
    known = torch.tensor([1] * 30 + [3], dtype=torch.uint8).reshape(1, 1, 31)
    probs = torch.tensor([0.95, 0.01, 0.04]).reshape(1, 3, 1, 1).expand(1, 3, 1, 31)
    found = obey(torch.zeros_like(known), probs.log(), known, SETS, torch.tensor([0.0, 1, 1, 1]))
    assert found[0, 0, 0] == 0
    assert found[0, 0, -1] == 2


def test_trust_moves_what_is_likely_enough() -> None:
    odds = [0.994, 0.003, 0.003]
    assert obeyed(odds, [1, 1, 1, 1], weight=20.0) == [1, 1, 1, 1]
    assert obeyed(odds, [1, 1, 1, 1], weight=1.0) == [0, 0, 0, 0]
    assert obeyed([0.1, 0.8, 0.1], [1, 1, 1, 1], weight=0.0) == [0, 0, 0, 0]


def test_a_label_that_evidence_allows_stays() -> None:
    sets = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    scores = torch.tensor([0.0, 5.0]).reshape(1, 2, 1, 1)
    labels = torch.zeros(1, 1, 1, dtype=torch.uint8)
    known = torch.ones(1, 1, 1, dtype=torch.uint8)
    assert int(obey(labels, scores, known, sets, torch.tensor([0.0, 1.0]))) == 0
