from __future__ import annotations

import pytest
import torch
from tiny_training import TINY_CROP, tiny_samples

from seg_perception.errors import DatasetError
from training.datasets import Batch, Loader


def loader_of(count: int = 5, batch_size: int = 2, seed: int = 0) -> Loader:
    return Loader(tiny_samples(count), TINY_CROP, batch_size, seed)


def same(one: list[Batch], other: list[Batch]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels) for a, b in pairs)


def test_batches_have_the_shapes_that_networks_take() -> None:
    batches = list(loader_of().epoch(0))
    assert len(batches) == len(loader_of()) == 2
    for batch in batches:
        assert batch.image.shape == (2, 3, 32, 48)
        assert batch.image.dtype == torch.float32
        assert batch.labels.shape == (2, 32, 48)
        assert batch.labels.dtype == torch.int64


def test_an_epoch_is_the_same_whenever_and_wherever_it_is_run() -> None:
    loader = loader_of()
    first, second = list(loader.epoch(0)), list(loader.epoch(1))
    assert same(second, list(loader_of().epoch(1)))  # resumed: epoch 0 was never drawn
    assert same(first, list(loader.epoch(0)))
    assert not same(first, second)
    assert not same(first, list(loader_of(seed=1).epoch(0)))


def test_stopping_early_leaves_the_next_epoch_alone() -> None:
    loader = loader_of()
    next(iter(loader.epoch(0)))
    assert same(list(loader.epoch(1)), list(loader_of().epoch(1)))


def test_every_epoch_shows_every_sample_once_in_another_order() -> None:
    samples = tiny_samples(6)
    loader = Loader(samples, lambda image, labels, rng: (image, labels), 2, seed=0)
    wanted = [torch.from_numpy(s.image).permute(2, 0, 1).float() for s in samples]
    orders = []
    for number in range(3):
        seen = torch.cat([batch.image for batch in loader.epoch(number)])
        orders.append([i for one in seen for i in range(6) if torch.equal(one, wanted[i])])
    assert [sorted(order) for order in orders] == [list(range(6))] * 3
    assert orders[0] != orders[1] != orders[2]


def test_too_few_samples_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="1 samples do not fill a batch of 2: lower batch_size"):
        loader_of(count=1)


def test_the_trainer_sees_an_error_of_the_augmentation() -> None:
    def broken(*_: object) -> None:
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        list(Loader(tiny_samples(2), broken, 2, seed=0).epoch(0))


def test_more_workers_change_nothing_but_the_time() -> None:
    alone, many = (Loader(tiny_samples(6), TINY_CROP, 2, 0, workers=n) for n in (1, 3))
    assert same(list(alone.epoch(0)), list(many.epoch(0)))


def test_a_sample_that_cannot_be_read_stops_the_epoch() -> None:
    class Broken(list):
        def __getitem__(self, index):
            raise DatasetError("cannot be decoded")

    loader = Loader(Broken([None, None]), TINY_CROP, 2, seed=0)
    with pytest.raises(DatasetError, match="cannot be decoded"):
        list(loader.epoch(0))
