from __future__ import annotations

import argparse

import pytest

from seg_perception.errors import DatasetError
from training.command import add_changes, mistakes_told
from training.errors import TrainingError
from training.recipe import load_recipe, override
from training.train import check_stages


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.train")
    add_changes(parser)
    return parser


@pytest.mark.parametrize(
    ("mistake", "code", "said"),
    [
        (TrainingError("seed=x: 'x' is no int"), 1, "training.train: seed=x: 'x' is no int\n"),
        (DatasetError("no folder here"), 1, "training.train: no folder here\n"),
        (PermissionError(13, "Permission denied", "runs"), 1, "runs: Permission denied\n"),
        (OSError("no space for shared memory"), 1, "train: no space for shared memory\n"),
        (KeyboardInterrupt(), 130, "goes on later\n"),
    ],
)
def test_what_a_user_can_mend_is_told_in_one_line(
    parser: argparse.ArgumentParser,
    capsys: pytest.CaptureFixture[str],
    mistake: BaseException,
    code: int,
    said: str,
) -> None:
    with pytest.raises(SystemExit) as exit_, mistakes_told(parser, "goes on later"):
        raise mistake
    assert exit_.value.code == code
    assert capsys.readouterr().err.endswith(said)


def test_a_bug_keeps_its_traceback(parser: argparse.ArgumentParser) -> None:
    with pytest.raises(ValueError, match="shapes do not match"), mistakes_told(parser):
        raise ValueError("shapes do not match")


def test_changes_may_be_given_in_several_places(parser: argparse.ArgumentParser) -> None:
    options = parser.parse_args(["--set", "seed=3", "name=other", "--set", "code.epochs=2"])
    assert options.set == ["seed=3", "name=other", "code.epochs=2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "code.options.hram=2",
            "stage code: objective 'code_solver' has no option hram; it has: h",
        ),
        ("code.objective=hinge", "stage code: no objective 'hinge'; there are: unary, "),
        ("refiners=", "stage code: there is no code to train"),
    ],
)
def test_the_last_stage_is_checked_before_the_first_one_runs(change: str, message: str) -> None:
    recipe = override(load_recipe("camvid_code"), ("unary.width=4", change))
    with pytest.raises(TrainingError, match=message):
        check_stages(recipe)
