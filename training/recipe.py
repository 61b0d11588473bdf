"""Recipes: short files that say what is trained, in which order, and why."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.datasets import Augmentation
from training.errors import TrainingError
from training.networks import NETWORKS, NetworkConfig, UNetConfig, network_name
from training.refiners import REFINERS, RefinerConfig, refiner_name

SWITCH = {"true": True, "false": False}


@dataclass(frozen=True)
class Data:
    """What a recipe learns from.

    Attributes:
        dataset: name for `seg_perception.datasets.open_dataset`.
        split: the split that is trained on; choices are made on `val`.
        leave_out: drives that are neither trained on nor chosen by: the honest test set.
        street_frames: how many street frames are rendered, for the stages that want them.
        shrink: images are learned from, scored and answered at 1/shrink of their size; for CPUs.
    """

    dataset: str = "camvid"
    split: str = "train"
    leave_out: tuple[str, ...] = ()
    street_frames: int = 200
    shrink: int = 1


@dataclass(frozen=True)
class Stage:
    """One stretch of training with one objective.

    Attributes:
        name: also the name of its folder in the run.
        objective: a name in `training.objectives.OBJECTIVES`; it decides which parameters learn.
        epochs: passes over the training samples.
        batch_size: samples a step.
        learning_rate: peak of the cosine schedule.
        weight_decay: AdamW's, on matrices and kernels only.
        warmup: fraction of the steps in which the learning rate rises.
        clip: norm that gradients are cut to.
        average: decay of the exponential weight average that is evaluated and exported; 0 = none.
        class_exponent: see `training.losses.class_weights`.
        street: whether rendered street frames are added to the recorded ones.
        evaluate_every: epochs between two evaluations on val.
        keep_start: whether the weights that the stage begins with stay where none score better.
        augmentation: random changes of the samples.
        options: arguments of the objective.
    """

    name: str
    objective: str
    epochs: int
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.05
    clip: float = 5.0
    average: float = 0.998
    class_exponent: float = 0.3
    street: bool = False
    evaluate_every: int = 10
    keep_start: bool = False
    augmentation: Augmentation = Augmentation()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A model and the stages that make it.

    Attributes:
        name: names the run folder and the bundle.
        why: what was learnt, in a paragraph.
        stages: in their order.
        unary: config of the unary network.
        refiners: configs of the refiners behind it, in the order of the chain.
        data: what is learnt from.
        begin_with: checkpoint of another run, whose weights the first stage begins with where both
            models have them; None = from scratch.
        seed: of weights, order, augmentation and evidence.
        precision: "bf16" (autocast; filters and the solve stay float32) or "fp32".
    """

    name: str
    why: str
    stages: tuple[Stage, ...]
    unary: NetworkConfig = UNetConfig()
    refiners: tuple[RefinerConfig, ...] = ()
    data: Data = Data()
    begin_with: str | None = None
    seed: int = 0
    precision: str = "bf16"

    def stage(self, name: str) -> Stage:
        """The stage of that name.

        Raises:
            TrainingError: there is none; the message lists those there are.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise TrainingError(
            f"no stage {name!r} in recipe {self.name!r}: {[s.name for s in self.stages]}"
        )

    def refiner(self, name: str) -> RefinerConfig | None:
        """The config of the refiner of that name, or None where the chain has none."""
        return next((config for config in self.refiners if refiner_name(config) == name), None)

    def to_record(self) -> dict[str, Any]:
        """All fields as JSON has them, network and refiners with their names."""
        record = dataclasses.asdict(self)
        record["unary"] = {"name": network_name(self.unary), **record["unary"]}
        record["refiners"] = [
            {"name": refiner_name(config), **fields}
            for config, fields in zip(self.refiners, record["refiners"], strict=True)
        ]
        plain: dict[str, Any] = json.loads(json.dumps(record))
        return plain


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes in `training.recipes`."""
    package = importlib.import_module("training.recipes")
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


