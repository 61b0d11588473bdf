"""Batches that depend only on (seed, epoch, position): a resumed run sees what the first saw."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seg_perception.datasets import Sample
from training.datasets.augment import Augmentation
from training.errors import TrainingError

WORKERS = max(1, (os.cpu_count() or 1) // 4)
"""Threads of a loader: most cores are left to the training."""

Pending = Future[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Batch:
    """Augmented samples.

    Attributes:
        image: float32 [B, 3, h, w], 0-255 RGB.
        labels: int64 [B, h, w], 255 = void.
    """

    image: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(self.image.to(device), self.labels.to(device))


class Loader:
    """Shuffles, augments and batches samples; the next batch is made while the last one trains.

    Samples may be of different sizes: the augmentation brings all to one.

    Args:
        samples: all samples; decoded here, where they are not yet.
        augmentation: applied to each.
        batch_size: the last, smaller batch of an epoch is dropped.
        seed: with the epoch and the position, decides everything.
        workers: threads that decode and augment; they change nothing but the time.
        share: (which, of how many): every batch is dealt out, and this is the share that is made.

    Raises:
        TrainingError: fewer samples than a batch, or a batch that cannot be shared equally.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
        workers: int = WORKERS,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size % share[1]:
            raise TrainingError(f"batch_size {batch_size} is no multiple of {share[1]} workers")
        if len(samples) < batch_size:
            raise TrainingError(
                f"{len(samples)} samples do not fill a batch of {batch_size}: lower batch_size"
            )
        self.samples = samples
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.share = share

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.samples) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, always the same for the same number."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.samples))
        which, of = self.share
        first = range(0, len(self) * self.batch_size, self.batch_size)
        chunks = [order[i : i + self.batch_size][which::of] for i in first]
        with ThreadPoolExecutor(self.workers) as pool:
            pending = self._begin(pool, number, chunks[0])
            for chunk in chunks[1:]:
                ready, pending = pending, self._begin(pool, number, chunk)
                yield _batch(ready)
            yield _batch(pending)

    def _begin(self, pool: ThreadPoolExecutor, epoch: int, chunk: np.ndarray) -> list[Pending]:
        return [pool.submit(self._augmented, epoch, int(index)) for index in chunk]

    def _augmented(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        sample = self.samples[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        return self.augmentation(sample.image, sample.labels, rng)


def _batch(pending: list[Pending]) -> Batch:
    images, labels = zip(*(each.result() for each in pending), strict=True)
    image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return Batch(image.float(), torch.from_numpy(np.stack(labels)).long())
