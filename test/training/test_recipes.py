"""Every shipped recipe can be run: its stages, objectives and options, on tiny networks."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import (
    TINY_CODE,
    TINY_CROP,
    TINY_DENOISER,
    TINY_NETWORKS,
    TINY_PRIOR,
    write_camvid,
)

from training.networks import network_name
from training.recipe import Data, Recipe, load_recipe, recipe_names
from training.refiners import refiner_name
from training.train import train

TINY_REFINERS = {"code": TINY_CODE, "denoiser": TINY_DENOISER, "prior": TINY_PRIOR}


def shrunk(recipe: Recipe) -> Recipe:
    """The same stages behind the smallest network of its kind, an epoch each."""

    stages = (
        replace(s, epochs=1, batch_size=2, evaluate_every=1, street=False, augmentation=TINY_CROP)
        for s in recipe.stages
    )
    return replace(
        recipe,
        unary=TINY_NETWORKS[network_name(recipe.unary)],
        refiners=tuple(TINY_REFINERS.get(refiner_name(x), x) for x in recipe.refiners),
        stages=tuple(stages),
        data=Data(street_frames=0),
    )


@pytest.mark.parametrize("name", recipe_names())
def test_all_stages_run_in_order(name: str, tmp_path: Path) -> None:
    recipe = shrunk(load_recipe(name))
    train(recipe, write_camvid(tmp_path / "camvid"), tmp_path)
    for stage in recipe.stages:
        with (tmp_path / name / stage.name / "log.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert math.isfinite(float(row["loss"]))
        assert 0 <= float(row["score"]) <= 100 or stage.objective == "code_solver"
