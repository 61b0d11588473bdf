"""Objectives: what a stage minimises, what it is scored by, and which parameters it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, VOID
from seg_perception.datasets import Sample
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evaluation.scores import ConfusionMatrix, Outcome
from training.datasets import Batch
from training.datasets.evidence import EvidenceSampler, collate
from training.losses import gaussian_kl, uncertain_cross_entropy
from training.model import Segmenter
from training.networks import UnaryOutput
from training.refiners import CodeState, EvidenceBatch, pool_evidence

CORRECTION_KINDS = (
    ("ego_lane", "road"),
    ("partial:0.1", "building"),
    ("partial:0.1", "road"),
    ("points:0.01", "road"),
    ("sets:0.05", "road"),
)


class Objective(Protocol):
    """What a stage needs to know."""

    def train(self) -> None:
        """Put the modules that learn into training mode, the frozen ones into evaluation mode."""

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Scalar to minimise; `rng` and torch's own generator decide all that is random."""

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """What the best weights are chosen by, higher is better."""


class Unary:
    """Cross-entropy under the predicted uncertainty, at half resolution (paper 004, Eq. 3-4).

    Args:
        draws: Monte-Carlo samples of the scores.
    """

    def __init__(self, model: Segmenter, weights: Tensor, draws: int = 2) -> None:
        self.model, self.weights, self.draws = model, weights, draws
        model.requires_grad_(False)
        model.unary.requires_grad_(True)

    def train(self) -> None:
        """The unary network learns."""
        self.model.eval()
        self.model.unary.train()

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the pixels, weighted by class."""
        unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        labels = batch.labels[:, ::2, ::2]
        scores, uncertainty = (
            F.interpolate(x, labels.shape[-2:], mode="bilinear", align_corners=False)
            for x in (unary.scores, unary.uncertainty)
        )
        return uncertain_cross_entropy(scores, uncertainty, labels, self.weights, draws=self.draws)

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU, percent."""
        classes = self.model.classes
        confusion = ConfusionMatrix.empty(classes)
        for sample in samples:
            scores = self.model.unary(_image(sample, device)).scores
            labels = _labels(scores, sample.labels.shape)
            confusion = confusion + ConfusionMatrix.of(labels, sample.labels, classes)
        return confusion.miou()


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
        ValueError: the model has no code.
    """

    def __init__(
        self, model: Segmenter, weights: Tensor, harm: float = 1.0, inside: float = 0.5
    ) -> None:
        if model.code is None:
            raise ValueError("there is no code to train: give the recipe code=CodeConfig()")
        self.model, self.code, self.weights = model, model.code, weights
        self.harm, self.inside = harm, inside
        self.sampler = EvidenceSampler(CAMVID_CLASSES, CAMVID_GROUPS)
        model.requires_grad_(False)
        model.code.requires_grad_(True)

    def train(self) -> None:
        """The code learns; of the unary network only dropout is on."""
        self.model.eval()
        self.code.train()
        self.model.unary.dropout.train()

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the scores' cells, weighted by class and by what is known."""
        with torch.no_grad():
            unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        evidence = self.sampler.batch(batch.labels.cpu().numpy().astype(np.uint8), rng)
        evidence = evidence.to(batch.labels.device)
        with torch.autocast(batch.image.device.type, enabled=False):
            return self._solved_loss(unary, batch.labels, evidence)

    def _solved_loss(self, unary: UnaryOutput, labels: Tensor, evidence: EvidenceBatch) -> Tensor:
        corrected = self._correct(unary, evidence)
        cells = (slice(None), slice(1, None, 4), slice(1, None, 4))
        labels, known = labels[cells], evidence.index[cells] > 0
        before, after = (
            F.cross_entropy(scores, labels, ignore_index=VOID, reduction="none")
            for scores in (unary.scores, corrected)
        )
        valid = labels != VOID
        weight = self.weights[labels.where(valid, 0)] * valid * torch.where(known, self.inside, 1.0)
        worse = F.relu(after - before)
        return ((after + self.harm * worse) * weight).sum() / weight.sum()

    def _correct(self, unary: UnaryOutput, evidence: EvidenceBatch) -> Tensor:
        prepared = self.code.prepare(unary)
        pooled = pool_evidence(evidence, self.code.config.stride)
        state = self.code.solve(prepared, pooled, self.code.zero_prior(prepared))
        return self.code.scores(prepared, state)

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
        names = [info.name for info in CAMVID_CLASSES]
        pairs: dict[str, list[Outcome]] = {}
        for index, sample in enumerate(samples):
            with torch.no_grad():
                unary = self.model.unary(_image(sample, device))
            before = _labels(unary.scores, sample.labels.shape)
            for kind, name in CORRECTION_KINDS:
                evidence = partial_truth(
                    sample.labels,
                    kind,
                    names.index(name),
                    classes=CAMVID_CLASSES,
                    groups=CAMVID_GROUPS,
                    rng=np.random.default_rng(index),
                )
                with torch.no_grad(), torch.autocast(device.type, enabled=False):
                    scores = self._correct(unary, collate([evidence]).to(device))
                after = _labels(scores, sample.labels.shape)
                known = evidence.index > 0
                found = [Outcome.of(x, sample.labels, known, classes) for x in (before, after)]
                label = f"{kind} {name}" if kind.startswith("partial") else kind
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
        ValueError: the model has no code.
    """

    def __init__(self, model: Segmenter, weights: Tensor, beta: float = 4.0) -> None:
        self.corrector = CodeSolver(model, weights)
        self.model, self.code, self.encoder = model, self.corrector.code, model.code_encoder
        self.weights, self.beta = weights, beta
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
        labels = batch.labels[:, 1::4, 1::4]
        valid = labels != VOID
        one_hot = F.one_hot(labels.where(valid, 0), self.model.classes).permute(0, 3, 1, 2)
        mean, log_variance = self.encoder(one_hot * valid[:, None].float(), unary)
        with torch.autocast(batch.image.device.type, enabled=False):
            code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            prepared = self.code.prepare(unary)
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


def _image(sample: Sample, device: torch.device) -> Tensor:
    """Float [1, 3, H, W], 0-255."""
    return torch.from_numpy(sample.image).permute(2, 0, 1)[None].float().to(device)


def _labels(scores: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """uint8 [H, W] of scores [1, C, h, w]."""
    fine = F.interpolate(scores, size, mode="bilinear", align_corners=False)
    return fine.argmax(dim=1)[0].cpu().numpy().astype(np.uint8)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "unary": Unary,
    "code_solver": CodeSolver,
    "code_vae": CodeVae,
}