def load_recipe(name: str) -> Recipe:
    """The `RECIPE` of `training/recipes/NAME.py`.

    Raises:
        TrainingError: unknown name; the message lists those there are.
    """
    if name not in recipe_names():
        raise TrainingError(f"no recipe {name!r}; there are: {', '.join(recipe_names())}")
    recipe = importlib.import_module(f"training.recipes.{name}").RECIPE
    assert isinstance(recipe, Recipe)
    return recipe


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Change single fields: ``seed=3``, ``code.conditioning=concat``, ``unary_stage.epochs=2``.

    The first word is a field of the recipe, the name of a refiner in its chain, or the name of a
    stage; where it is two of these, the second word tells which is meant. ``refiners=code,NAME``
    changes the chain and ``unary=NAME`` the network: configs that are new are the default ones.
    ``stages=NAME,NAME`` leaves only these.

    Raises:
        TrainingError: no such field, network, refiner or stage, where the message lists those there
            are; or not of the form ``path=value``; or the value does not fit the field.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise TrainingError(f"{assignment!r} is not of the form field=value")
        try:
            recipe = _assign_recipe(recipe, path.split("."), text)
        except TrainingError as error:
            raise TrainingError(f"{assignment}: {error}") from error
    return recipe


def _assign_recipe(recipe: Recipe, path: list[str], text: str) -> Recipe:
    name, rest = path[0], path[1:]
    if path == ["refiners"]:
        names = [word for word in text.split(",") if word]
        chain = (recipe.refiner(word) or _default(REFINERS, word) for word in names)
        return dataclasses.replace(recipe, refiners=tuple(chain))
    if path == ["stages"]:
        kept = tuple(recipe.stage(word) for word in text.split(",") if word)
        return dataclasses.replace(recipe, stages=kept)
    if path == ["unary"]:
        return dataclasses.replace(recipe, unary=_default(NETWORKS, text))
    config = recipe.refiner(name)
    if _is_stage(recipe, path, config):
        stages = tuple(_assign(s, rest, text) if s.name == name else s for s in recipe.stages)
        return dataclasses.replace(recipe, stages=stages)
    if config is not None:
        changed = _assign(config, rest, text)
        chain = (changed if one is config else one for one in recipe.refiners)
        return dataclasses.replace(recipe, refiners=tuple(chain))
    changed_recipe: Recipe = _assign(recipe, path, text)
    return changed_recipe


def _is_stage(recipe: Recipe, path: list[str], refiner: RefinerConfig | None) -> bool:
    """Whether a path leads into a stage; `code`, for one, is a refiner too."""
    if path[0] not in {stage.name for stage in recipe.stages}:
        return False
    alone = refiner is None and path[0] not in _field_names(recipe)
    return alone or any(word in _field_names(Stage) for word in path[1:2])


def _default(registry: Mapping[str, tuple[Any, Any]], name: str) -> Any:
    if name not in registry:
        raise TrainingError(f"no {name!r}; there are: {', '.join(registry)}")
    return registry[name][0]()


def _assign(record: Any, path: list[str], text: str) -> Any:
    if not path:
        return _parse(text, record)
    name, rest = path[0], path[1:]
    if isinstance(record, dict):
        return {**record, name: _assign(record.get(name), rest, text)}
    names = _field_names(record)
    if name not in names:
        raise TrainingError(
            f"{type(record).__name__} has no field {name!r}; it has: {', '.join(names)}"
        )
    return dataclasses.replace(record, **{name: _assign(getattr(record, name), rest, text)})


def _field_names(record: Any) -> tuple[str, ...]:
    if not dataclasses.is_dataclass(record):
        return ()
    return tuple(f.name for f in dataclasses.fields(record))


def _parse(text: str, like: Any) -> Any:
    """Read a value of the same type as the one it replaces."""
    if dataclasses.is_dataclass(like):
        raise TrainingError(f"{text!r}: set single fields, of {', '.join(_field_names(like))}")
    if isinstance(like, tuple):
        items = [item for item in text.split(",") if item]
        return tuple(_parse(item, like[0] if like else "") for item in items)
    if like is None:  # an option that the recipe does not give
        return _json_or_text(text)
    try:
        return SWITCH[text.lower()] if isinstance(like, bool) else type(like)(text)
    except (ValueError, KeyError):
        kind = " or ".join(SWITCH) if isinstance(like, bool) else type(like).__name__
        raise TrainingError(f"{text!r} is no {kind}; it is {like} now") from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
