from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import TINY_UNARY, tiny_recipe

from training.checkpoints import best_of, load_model, read_checkpoint
from training.errors import TrainingError
from training.model import Segmenter


def test_the_best_weights_of_the_last_stage_are_loaded(tmp_path: Path) -> None:
    recipe = tiny_recipe(refiners=())
    path = best_of(recipe, tmp_path)
    path.parent.mkdir(parents=True)
    model = Segmenter(11, TINY_UNARY)
    torch.save({"model": model.state_dict()}, path)
    loaded = load_model(recipe, path)
    assert not loaded.training
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)


def test_a_missing_checkpoint_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no checkpoint .*best\.pt: train first"):
        read_checkpoint(tmp_path / "best.pt")


def test_another_file_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"not a zip file")
    with pytest.raises(TrainingError, match="is no checkpoint, or damaged"):
        read_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(TrainingError, match="is no checkpoint of a run"):
        read_checkpoint(path)


def test_weights_of_another_model_ask_for_its_changes(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save({"model": Segmenter(11, TINY_UNARY).state_dict()}, path)
    with pytest.raises(TrainingError, match=r"does not fit recipe tiny: give the same --set"):
        load_model(tiny_recipe(unary=TINY_UNARY), path)
