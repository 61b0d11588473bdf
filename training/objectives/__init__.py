"""Objectives: what a stage minimises, what it is scored by, and which parameters it moves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from training.errors import TrainingError
from training.model import Segmenter
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
    "build_objective",
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


def build_objective(
    name: str, options: Mapping[str, Any], model: Segmenter, task: Task
) -> Objective:
    """The objective of that name on a model, whose parameters it lets learn or holds.

    Raises:
        TrainingError: there is none, it takes no such option, or the model lacks what it trains.
    """
    if name not in OBJECTIVES:
        raise TrainingError(f"no objective {name!r}; there are: {', '.join(OBJECTIVES)}")
    _, _, *taken = inspect.signature(OBJECTIVES[name]).parameters
    if unknown := sorted(set(options) - set(taken)):
        raise TrainingError(
            f"objective {name!r} has no option {', '.join(unknown)}; "
            f"it has: {', '.join(taken) or 'none'}"
        )
    return OBJECTIVES[name](model, task, **options)
