from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import (
    TINY_CROP,
    TINY_DENOISER,
    TINY_NETWORKS,
    TINY_UNARY,
    tiny_recipe,
    write_camvid,
)
from torch import nn

from training.datasets import Batch, Loader
from training.model import Segmenter
from training.networks import NetworkConfig
from training.objectives import Unary
from training.recipe import Data, Recipe, load_recipe, override
from training.train import (
    StageRun,
    WeightAverage,
    begin_with,
    load_material,
    main,
    schedule,
    train,
)

STAGES = tuple(stage.name for stage in tiny_recipe().stages)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def runs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny recipe was trained without interruption."""
    runs = tmp_path_factory.mktemp("runs")
    train(tiny_recipe(), root, runs)
    return runs


def checkpoint(runs: Path, stage: str, name: str = "last.pt") -> dict[str, Any]:
    return torch.load(runs / "tiny" / stage / name, weights_only=True)


def log(runs: Path, stage: str) -> list[dict[str, str]]:
    with (runs / "tiny" / stage / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "unix_time"} for row in csv.DictReader(file)]


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_every_stage_trains_and_leaves_its_best_weights(runs: Path) -> None:
    for stage in STAGES:
        rows = log(runs, stage)
        assert [row["epoch"] for row in rows] == ["1", "2"]
        scores = [float(row["score"]) for row in rows]
        assert all(math.isfinite(float(row["loss"])) for row in rows)
        best = checkpoint(runs, stage, "best.pt")
        assert best["score"] == pytest.approx(max(scores), abs=1e-3)


def test_a_stage_begins_with_the_best_weights_of_the_one_before(runs: Path) -> None:
    unary, code, vae = (checkpoint(runs, stage, "best.pt")["model"] for stage in STAGES)
    parts = {name: name.split(".")[0] for name in unary}
    assert all(torch.equal(unary[n], code[n]) for n in parts if parts[n] == "unary")
    assert any(not torch.equal(unary[n], code[n]) for n in parts if parts[n] == "refiners")
    assert any(not torch.equal(code[n], vae[n]) for n in parts if parts[n] == "code_encoder")


@pytest.mark.parametrize("stage", STAGES[:2])
@pytest.mark.parametrize("batch", [0, 1])
def test_an_interrupted_run_ends_with_the_same_weights(
    root: Path,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    batch: int,
) -> None:
    """Ctrl-C before the first or the second batch of the stage's second epoch."""
    with monkeypatch.context() as patch:
        patch.setattr(Loader, "epoch", _interrupted(Loader.epoch, stage, batch))
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe(), root, tmp_path)
    assert checkpoint(tmp_path, stage)["epoch"] == 1
    train(tiny_recipe(), root, tmp_path)
    for name in STAGES:
        for file in ("last.pt", "best.pt"):
            assert_equal(checkpoint(runs, name, file), checkpoint(tmp_path, name, file))
        assert log(runs, name) == log(tmp_path, name)


def _interrupted(epoch: Any, stage: str, batch: int) -> Any:
    """`Loader.epoch` that is interrupted in the second epoch of a stage."""
    seen = 2 * STAGES.index(stage) + 1
    count = 0

    def wrapped(self: Loader, number: int) -> Iterator[Batch]:
        nonlocal count
        for index, one in enumerate(epoch(self, number)):
            if count == seen and index == batch:
                raise KeyboardInterrupt
            yield one
        count += 1

    return wrapped


def test_a_finished_run_is_not_trained_again(root: Path, runs: Path) -> None:
    before = {stage: checkpoint(runs, stage) for stage in STAGES}
    model = train(tiny_recipe(), root, runs)
    assert_equal(before, {stage: checkpoint(runs, stage) for stage in STAGES})
    assert_equal(dict(model.state_dict()), checkpoint(runs, STAGES[-1], "best.pt")["model"])


