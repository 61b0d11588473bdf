from __future__ import annotations

import pytest
import torch
from tiny_training import TINY_CODE, TINY_UNARY, random_unary

from training.model import Segmenter
from training.refiners import CodeConfig, CodeRefiner
from training.refiners.code_encoder import CodeEncoder

CHANNELS = {4: 2, 8: 2, 16: 2}


@pytest.mark.parametrize(("height", "width"), [(72, 104), (32, 48), (360, 480)])
@pytest.mark.parametrize(
    "config",
    [TINY_CODE, CodeConfig(5, 0, coarse=(2, 3)), CodeConfig(0, 2)],
    ids=["both", "global", "grid"],
)
def test_encodes_to_the_code_that_the_refiner_decodes(
    config: CodeConfig, height: int, width: int
) -> None:
    encoder = CodeEncoder(4, CHANNELS, config, width=4).double()
    unary = random_unary(height, width)
    mean, log_variance = encoder(torch.rand_like(unary.scores), unary)
    expected = (2, CodeRefiner(4, CHANNELS, config).size(height, width))
    assert mean.shape == log_variance.shape == expected


def test_the_code_depends_on_truth_and_image() -> None:
    torch.manual_seed(0)
    encoder = CodeEncoder(4, CHANNELS, TINY_CODE, width=4).double().eval()
    unary, other = random_unary(32, 48), random_unary(32, 48, seed=1)
    truth = torch.rand_like(unary.scores)
    mean = encoder(truth, unary)[0]
    assert not torch.equal(mean, encoder(1 - truth, unary)[0])
    assert not torch.equal(mean, encoder(truth, other)[0])


def test_a_model_without_a_code_has_no_encoder() -> None:
    model = Segmenter(4, TINY_UNARY)
    assert model.code is None
    assert model.code_encoder is None
