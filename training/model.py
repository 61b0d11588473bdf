"""A model: a unary network and the refiners behind it."""

from __future__ import annotations

from torch import nn

from training.networks import UNet, UNetConfig
from training.refiners import CodeConfig, CodeRefiner
from training.refiners.code_encoder import CodeEncoder


class Segmenter(nn.Module):
    """A unary network and its refiners.

    Args:
        classes: number of classes C.
        unary: size of the unary network.
        code: the optimisable code, or None.
    """

    def __init__(self, classes: int, unary: UNetConfig, code: CodeConfig | None = None) -> None:
        super().__init__()
        self.classes = classes
        self.unary = UNet(classes, unary)
        self.code = CodeRefiner(classes, self.unary.channels, code) if code else None
        self.code_encoder = CodeEncoder(classes, self.unary.channels, code) if code else None
