"""The optimisable code: trained through its solve, or as paper 004 trains it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.classes import VOID
from seg_perception.datasets import Sample
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evaluation.scores import Outcome
from training.datasets import Batch
from training.datasets.evidence import EvidenceSampler, can_be_drawn, collate
from training.errors import TrainingError
from training.losses import gaussian_kl, weighted_mean
from training.model import Segmenter
from training.objectives.base import Task, enable_dropout, image_of, labels_at, labels_of
from training.refiners import CodeState, Scene

CORRECTION_KINDS = (
    ("ego_lane", ""),
    ("partial:0.1", "building"),
    ("partial:0.1", "road"),
    ("points:0.01", ""),
    ("sets:0.05", ""),
)
"""Kinds of evidence that correction is scored by, and the class each speaks about, if any."""


class CodeSolver:
    """Trains the decoder *through* the solver: evidence in, Gauss-Newton, loss on every pixel.

    A plain VAE learns a code that explains segmentations; this learns one that, set from what
    little a vehicle knows, improves what it does not know. The unary network's weights stay as they
    are, but its dropout is on, so that it errs here as on new drives. The loss is the corrected
    scores' cross-entropy, plus `harm` times what correction made worse, pixel by pixel.

    Args:
        harm: weight of the penalty on pixels that correction makes worse.
        inside: weight of pixels that have evidence themselves.

    Raises:
        TrainingError: the model has no code.
    """

    def __init__(
        self, model: Segmenter, task: Task, harm: float = 1.0, inside: float = 0.5
    ) -> None:
        if model.code is None:
            raise TrainingError(
                "there is no code to train: give the recipe refiners=(CodeConfig(),)"
            )
        self.model, self.code, self.task = model, model.code, task
        self.harm, self.inside = harm, inside
        self.sampler = EvidenceSampler(task.classes, task.groups)
        model.requires_grad_(False)
        model.code.requires_grad_(True)

    def train(self) -> None:
        """The code learns; of the unary network only dropout is on."""
        self.model.eval()
        self.code.train()
        enable_dropout(self.model.unary)

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the scores' cells, weighted by class and by what is known."""
        with torch.no_grad():
            unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        evidence = self.sampler.batch(batch.labels.cpu().numpy().astype(np.uint8), rng)
        evidence = evidence.to(batch.labels.device)
        with torch.autocast(batch.image.device.type, enabled=False):
            return self._solved_loss(Scene(batch.image, unary, evidence=evidence), batch.labels)

    def _solved_loss(self, scene: Scene, labels: Tensor) -> Tensor:
        corrected = self.code(scene)
        assert scene.evidence is not None
        known = labels_at(scene.evidence.index, corrected) > 0
        labels = labels_at(labels, corrected)
        before, after = (
            F.cross_entropy(scores, labels, ignore_index=VOID, reduction="none")
            for scores in (scene.unary.scores, corrected)
        )
        valid = labels != VOID
        weight = self.task.weights[labels.where(valid, 0)] * valid
        weight = weight * torch.where(known, self.inside, 1.0)
        worse = F.relu(after - before)
        return weighted_mean(after + self.harm * worse, weight)

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Percent of the errors *outside* the evidence that correction removes, mean over kinds."""
        return float(
            np.mean([r["removed"] for r in self.corrections(samples[::3], device).values()])
        )

    def corrections(
        self, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, dict[str, float]]:
        """For each kind of evidence, percent of outside errors removed and outside mIoU gained."""
        classes = self.model.classes
        ids = {info.name: info.id for info in self.task.classes}
        kinds = [
            (kind, name)
            for kind, name in CORRECTION_KINDS
            if (not name or name in ids) and can_be_drawn(kind, self.task.classes, self.task.groups)
        ]
        pairs: dict[str, list[Outcome]] = {}
        for index, sample in enumerate(samples):
            image = image_of(sample, device)
            with torch.no_grad():
                unary = self.model.unary(image)
            before = labels_of(unary.scores, sample.labels.shape)
            for kind, name in kinds:
                evidence = partial_truth(
                    sample.labels,
                    kind,
                    ids.get(name),
                    classes=self.task.classes,
                    groups=self.task.groups,
                    rng=np.random.default_rng(index),
                )
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    known_batch = collate([evidence]).to(device)
                    scores = self.code(Scene(image, unary, evidence=known_batch))
                after = labels_of(scores, sample.labels.shape)
                known = evidence.index > 0
                found = [Outcome.of(x, sample.labels, known, classes) for x in (before, after)]
                label = f"{kind} {name}".strip()
                pairs[label] = (
                    [a + b for a, b in zip(pairs[label], found, strict=True)]
                    if label in pairs
                    else found
                )
        return {label: _gain(*outcomes) for label, outcomes in pairs.items()}


class CodeVae:
    """Paper 004's objective: the decoder as an image-conditioned autoencoder of the truth (VAE).

    Cross-entropy is *summed* over the image's cells; with a mean, the KL term would empty the code.

    Args:
        beta: weight of the KL term (the paper's W_k = 8 on its doubled KL is beta = 16, for a
            summed loss at the decoder's resolution).

    Raises:
        TrainingError: the model has no code.
    """

    def __init__(self, model: Segmenter, task: Task, beta: float = 4.0) -> None:
        self.corrector = CodeSolver(model, task)
        self.model, self.code, self.encoder = model, self.corrector.code, model.code_encoder
        self.weights, self.beta = task.weights, beta
        self.encoder.requires_grad_(True)

    def train(self) -> None:
        """Decoder and encoder learn."""
        self.model.eval()
        self.code.train()
        self.encoder.train()

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Negative evidence lower bound, summed over an image's cells, mean over images, / 1000."""
        with torch.no_grad():
            unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        labels = labels_at(batch.labels, unary.scores)
        valid = labels != VOID
        one_hot = F.one_hot(labels.where(valid, 0), self.model.classes).permute(0, 3, 1, 2)
        mean, log_variance = self.encoder(one_hot * valid[:, None].float(), unary)
        with torch.autocast(batch.image.device.type, enabled=False):
            code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            prepared = self.code.prepare(Scene(batch.image, unary))
            state = CodeState(code, self.code.decode(prepared, code))
            scores = self.code.scores(prepared, state)
            fit = F.cross_entropy(scores, labels, self.weights, ignore_index=VOID, reduction="sum")
            return (fit + self.beta * gaussian_kl(mean, log_variance).sum()) / len(labels) / 1000

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """What the code is for: as `CodeSolver.score`."""
        return self.corrector.score(samples, device)


def _gain(before: Outcome, after: Outcome) -> dict[str, float]:
    wrong = 100 - before.outside.pixel_accuracy  # nan where evidence covers everything
    gained = after.outside.pixel_accuracy - before.outside.pixel_accuracy
    return {
        "removed": 100 * gained / wrong if wrong > 0 else 0.0,
        "miou_gained": after.outside.miou() - before.outside.miou(),
    }
