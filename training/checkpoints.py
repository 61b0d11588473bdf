"""Checkpoints of runs: where they lie, what is in them, and models with their weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from seg_perception.datasets import dataset_classes
from training.errors import TrainingError
from training.model import Segmenter
from training.recipe import Recipe


def best_of(recipe: Recipe, runs: Path) -> Path:
    """Where a run keeps the best weights of its last stage."""
    return runs / recipe.name / recipe.stages[-1].name / "best.pt"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a stage stored, on the CPU; its weights are under "model".

    Raises:
        TrainingError: there is no file, or it is no checkpoint.
    """
    if not path.is_file():
        raise TrainingError(
            f"no checkpoint {path}: train first, give the training's --runs and --set, or another "
            "best.pt"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise TrainingError(f"{path} is no checkpoint, or damaged: give a run's best.pt") from error
    if not isinstance(state, dict) or "model" not in state:
        raise TrainingError(f"{path} is no checkpoint of a run: give a run's best.pt")
    return state


def load_weights(model: Segmenter, state: dict[str, Any], path: Path, recipe: Recipe) -> None:
    """Put a checkpoint's weights into its recipe's model.

    Raises:
        TrainingError: they are of another model.
    """
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise TrainingError(
            f"{path} does not fit recipe {recipe.name}: give the same --set as in training, or for "
            f"another run another --set name=... ({' '.join(str(error).split())[:200]} ...)"
        ) from error


def load_model(recipe: Recipe, path: Path) -> Segmenter:
    """The recipe's model with the weights of a checkpoint, in evaluation mode.

    Raises:
        TrainingError: see `read_checkpoint` and `load_weights`.
    """
    state = read_checkpoint(path)
    classes, _ = dataset_classes(recipe.data.dataset)
    model = Segmenter(len(classes), recipe.unary, recipe.refiners).eval()
    load_weights(model, state, path, recipe)
    return model
