"""Unary networks: image in, per-class scores, uncertainty and features out.

A network is built as ``Network(classes, config)``, has `channels` ({stride: channels} of its
features) and maps an image, float [B, 3, H, W] of 0-255 RGB, to a `UnaryOutput`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from training.networks.dilated_resnet import DilatedResNet, DilatedResNetConfig
from training.networks.fc_densenet import FCDenseNet, FCDenseNetConfig
from training.networks.fcn8s import FCN8s, FCN8sConfig
from training.networks.unet import UnaryOutput, UNet, UNetConfig

__all__ = [
    "NETWORKS",
    "DilatedResNet",
    "DilatedResNetConfig",
    "FCDenseNet",
    "FCDenseNetConfig",
    "FCN8s",
    "FCN8sConfig",
    "NetworkConfig",
    "UNet",
    "UNetConfig",
    "UnaryOutput",
    "build_network",
]

NetworkConfig = Any
"""The config of any network in `NETWORKS`."""

NETWORKS: Mapping[str, tuple[type[NetworkConfig], Callable[..., Any]]] = {
    "unet": (UNetConfig, UNet),
    "fcn8s": (FCN8sConfig, FCN8s),
    "fc_densenet": (FCDenseNetConfig, FCDenseNet),
    "dilated_resnet": (DilatedResNetConfig, DilatedResNet),
}
"""(config, network) by the name that recipes use."""


def build_network(classes: int, config: NetworkConfig) -> Any:
    """The network that a config belongs to, with fresh weights."""
    return NETWORKS[network_name(config)][1](classes, config)


def network_name(config: NetworkConfig) -> str:
    """The name under which a config's network is registered."""
    return next(name for name, (kind, _) in NETWORKS.items() if kind is type(config))
