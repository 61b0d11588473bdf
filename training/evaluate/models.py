"""Models to score: bundles and checkpoints, which answer an image at every point of their chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.datasets import dataset_classes
from seg_perception.evidence.record import Evidence
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner
from training.checkpoints import load_model
from training.datasets.evidence import collate
from training.datasets.frames import shrunk
from training.errors import TrainingError
from training.export.graph import CodeGraph
from training.objectives.base import image_array, labels_of
from training.recipe import Recipe, load_recipe, override, recipe_names
from training.refiners import Scene

Labels = NDArray[np.uint8]
UNARY, REFINED = "unary", "refined"
CORRECTED = {
    "replaced": "labels_replaced",
    "optimised": "labels",
    "both": "labels_optimised_replaced",
}


class Model(Protocol):
    """Anything that labels images.

    Attributes:
        classes: in the order of their ids.
        points: where its answer can be read, in the order of the chain; the last is the answer.
    """

    classes: Sequence[ClassInfo]
    points: tuple[str, ...]

    def label(self, image: Labels) -> dict[str, Labels]:
        """Class ids uint8 [H, W] of an image uint8 [H, W, 3], by point."""

    def correct(self, image: Labels, evidence: Evidence) -> dict[str, Labels]:
        """The same with evidence, by the points of `CORRECTED`.

        Raises:
            TrainingError: the model takes no evidence.
        """


class BundleModel:
    """A bundle in the best runtime that is here.

    Args:
        path: of the bundle's folder.

    Raises:
        BundleError: it is not intact.
    """

    def __init__(self, path: Path) -> None:
        self._runner = open_runner(load_bundle(path))
        self._manifest = self._runner.bundle.manifest
        self._size = (self._manifest.width, self._manifest.height)
        self.classes = self._manifest.classes
        self.points = (UNARY, REFINED)

    def label(self, image: Labels) -> dict[str, Labels]:
        """See `Model`."""
        return self._run(image, {}, {UNARY: "labels_unrefined", REFINED: "labels"})

    def correct(self, image: Labels, evidence: Evidence) -> dict[str, Labels]:
        """See `Model`."""
        if not self._manifest.takes_evidence:
            raise TrainingError(
                f"bundle {self._runner.bundle.path} has no code: it takes no evidence"
            )
        known = _inputs(evidence)
        known["evidence"] = _nearest(known["evidence"][0], self._size)[None]
        return self._run(image, known, CORRECTED)

    def _run(
        self, image: Labels, known: Mapping[str, NDArray[Any]], names: Mapping[str, str]
    ) -> dict[str, Labels]:
        fitting = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        answers = self._runner.run({"image": fitting[None], **known}, tuple(names.values()))
        size = (image.shape[1], image.shape[0])
        return {point: _nearest(answers[name][0], size) for point, name in names.items()}


class CheckpointModel:
    """A checkpoint of a run, in PyTorch.

    Args:
        recipe: that it was trained by.
        path: of the checkpoint.

    Raises:
        TrainingError: it is of another model than the recipe's.
    """

    def __init__(self, recipe: Recipe, path: Path) -> None:
        self.classes, _ = dataset_classes(recipe.data.dataset)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_model(recipe, path).to(self._device)
        self._shrink = recipe.data.shrink
        self.points = (UNARY, *self._model.refiners)

    @torch.no_grad()
    def label(self, image: Labels) -> dict[str, Labels]:
        """See `Model`."""
        guide = image_array(shrunk(image, self._shrink), self._device)
        return {point: labels_of(scores, image.shape[:2]) for point, scores in self._chain(guide)}

    @torch.no_grad()
    def correct(self, image: Labels, evidence: Evidence) -> dict[str, Labels]:
        """See `Model`."""
        if self._model.code is None:
            raise TrainingError("a model without a code takes no evidence: give one that has one")
        if self._shrink > 1:
            raise TrainingError(
                "evidence is of the image's size: export the model, give the bundle"
            )
        graph = CodeGraph(self._model, image.shape[:2]).to(self._device)
        code = np.zeros((1, self._model.code.size(*image.shape[:2])), np.float32)
        given = {"image": image[None], **_inputs(evidence)}
        given |= {"prior_code": code, "prior_precision": np.zeros(1, np.float32)}
        tensors = (torch.from_numpy(given[name]).to(self._device) for name in graph.inputs)
        answers = dict(zip(graph.outputs, graph(*tensors), strict=True))
        return {point: answers[name][0].cpu().numpy() for point, name in CORRECTED.items()}

    def _chain(self, guide: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        scene = Scene(guide, self._model.unary(guide))
        yield UNARY, scene.unary.scores
        for name, refiner in self._model.refiners.items():
            scene = scene.refined(refiner(scene))
            yield name, scene.unary.scores


def open_model(path: Path, settings: Sequence[str] = ()) -> Model:
    """A bundle's folder, or a checkpoint RUNS/NAME/STAGE/best.pt, NAME beginning with the recipe's.

    Args:
        path: of either.
        settings: FIELD=VALUE changes of the checkpoint's recipe, as in training.

    Raises:
        TrainingError: it is neither.
    """
    if (path / "manifest.json").is_file():
        return BundleModel(path)
    if not path.is_file():
        raise TrainingError(f"{path} is neither a bundle's folder nor a checkpoint")
    run = path.resolve().parent.parent.name
    known = [name for name in recipe_names() if run.startswith(name)]
    if not known:
        raise TrainingError(
            f"{path} lies in the run {run!r}, which no recipe is named for: keep checkpoints at "
            f"RUNS/NAME/STAGE/best.pt, NAME beginning with one of {', '.join(recipe_names())}"
        )
    return CheckpointModel(override(load_recipe(max(known, key=len)), settings), path)


def _inputs(evidence: Evidence) -> dict[str, NDArray[Any]]:
    """Evidence as the graph takes it."""
    batch = collate([evidence])
    return {
        "evidence": batch.index.numpy(),
        "evidence_sets": batch.sets[0].numpy(),
        "evidence_weight": batch.weight[0].numpy(),
    }


def _nearest(ids: Labels, size: tuple[int, int]) -> Labels:
    """Ids uint8 [h, w] at another size (width, height)."""
    return np.asarray(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
