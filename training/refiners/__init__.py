"""Refiners: anything that maps scores to better scores, behind one protocol (`protocol.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from training.refiners.code import CodeConfig, CodeRefiner, CodeState, Prepared
from training.refiners.context_crf import ContextCrfConfig, ContextCrfRefiner
from training.refiners.denoiser import DenoiserConfig, DenoiserRefiner
from training.refiners.evidence import EvidenceBatch, PooledEvidence, pool_evidence
from training.refiners.guided_crf import GuidedCrfConfig, GuidedCrfRefiner
from training.refiners.mean_field import MeanFieldConfig, MeanFieldRefiner
from training.refiners.prior import PriorConfig, PriorRefiner
from training.refiners.protocol import GaussianPrior, OperatorRefiner, Refiner, Scene

__all__ = [
    "REFINERS",
    "CodeConfig",
    "CodeRefiner",
    "CodeState",
    "ContextCrfConfig",
    "ContextCrfRefiner",
    "DenoiserConfig",
    "DenoiserRefiner",
    "EvidenceBatch",
    "GaussianPrior",
    "GuidedCrfConfig",
    "GuidedCrfRefiner",
    "MeanFieldConfig",
    "MeanFieldRefiner",
    "OperatorRefiner",
    "PooledEvidence",
    "Prepared",
    "PriorConfig",
    "PriorRefiner",
    "Refiner",
    "RefinerConfig",
    "Scene",
    "build_refiner",
    "pool_evidence",
    "refiner_name",
]

RefinerConfig = Any
"""The config of any refiner in `REFINERS`."""

REFINERS: Mapping[str, tuple[type[RefinerConfig], Callable[..., Refiner[Any, Any]]]] = {
    CodeRefiner.name: (CodeConfig, CodeRefiner),
    GuidedCrfRefiner.name: (GuidedCrfConfig, GuidedCrfRefiner),
    MeanFieldRefiner.name: (MeanFieldConfig, MeanFieldRefiner),
    ContextCrfRefiner.name: (ContextCrfConfig, ContextCrfRefiner),
    DenoiserRefiner.name: (DenoiserConfig, DenoiserRefiner),
    PriorRefiner.name: (PriorConfig, PriorRefiner),
}
"""(config, refiner) by the refiner's name."""


def build_refiner(
    classes: int, channels: Mapping[int, int], config: RefinerConfig
) -> Refiner[Any, Any]:
    """The refiner that a config belongs to, with fresh weights."""
    return REFINERS[refiner_name(config)][1](classes, channels, config)


def refiner_name(config: RefinerConfig) -> str:
    """The name under which a config's refiner is registered."""
    return next(name for name, (kind, _) in REFINERS.items() if kind is type(config))
