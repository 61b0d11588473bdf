from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import TINY_DENOISER, TINY_UNARY, tiny_recipe, write_camvid

from seg_perception.classes import VOID
from training import denoiser_steps
from training.denoiser_steps import Choice, Frame, choose, curve
from training.model import Segmenter
from training.refiners.denoiser import DenoiserRefiner, PreparedDenoiser


class Settled(DenoiserRefiner):
    """A denoiser whose reconstruction is known: the truth, whatever it is given."""

    def __init__(self, truth: torch.Tensor) -> None:
        super().__init__(2, {16: 1}, TINY_DENOISER)
        self.truth = truth

    def change(self, prepared: PreparedDenoiser, state: torch.Tensor) -> torch.Tensor:
        return self.truth - state


@pytest.fixture
def frame() -> Frame:
    """Everything is taken for class 0 with probability 0.8; half of it is class 1."""
    labels = np.zeros((16, 16), np.uint8)
    labels[:, 8:] = 1
    labels[:, 7:9] = VOID  # upsampling blurs the border
    probs = torch.tensor([0.8, 0.2])[None, :, None, None].expand(1, 2, 4, 4)
    return Frame(PreparedDenoiser(probs, torch.zeros(1, 1, 1, 1)), labels)


@pytest.fixture
def denoiser() -> DenoiserRefiner:
    truth = torch.zeros(1, 2, 4, 4)
    truth[:, 0, :, :2] = truth[:, 1, :, 2:] = 1
    return Settled(truth)


def test_a_curve_begins_with_what_is_there(denoiser: DenoiserRefiner, frame: Frame) -> None:
    assert curve(denoiser, [frame], 2, 0.5, 2) == pytest.approx([25.0, 100.0, 100.0])
    # 0.2 passes 0.5 in the third step of 0.2: 1 - 0.8 * 0.8^n
    assert curve(denoiser, [frame], 2, 0.2, 3) == pytest.approx([25.0, 25.0, 25.0, 100.0])


def test_the_best_pair_of_the_fewest_steps_is_chosen(
    denoiser: DenoiserRefiner, frame: Frame
) -> None:
    assert choose(denoiser, [frame], 2, (0.2, 0.5), 4) == Choice(0.5, 1, 100.0)


def test_nothing_is_chosen_by_no_frames(denoiser: DenoiserRefiner) -> None:
    with pytest.raises(ValueError, match="leave out drives that do not hold all of val"):
        choose(denoiser, [], 2, (0.2, 0.5), 4)


def test_the_command_prints_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(refiners=(TINY_DENOISER,))
    monkeypatch.setattr(denoiser_steps, "load_recipe", lambda name: recipe)
    torch.save({"model": Segmenter(11, TINY_UNARY, (TINY_DENOISER,)).state_dict()}, tmp_path / "c")
    root = write_camvid(tmp_path / "camvid")
    arguments = ["camvid_code", "--root", str(root), "--checkpoint", str(tmp_path / "c")]
    denoiser_steps.main([*arguments, "--steps", "2", "--step-sizes", "0.1"])
    words = capsys.readouterr().out.split()
    assert words[2:9] == ["on", "2", "val", "frames", "with", "--set", "denoiser.step_size=0.1"]


def test_a_recipe_without_a_denoiser_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        denoiser_steps.main(["camvid_code", "--root", "nowhere"])
    assert "recipe 'camvid_code' has no denoiser" in capsys.readouterr().err