def test_scoring_does_not_disturb_training(root: Path, runs: Path, tmp_path: Path) -> None:
    stage = replace(tiny_recipe().stages[0], evaluate_every=2)
    train(tiny_recipe(stages=(stage,)), root, tmp_path)
    assert log(tmp_path, "unary")[0]["score"] == ""
    for part in ("model", "average", "optimiser"):
        assert_equal(checkpoint(runs, "unary")[part], checkpoint(tmp_path, "unary")[part])


@pytest.mark.parametrize("keep_start", [True, False])
def test_a_stage_that_only_harms_can_leave_things_as_they_were(
    root: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_start: bool
) -> None:
    scores = iter((50.0, 40.0, 30.0))
    monkeypatch.setattr(Unary, "score", lambda *_: next(scores))
    start = runs / "tiny" / "unary" / "best.pt"
    stage = replace(tiny_recipe().stages[0], keep_start=keep_start)
    model = train(tiny_recipe(stages=(stage,), begin_with=str(start)), root, tmp_path)
    before = torch.load(start, weights_only=True)["model"]
    kept = [torch.equal(value, before[name]) for name, value in model.state_dict().items()]
    assert all(kept) == keep_start


@pytest.mark.parametrize(
    ("scores", "best"), [((math.nan, 40.0, math.nan), 2), ((math.nan,) * 3, 1)]
)
def test_a_score_of_nothing_is_no_reason_to_keep_nothing(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: tuple[float, ...],
    best: int,
) -> None:
    told = iter(scores)
    monkeypatch.setattr(Unary, "score", lambda *_: next(told))
    stage = replace(tiny_recipe().stages[0], epochs=3, evaluate_every=1)
    train(tiny_recipe(stages=(stage,)), root, tmp_path)
    assert checkpoint(tmp_path, stage.name, "best.pt")["epoch"] == best


def test_gradients_that_the_last_stage_left_do_not_count(root: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe()
    material = load_material(recipe, root)
    weights = []
    for left in (None, 1e6):
        torch.manual_seed(0)
        model = Segmenter(len(material.classes), recipe.unary, recipe.refiners)
        for parameter in model.unary.parameters():
            parameter.grad = None if left is None else torch.full_like(parameter, left)
        folder = tmp_path / str(left)
        StageRun(recipe, recipe.stage("code_solver"), model, material, folder).run()
        weights.append(dict(model.state_dict()))
    assert_equal(*weights)


def test_a_run_begins_with_what_another_has_learnt(root: Path, runs: Path, tmp_path: Path) -> None:
    start = runs / "tiny" / "unary" / "best.pt"
    recipe = override(tiny_recipe(), (f"begin_with={start}", "stages=code_solver"))
    train(recipe, root, tmp_path)
    begun, whole = (checkpoint(folder, "code_solver", "best.pt") for folder in (tmp_path, runs))
    assert_equal(begun["model"], whole["model"])
    assert not (tmp_path / "tiny" / "unary").exists()


def test_another_network_without_the_refiners_is_begun_with_too(runs: Path) -> None:
    recipe = tiny_recipe(refiners=(TINY_DENOISER,))
    model = Segmenter(11, recipe.unary, recipe.refiners)
    fresh = {name: value.clone() for name, value in model.refiners.state_dict().items()}
    begin_with(model, runs / "tiny" / "code_solver" / "best.pt")
    taken = checkpoint(runs, "code_solver", "best.pt")["model"]
    assert_equal(dict(model.unary.state_dict(prefix="unary.")), _only(taken, "unary."))
    assert_equal(fresh, dict(model.refiners.state_dict()))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (replace(TINY_UNARY, width=6), "unary.* has another shape"),
        (TINY_NETWORKS["fcn8s"], "no weight has the same name"),
    ],
)
def test_weights_of_another_network_are_refused(
    runs: Path, network: NetworkConfig, message: str
) -> None:
    with pytest.raises(ValueError, match=f"best.pt does not fit .*{message}"):
        begin_with(Segmenter(11, network), runs / "tiny" / "unary" / "best.pt")


