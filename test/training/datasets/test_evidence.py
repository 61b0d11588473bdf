from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny_training import street_labels

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, VOID
from seg_perception.evidence.record import evidence_from_labels
from training.datasets.evidence import MAX_SETS, EvidenceSampler, collate

SAMPLER = EvidenceSampler(CAMVID_CLASSES, CAMVID_GROUPS)
HONEST = dataclasses.replace(SAMPLER, lies=(0.0, 0.0), shifts=(0.0, 0.0))
KINDS = [name for name, _ in SAMPLER.chances]


def labels_of(seed: int = 0) -> np.ndarray:
    labels = street_labels(48, 64, np.random.default_rng(seed))
    return np.where(labels == 11, np.uint8(VOID), labels)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_true_where_no_sensor_errs(kind: str) -> None:
    labels = labels_of()
    sampler = dataclasses.replace(HONEST, chances=((kind, 1.0),))
    for seed in range(5):
        evidence = sampler.draw(labels, np.random.default_rng(seed))
        known = evidence.index > 0
        assert known.any()
        assert not known[labels == VOID].any()
        assert (evidence.sets[evidence.index[known], labels[known]] == 1).all()


def test_all_kinds_are_drawn() -> None:
    rng = np.random.default_rng(0)
    sources = {HONEST.draw(labels_of(), rng).source.partition(":")[0] for _ in range(100)}
    assert sources == set(KINDS)


def test_some_sensors_err() -> None:
    labels = labels_of()
    sampler = dataclasses.replace(HONEST, chances=(("positive", 1.0),), lies=(1.0, 0.3))
    shares = []
    for seed in range(10):
        evidence = sampler.draw(labels, np.random.default_rng(seed))
        known = evidence.index > 0
        shares.append((evidence.sets[evidence.index[known], labels[known]] == 0).mean())
    assert min(shares) > 0
    assert max(shares) <= 0.3


def test_the_generator_decides_everything() -> None:
    first, again, other = (
        SAMPLER.batch(labels_of()[None], np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.index, again.index)
    np.testing.assert_array_equal(first.sets, again.sets)
    assert not np.array_equal(first.index, other.index)


def test_a_frame_of_nothing_but_void_gives_no_evidence() -> None:
    nothing = np.full((48, 64), VOID, np.uint8)
    batch = SAMPLER.batch(np.stack([nothing] * 8), np.random.default_rng(0))
    assert not batch.index.any()


def test_collated_evidence_keeps_its_tables_apart() -> None:
    one = evidence_from_labels(labels_of(), len(CAMVID_CLASSES))
    other = evidence_from_labels(np.full((48, 64), 3, np.uint8), len(CAMVID_CLASSES), weight=0.5)
    batch = collate([one, other])
    assert batch.index.shape == (2, 48, 64)
    assert batch.sets.shape == (2, MAX_SETS, len(CAMVID_CLASSES))
    assert batch.weight.shape == (2, MAX_SETS)
    for row, evidence in enumerate((one, other)):
        np.testing.assert_array_equal(batch.sets[row, : len(evidence.sets)], evidence.sets)
        np.testing.assert_array_equal(batch.weight[row, : len(evidence.sets)], evidence.weight)
        assert (batch.sets[row, len(evidence.sets) :] == 1).all()
        assert not batch.weight[row, len(evidence.sets) :].any()
        np.testing.assert_array_equal(batch.index[row], evidence.index)
