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


def obeyed(odds: list[float], known: list[int], *, weight: float = 1.0) -> list[int]:
    """Labels of four pixels, 0 before, of which `known` holds the rows {1}, {1, 2} and {2}."""
    sets = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.float32)
    weights = torch.tensor([0, weight, weight, weight])
    scores = torch.tensor(odds).log().reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    evidence = torch.tensor(known, dtype=torch.uint8).reshape(1, 2, 2)
    found = obey(torch.zeros(1, 2, 2, dtype=torch.uint8), scores, evidence, sets, weights)
    assert found.dtype == torch.uint8
    return found.flatten().tolist()


def test_likely_evidence_has_the_last_word_in_its_own_pixels() -> None:
    assert obeyed([0.6, 0.15, 0.25], [0, 1, 2, 3]) == [0, 1, 2, 2]


def test_unlikely_evidence_has_not() -> None:
    assert obeyed([0.87, 0.05, 0.08], [0, 1, 2, 3]) == [0, 0, 2, 0]


def test_trust_moves_what_is_likely_enough() -> None:
    odds = [0.9, 0.05, 0.05]
    assert obeyed(odds, [1, 1, 1, 1], weight=3.0) == [1, 1, 1, 1]
    assert obeyed(odds, [2, 2, 2, 2], weight=0.5) == [0, 0, 0, 0]
    assert obeyed([0.1, 0.8, 0.1], [1, 1, 1, 1], weight=0.0) == [0, 0, 0, 0]


def test_a_label_that_evidence_allows_stays() -> None:
    sets = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    scores = torch.tensor([0.0, 5.0]).reshape(1, 2, 1, 1)
    labels = torch.zeros(1, 1, 1, dtype=torch.uint8)
    known = torch.ones(1, 1, 1, dtype=torch.uint8)
    assert int(obey(labels, scores, known, sets, torch.tensor([0.0, 1.0]))) == 0