def _only(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


def test_images_can_be_shrunk(root: Path) -> None:
    material = load_material(tiny_recipe(data=Data(shrink=2), stages=()), root)
    assert {sample.labels.shape for sample in (*material.train, *material.val)} == {(24, 32)}


def without(*drives: str) -> Recipe:
    return tiny_recipe(data=Data(leave_out=drives), stages=tiny_recipe().stages[:1])


def test_a_drive_that_is_left_out_is_nowhere(root: Path) -> None:
    material = load_material(without("0001TP"), root)
    assert {s.drive for s in material.train} == {"0006R0", "0016E5"}
    assert {s.drive for s in material.val} == {"0016E5"}
    everything = load_material(without(), root)
    assert len(everything.train) == len(material.train) + 2


def test_where_all_of_val_is_left_out_the_last_weights_count(root: Path, tmp_path: Path) -> None:
    assert load_material(without("0016E5"), root).val == []
    model = train(without("0016E5"), root, tmp_path)
    last = checkpoint(tmp_path, "unary")
    assert_equal(last["average"], dict(model.state_dict()))
    assert last["epoch"] == 2


def test_a_drive_that_is_not_there_cannot_be_left_out(root: Path) -> None:
    with pytest.raises(ValueError, match=r"no drive 0001tp .*there are 0001TP, 0006R0, 0016E5"):
        load_material(without("0001tp"), root)


def test_street_frames_are_added_for_the_stage_that_wants_them(root: Path, tmp_path: Path) -> None:
    stage = replace(tiny_recipe().stages[0], street=True, epochs=1)
    recipe = tiny_recipe(stages=(stage,), data=Data(street_frames=2))
    material = load_material(recipe, root)
    assert len(material.street) == 2
    assert load_material(without(), root).street == []


def test_the_schedule_rises_and_then_falls_to_zero() -> None:
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.001


def test_weights_are_averaged_with_what_came_before() -> None:
    model = nn.BatchNorm1d(1)
    average = WeightAverage(model, decay=0.9)
    expected = 1.0
    for step, value in enumerate((3.0, -2.0, 5.0)):
        with torch.no_grad():
            model.weight.fill_(value)
            model.num_batches_tracked.fill_(step)
        average.update(model)
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * value
        assert float(average.state["weight"]) == pytest.approx(expected)
        assert int(average.state["num_batches_tracked"]) == step


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("camvid_code", ()),
        ("segmodel", ("context_crf.label_pool=5",)),
        ("segmodel", ("refiners=context_crf", "joint.options.learn=unary,context_crf")),
        ("crf_as_rnn", ("mean_field.stride=4", "mean_field.sxy=20")),
    ],
)
def test_a_shipped_recipe_trains_from_the_command_line(
    root: Path, tmp_path: Path, name: str, smaller: tuple[str, ...]
) -> None:
    crop = ",".join(map(str, TINY_CROP.crop))
    changes = ["unary=unet", "unary.width=4", "unary.blocks=1,1", "unary.dilations=1,2", *smaller]
    changes.append("data.street_frames=2")
    stages = [stage.name for stage in load_recipe(name).stages]
    for stage in stages:
        changes += [
            f"{stage}.epochs=1",
            f"{stage}.batch_size=2",
            f"{stage}.augmentation.crop={crop}",
        ]
    folders = ["--root", str(root), "--runs", str(tmp_path)]
    main([name, *folders, "--leave-out", "0001TP", "--threads", "1", "--set", *changes])
    folder = tmp_path / f"{name}-without-0001TP"
    for stage in stages:
        found = {path.name for path in (folder / stage).iterdir()}
        assert found == {"last.pt", "best.pt", "log.csv"}


def test_help_suffices() -> None:
    command = [sys.executable, "-m", "training.train", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for word in ("camvid_code", "--leave-out", "--set", "--runs", "last.pt"):
        assert word in shown
