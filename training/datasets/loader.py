"""Batches that depend only on (seed, epoch, position): a resumed run sees what the first saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seg_perception.datasets import Sample
from training.datasets.augment import Augmentation


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

    Args:
        samples: all samples, decoded.
        augmentation: applied to each.
        batch_size: the last, smaller batch of an epoch is dropped.
        seed: with the epoch and the position, decides everything.

    Raises:
        ValueError: fewer samples than a batch.
    """

    def __init__(
        self, samples: Sequence[Sample], augmentation: Augmentation, batch_size: int, seed: int
    ) -> None:
        if len(samples) < batch_size:
            raise ValueError(
                f"{len(samples)} samples do not fill a batch of {batch_size}: lower batch_size"
            )
        self.samples = samples
        self.augmentation = augmentation
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.samples) // self.batch_size

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, always the same for the same number."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.samples))
        chunks = [order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self))]
        with ThreadPoolExecutor(max_workers=1) as pool:
            pending = pool.submit(self._batch, number, chunks[0])
            for chunk in chunks[1:]:
                ready, pending = pending, pool.submit(self._batch, number, chunk)
                yield ready.result()
            yield pending.result()

    def _batch(self, epoch: int, chunk: np.ndarray) -> Batch:
        pairs = [self._augmented(epoch, int(index)) for index in chunk]
        image = torch.from_numpy(np.stack([image for image, _ in pairs])).permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.stack([labels for _, labels in pairs]))
        return Batch(image.float(), labels.long())

    def _augmented(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        sample = self.samples[index]
        rng = np.random.default_rng([self.seed, epoch, index])
        return self.augmentation(sample.image, sample.labels, rng)
