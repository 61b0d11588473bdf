"""ImageNet weights from a file the user gives: published names, this project's networks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.errors import TrainingError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
SHOWN = 4  # keys that an error names of each kind


@dataclass(frozen=True)
class Naming:
    """How one published kind of state dict names the parameters of a trunk.

    Attributes:
        source: whose names these are, for messages.
        name: the file's key for one of ours.
        head: beginnings of keys that classify ImageNet and are left out.
    """

    source: str
    name: Callable[[str], str]
    head: tuple[str, ...]

    def of_trunk(self, trunk: nn.Module) -> dict[str, str]:
        """{the file's key: our key} of all that is to be loaded."""
        counters = "num_batches_tracked"  # older files have none, and evaluation does not need it
        return {self.name(key): key for key in trunk.state_dict() if not key.endswith(counters)}


@dataclass(frozen=True)
class Mismatch:
    """Where a file and a trunk differ, in the file's names; empty where they agree."""

    naming: Naming
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    resized: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.resized)

    def __str__(self) -> str:
        kinds = ("missing", self.missing), ("unexpected", self.unexpected), ("size", self.resized)
        return "; ".join(f"{kind}: {_some(keys)}" for kind, keys in kinds if keys)


def imagenet_normalise(image: Tensor) -> Tensor:
    """What torchvision's and timm's weights expect of an image, float [B, 3, H, W] 0-255 RGB."""
    mean, std = (image.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def load_pretrained(trunk: nn.Module, path: str, namings: Sequence[Naming], hint: str) -> None:
    """Copy published weights into a trunk, all of it or none.

    Fully connected layers that are convolutions here are reshaped.

    Args:
        trunk: what the file holds, without the classifier of ImageNet's classes.
        path: a state dict written by `torch.save`.
        namings: the kinds of state dict that fit the trunk; the nearest one is taken.
        hint: what to do about a file that does not fit.

    Raises:
        TrainingError: the file is none, or lacks keys, or holds others, or other sizes; the message
            names them and the fix.
    """
    state = _read(Path(path))
    nearest = min((_compare(trunk, state, naming) for naming in namings), key=len)
    if nearest:
        known = " or ".join(naming.source for naming in namings)
        raise TrainingError(
            f"{path} is no {known} state dict for this network (nearest: {nearest.naming.source}): "
            f"{nearest}. {hint}"
        )
    own = trunk.state_dict()
    for theirs, ours in nearest.naming.of_trunk(trunk).items():
        own[ours].copy_(state[theirs].reshape(own[ours].shape))


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise TrainingError(
            f"no file {path}: give the path of a state dict, or weights=null for none"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise TrainingError(
            f"{path} holds no state dict: write one by torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TrainingError(
            f"{path} holds more than parameters: write torch.save(model.state_dict(), path)"
        )
    return state


def _compare(trunk: nn.Module, state: Mapping[str, Tensor], naming: Naming) -> Mismatch:
    wanted = naming.of_trunk(trunk)
    own = trunk.state_dict()
    ignored = (*naming.head, "num_batches_tracked")
    return Mismatch(
        naming,
        missing=tuple(key for key in wanted if key not in state),
        unexpected=tuple(
            key
            for key in state
            if key not in wanted and not key.startswith(naming.head) and not key.endswith(ignored)
        ),
        resized=tuple(
            f"{theirs} {tuple(state[theirs].shape)} where {tuple(own[ours].shape)} is needed"
            for theirs, ours in wanted.items()
            if theirs in state and not _fits(state[theirs], own[ours])
        ),
    )


def _fits(stored: Tensor, wanted: Tensor) -> bool:
    """The same shape, or a fully connected layer [out, in * h * w] as a convolution's kernel."""
    flat = stored.ndim == 2 and wanted.ndim == 4
    return stored.shape == wanted.shape or (flat and stored.shape == wanted.flatten(1).shape)


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
