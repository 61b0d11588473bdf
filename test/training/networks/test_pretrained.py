from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.networks.pretrained import Naming, load_pretrained

NAMINGS = (
    Naming("first", str, ("fc.",)),
    Naming("second", lambda key: f"body.{key}", ("head.",)),
)
STATE = {
    "0.weight": torch.randn(2, 3, 1, 1),
    "0.bias": torch.randn(2),
    "1.weight": torch.randn(4, 2 * 9),
    "1.bias": torch.randn(4),
    "fc.weight": torch.randn(5, 4),
}


def trunk() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 3))


def load(tmp_path: Path, state: object, into: nn.Module | None = None) -> nn.Module:
    into = into or trunk()
    torch.save(state, tmp_path / "weights.pth")
    load_pretrained(into, str(tmp_path / "weights.pth"), NAMINGS, "Do this.")
    return into


@pytest.mark.parametrize("prefix", ["", "body."])
def test_either_naming_loads(tmp_path: Path, prefix: str) -> None:
    body = {f"{prefix}{key}": value for key, value in STATE.items() if key != "fc.weight"}
    loaded = load(tmp_path, body)
    torch.testing.assert_close(loaded[0].weight.data, STATE["0.weight"])
    torch.testing.assert_close(loaded[1].weight.data, STATE["1.weight"].reshape(4, 2, 3, 3))


def test_the_classifier_is_left_out(tmp_path: Path) -> None:
    load(tmp_path, STATE)


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {**STATE, **{key.replace("_", "."): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"0_bias": None}, r"is no first or second .*\(nearest: first\): missing: 0.bias. Do this"),
        ({"2_weight": torch.ones(1)}, r"unexpected: 2.weight. Do this"),
        ({"0_weight": torch.ones(2, 3, 3, 3)}, r"size: 0.weight \(2, 3, 3, 3\) where \(2, 3, 1, 1"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, state: dict[str, Tensor | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, changed(**state))


def test_nothing_is_loaded_of_a_file_that_does_not_fit(tmp_path: Path) -> None:
    into = trunk()
    before = {key: value.clone() for key, value in into.state_dict().items()}
    with pytest.raises(ValueError, match=r"missing: 1\.bias"):
        load(tmp_path, changed(**{"1_bias": None}), into)
    assert all(torch.equal(value, before[key]) for key, value in into.state_dict().items())


def test_many_keys_are_counted_rather_than_listed(tmp_path: Path) -> None:
    extra = {f"x{index}": torch.ones(1) for index in range(9)}
    with pytest.raises(ValueError, match=r"unexpected: x0, x1, x2, x3 and 5 more"):
        load(tmp_path, {**STATE, **extra})


def test_files_that_hold_no_state_dict_say_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file .*nowhere\.pth"):
        load_pretrained(trunk(), str(tmp_path / "nowhere.pth"), NAMINGS, "")
    with pytest.raises(ValueError, match="holds more than parameters"):
        load(tmp_path, {"model": STATE, "epoch": 3})
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(ValueError, match=r"write one by torch.save\(model.state_dict"):
        load_pretrained(trunk(), str(tmp_path / "text.pth"), NAMINGS, "")
