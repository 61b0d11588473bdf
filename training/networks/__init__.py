"""Unary networks: image in, per-class scores, uncertainty and features out."""

from training.networks.unet import UnaryOutput, UNet, UNetConfig

__all__ = ["UNet", "UNetConfig", "UnaryOutput"]
