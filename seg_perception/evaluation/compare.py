"""One frame answered in the ways that are compared: without evidence, replaced, corrected."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import RunnerError
from seg_perception.evidence.fuse import evidence_inputs, fuse
from seg_perception.evidence.record import Evidence
from seg_perception.nearest import resize_nearest
from seg_perception.perceiver import Frame, Perceiver, fit_image
from seg_perception.runtime.bundle import EVALUATION_OUTPUTS, UNREFINED_OUTPUT
from seg_perception.runtime.runner import Runner

REPLACED, OPTIMISED_REPLACED = EVALUATION_OUTPUTS


class Comparer:
    """Answers frames of any size by one runner; no ROS, no state between frames.

    Args:
        runner: of the bundle.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._perceiver = Perceiver(runner)
        self._perceiver.unrefined = True
        self._manifest = runner.bundle.manifest
        known = {spec.name for spec in self._manifest.outputs}
        self._restricted = tuple(name for name in EVALUATION_OUTPUTS if name in known)

    def uncorrected(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
        """Answer a frame without evidence, exactly as a vehicle does.

        Args:
            image: uint8 [h,w,3] RGB.

        Returns:
            `labels` and `labels_unrefined`, uint8 [h,w] class ids.
        """
        perception = self._perceiver.perceive(Frame(image, stamp_ns=0))
        assert perception.labels_unrefined is not None
        return {"labels": perception.labels, UNREFINED_OUTPUT: perception.labels_unrefined}

    def labels(self, image: NDArray[np.uint8], evidence: Sequence[Evidence]) -> NDArray[np.uint8]:
        """The labels uint8 [h,w] of a frame uint8 [h,w,3] RGB that evidence corrects."""
        return self._run(image, evidence, ("labels",))["labels"]

    def corrected(
        self,
        image: NDArray[np.uint8],
        evidence: Sequence[Evidence],
        uncorrected: NDArray[np.uint8],
    ) -> dict[str, NDArray[np.uint8]]:
        """Answer a frame with evidence.

        Args:
            image: uint8 [h,w,3] RGB.
            evidence: of any size.
            uncorrected: uint8 [h,w], the labels without evidence.

        Returns:
            `labels`, `labels_replaced` and `labels_optimised_replaced`, uint8 [h,w] class ids.

        Raises:
            RunnerError: the model takes no evidence, or cannot tell what is most likely among
                several classes that the evidence leaves.
        """
        if not self._manifest.takes_evidence:
            raise RunnerError(
                f"bundle {self._runner.bundle.path} has no code, so that evidence cannot correct "
                "it; leave evidence out, or give a bundle that takes it"
            )
        maps = self._run(image, evidence, ("labels", *self._restricted))
        for name, labels in ((REPLACED, uncorrected), (OPTIMISED_REPLACED, maps["labels"])):
            if name not in maps:
                maps[name] = self._restrict(labels, evidence)
        return maps

    def _run(
        self, image: NDArray[np.uint8], evidence: Sequence[Evidence], outputs: Sequence[str]
    ) -> dict[str, NDArray[np.uint8]]:
        """Label maps by output, at the size of the image."""
        manifest = self._manifest
        inputs = {"image": fit_image(image, manifest.height, manifest.width)[None]}
        if evidence:
            inputs |= evidence_inputs(
                self._fused(evidence, manifest.height, manifest.width), manifest.max_sets
            )
        answers = self._runner.run(inputs, outputs)
        maps = {name: array[0] for name, array in answers.items() if name.startswith("labels")}
        return {name: resize_nearest(labels, *image.shape[:2]) for name, labels in maps.items()}

    def _fused(self, evidence: Sequence[Evidence], height: int, width: int) -> Evidence:
        manifest = self._manifest
        return fuse(evidence, height, width, manifest.n_classes, manifest.max_sets)

    def _restrict(
        self, labels: NDArray[np.uint8], evidence: Sequence[Evidence]
    ) -> NDArray[np.uint8]:
        """Labels made to agree with evidence, for a model without the outputs that do it."""
        fused = self._fused(evidence, *labels.shape)
        impossible = fused.sets[fused.index, labels] == 0
        open_choice = fused.sets.sum(axis=1)[fused.index[impossible]] > 1
        if open_choice.any():
            raise RunnerError(
                f"bundle {self._runner.bundle.path} lacks the outputs "
                f"{' and '.join(EVALUATION_OUTPUTS)}, without which only evidence of one class "
                "per pixel can be scored; export the bundle again"
            )
        only = fused.sets.argmax(axis=1).astype(np.uint8)
        return np.where(impossible, only[fused.index], labels)
