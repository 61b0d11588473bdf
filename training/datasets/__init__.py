"""Samples for training: augmented and batched; the readers are `seg_perception.datasets`."""

from training.datasets.augment import Augmentation
from training.datasets.loader import Batch, Loader

__all__ = ["Augmentation", "Batch", "Loader"]
