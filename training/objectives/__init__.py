"""Objectives: what a stage minimises, what it is scored by, and which parameters it moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from training.objectives.base import Objective, Task
from training.objectives.code import CodeSolver, CodeVae
from training.objectives.denoising import Denoising
from training.objectives.prior import PriorHigh, PriorImage, PriorJoint, PriorVae
from training.objectives.refined import Refined
from training.objectives.unary import Unary

__all__ = [
    "OBJECTIVES",
    "CodeSolver",
    "CodeVae",
    "Denoising",
    "Objective",
    "Refined",
    "Task",
    "Unary",
]

OBJECTIVES: Mapping[str, Callable[..., Objective]] = {
    "unary": Unary,
    "refined": Refined,
    "code_solver": CodeSolver,
    "code_vae": CodeVae,
    "denoising": Denoising,
    "prior_vae": PriorVae,
    "prior_image": PriorImage,
    "prior_joint": PriorJoint,
    "prior_high": PriorHigh,
}
"""By the name that stages use."""
