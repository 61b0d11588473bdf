from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from tiny_training import tiny_recipe

from training.errors import TrainingError
from training.networks import FCN8sConfig, UNetConfig
from training.objectives import OBJECTIVES
from training.recipe import load_recipe, override, recipe_names
from training.refiners import CodeConfig
from training.refiners.denoiser import VEHICLE


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_say_why_and_can_be_run(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert len(recipe.why) > 100
    assert {stage.objective for stage in recipe.stages} <= set(OBJECTIVES)
    names = [stage.name for stage in recipe.stages]
    assert len(set(names)) == len(names)
    assert all(recipe.stage(name).name == name for name in names)


def test_documented_changes_can_be_made() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    lines = re.findall(r"training\.(?:train|export) (\w+).* --set ([^#`\n]+)", text)
    assert lines
    for name, assignments in lines:
        override(load_recipe(name), tuple(shlex.split(assignments)))


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"no recipe 'nope'; there are: .*camvid_code"):
        load_recipe("nope")


def test_an_unknown_stage_lists_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"no stage 'nope' in recipe 'tiny': .*code_solver"):
        tiny_recipe().stage("nope")


def test_fields_are_overridden_by_path_and_keep_their_type() -> None:
    assignments = (
        "seed=3",
        "data.leave_out=0001TP,0006R0",
        "code.conditioning=concat",
        "unary.width=6",
        "code_solver.epochs=7",
        "code_solver.augmentation.crop=16,24",
        "code_solver.learning_rate=1e-4",
        "code_solver.options.harm=2.5",
    )
    recipe = override(tiny_recipe(), assignments)
    assert recipe.seed == 3
    assert recipe.data.leave_out == ("0001TP", "0006R0")
    assert [config.conditioning for config in recipe.refiners] == ["concat"]
    stage = recipe.stage("code_solver")
    assert (stage.epochs, stage.learning_rate) == (7, 1e-4)
    assert stage.augmentation.crop == (16, 24)
    assert stage.options == {"harm": 2.5}
    assert recipe.stage("code_vae") == tiny_recipe().stage("code_vae")


def test_the_chain_and_the_network_are_changed_by_name() -> None:
    changed = override(tiny_recipe(), ("refiners=", "unary=unet"))
    assert (changed.refiners, changed.unary) == ((), UNetConfig())
    kept = override(tiny_recipe(), ("refiners=code",))
    assert kept.refiners == tiny_recipe().refiners
    assert override(changed, ("refiners=code",)).refiners == (CodeConfig(),)


def test_only_the_stages_that_are_named_are_left() -> None:
    recipe = override(tiny_recipe(), ("stages=code_vae",))
    assert recipe.stages == (tiny_recipe().stage("code_vae"),)
    with pytest.raises(TrainingError, match="no stage 'nope'"):
        override(tiny_recipe(), ("stages=unary,nope",))


def test_a_recipe_as_a_record_names_its_network_and_its_chain() -> None:
    record = tiny_recipe().to_record()
    assert json.loads(json.dumps(record)) == record
    assert (record["unary"]["name"], record["unary"]["width"]) == ("unet", 4)
    assert [refiner["name"] for refiner in record["refiners"]] == ["code"]


def test_a_word_that_is_both_stage_and_field_is_told_apart_by_what_follows() -> None:
    """`unary` is a stage of the tiny recipe and the size of its network."""
    recipe = override(tiny_recipe(), ("unary.epochs=9", "unary.width=8"))
    assert recipe.stage("unary").epochs == 9
    assert recipe.unary.width == 8


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sed=3", "Recipe has no field 'sed'; it has: .*seed"),
        ("code.nope=3", "CodeConfig has no field 'nope'; it has: .*conditioning"),
        ("code_vae.nope=3", "Stage has no field 'nope'; it has: .*epochs"),
        ("seed.nope=3", "int has no field 'nope'"),
        ("refiners=code,nope", "no 'nope'; there are: .*code"),
    ],
)
def test_an_unknown_field_lists_those_there_are(assignment: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        override(tiny_recipe(), (assignment,))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("seed", "not of the form field=value"),
        ("seed=three", "seed=three: 'three' is no int; it is 0 now"),
        ("code_vae.street=yes", "'yes' is no true or false"),
        ("code_vae.augmentation.crop=32", r"crop \(32,\): give HEIGHT,WIDTH"),
        ("code_vae.augmentation.crop=30,48", "multiples of 8"),
        ("code_vae.augmentation.scale=2,1", "give LEAST,MOST"),
        ("unary=resnet", "no 'resnet'; there are: .*dilated_resnet"),
        ("code=concat", "set single fields, of .*conditioning"),
        ("code.likelihood=hinge", "use 'cross_entropy' or 'squared'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(tiny_recipe(), (assignment,))


def test_an_option_not_given_takes_a_number_or_a_path() -> None:
    recipe = tiny_recipe(unary=FCN8sConfig())
    assert override(recipe, ("unary.weights=/home/me/vgg16.pth",)).unary.weights == (
        "/home/me/vgg16.pth"
    )
    assert override(recipe, ("unary.options.draws=3",)).stages[0].options == {"draws": 3}


def test_the_denoisers_recipe_shrinks_to_the_vehicle_on_the_command_line() -> None:
    changes = ("unary=unet", "denoiser.stride=4", "denoiser.widths=32,64,96,128")
    recipe = override(load_recipe("iterative_denoiser"), changes)
    assert recipe.refiners == (VEHICLE,)
    other = override(recipe, ("denoiser.options.scenario=y_true",))
    assert other.stage("denoiser").options["scenario"] == "y_true"
    assert other.refiners == (VEHICLE,)
