"""Paper 000's stages after the unary network: each part by itself, then all of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.classes import VOID
from seg_perception.datasets import Sample
from seg_perception.evaluation.scores import ConfusionMatrix
from training.datasets import Batch
from training.errors import TrainingError
from training.losses import gaussian_kl, hardest_cross_entropy
from training.model import Segmenter
from training.objectives.base import Task, labels_at, labels_of, pooled_miou
from training.refiners import Scene
from training.refiners.prior import Gaussian, PreparedPrior, PriorRefiner

SCALE = 1000.0
"""What losses summed over an image's cells are divided by, for the sake of step sizes."""


class PriorObjective:
    """What the stages have in common: all of the model stands still but the named parts.

    Raises:
        TrainingError: the model has no prior.
    """

    def __init__(self, model: Segmenter, task: Task) -> None:
        refiner = dict(model.refiners.items()).get("prior")
        if not isinstance(refiner, PriorRefiner):
            raise TrainingError(
                "there is no prior to train: give the recipe refiners=(PriorConfig(),)"
            )
        self.model, self.prior, self.weights = model, refiner, task.weights
        model.requires_grad_(False)
        for part in self.learning():
            part.requires_grad_(True)

    def learning(self) -> Sequence[nn.Module]:
        """The parts that learn."""
        raise NotImplementedError

    def train(self) -> None:
        """What learns is in training mode, the rest as it will be used."""
        self.model.eval()
        for part in self.learning():
            part.train()

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """The bound, mean over images; only the unary network runs at autocast's precision."""
        scene = self.scene(batch.image)
        with torch.autocast(batch.image.device.type, enabled=False):
            return self.bound(self.prior.prepare(scene), batch.labels)

    def bound(self, prepared: PreparedPrior, labels: Tensor) -> Tensor:
        """What a stage minimises; labels int64 [B, H, W]."""
        raise NotImplementedError

    def scene(self, image: Tensor) -> Scene:
        """What the prior is given of images float [B, 3, H, W]."""
        image = image.contiguous(memory_format=torch.channels_last)
        return self.model.scene_before("prior", Scene(image, self.model.unary(image)))

    def score_of(
        self,
        read: Callable[[PreparedPrior], Tensor],
        samples: Sequence[Sample],
        device: torch.device,
    ) -> float:
        """Pooled mIoU, percent, of scores [1, C, h, w] read from what the prior prepares."""

        def scores(image: Tensor) -> Tensor:
            return read(self.prior.prepare(self.scene(image)))

        return pooled_miou(scores, samples, self.model.classes, device)

    def truth(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Labels [B, H, W] as the segmentation encoder sees them: [B, coarse], and one-hot."""
        small = F.interpolate(
            labels[:, None].float(), self.prior.config.coarse, mode="nearest-exact"
        )
        coarse = small[:, 0].long()
        valid = coarse != VOID
        one_hot = F.one_hot(coarse.where(valid, 0), self.model.classes) * valid[..., None]
        return coarse, one_hot.permute(0, 3, 1, 2).float()

    def fit(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy summed over the cells: with a mean, the KL term would empty the code."""
        return F.cross_entropy(scores, labels, self.weights, ignore_index=VOID, reduction="sum")


class PriorVae(PriorObjective):
    """Stage (b): the segmentation encoder and the global decoder as a VAE with prior N(0, I).

    Args:
        beta: weight of the KL term; 1 is the evidence lower bound.
    """

    def __init__(self, model: Segmenter, task: Task, beta: float = 1.0) -> None:
        super().__init__(model, task)
        self.beta = beta

    def learning(self) -> Sequence[nn.Module]:
        """Encoder and decoder of segmentations."""
        prior = self.prior
        return prior.segmentation_encoder, prior.global_decoder, prior.global_scores

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Negative evidence lower bound of the labels alone, mean over images."""
        with torch.autocast(batch.image.device.type, enabled=False):
            labels, one_hot = self.truth(batch.labels)
            posterior = self.prior.encode(one_hot)
            fit = self.fit(self.prior.of_code_alone(posterior.sample()), labels)
            kl = gaussian_kl(posterior.mean, posterior.log_variance).sum()
            return (fit + self.beta * kl) / len(labels) / SCALE

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of segmentations encoded and decoded again, percent."""
        confusion = ConfusionMatrix.empty(self.model.classes)
        for sample in samples:
            labels = torch.from_numpy(sample.labels).long()[None].to(device)
            scores = self.prior.of_code_alone(self.prior.encode(self.truth(labels)[1]).mean)
            found = labels_of(scores, sample.labels.shape)
            confusion = confusion + ConfusionMatrix.of(found, sample.labels, self.model.classes)
        return confusion.miou()


class PriorImage(PriorObjective):
    """Stage (c): the image encoder learns the codes of the frozen VAE; only the KL term is left."""

    def learning(self) -> Sequence[nn.Module]:
        """The image encoder."""
        return (self.prior.image_encoder,)

    def bound(self, prepared: PreparedPrior, labels: Tensor) -> Tensor:
        """KL(q(z | s) || p(z | x)), mean over images."""
        return _kl(self.prior.encode(self.truth(labels)[1]), prepared.code).mean() / SCALE

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of the image encoder's code alone, percent."""
        prior = self.prior
        return self.score_of(lambda x: prior.of_code_alone(x.code.mean), samples, device)


class PriorJoint(PriorObjective):
    """Stage (d): everything but the head to full size, jointly (paper 000, Eq. 6).

    Args:
        beta: weight of the KL term; 1 is the evidence lower bound.
        guessed: weight of the decoder's loss on codes drawn from the image encoder, as at test
            (Sohn et al. 2015, the hybrid objective), beside 1 - `guessed` on those of q(z | s);
            0 in the paper.
        unary: whether the unary network learns too, as in the paper.
    """

    def __init__(
        self,
        model: Segmenter,
        task: Task,
        beta: float = 1.0,
        guessed: float = 0.5,
        unary: bool = True,
    ) -> None:
        self.beta, self.guessed, self.unary = beta, guessed, unary
        super().__init__(model, task)

    def learning(self) -> Sequence[nn.Module]:
        """Encoders, decoder and the unary network."""
        prior = self.prior
        encoders = prior.image_encoder, prior.segmentation_encoder
        decoder = prior.global_decoder, prior.hybrid, prior.low_scores
        return (*encoders, *decoder, *([self.model.unary] if self.unary else []))

    def bound(self, prepared: PreparedPrior, labels: Tensor) -> Tensor:
        """Negative lower bound of log p(s | x), mean over images."""
        posterior = self.prior.encode(self.truth(labels)[1])
        found = self.prior.low(prepared, posterior.sample())
        cells = labels_at(labels, found)
        loss = (1 - self.guessed) * self.fit(found, cells)
        loss = loss + self.beta * _kl(posterior, prepared.code).sum()
        if self.guessed:
            guess = self.prior.low(prepared, prepared.code.sample())
            loss = loss + self.guessed * self.fit(guess, cells)
        return loss / len(labels) / SCALE

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of the low-resolution scores at the most likely code, percent."""
        return self.score_of(lambda x: self.prior.low(x, x.code.mean), samples, device)


class PriorHigh(PriorObjective):
    """Stage (e): the head to full size, after all else has been trained."""

    def learning(self) -> Sequence[nn.Module]:
        """The head."""
        return (self.prior.high,)

    def bound(self, prepared: PreparedPrior, labels: Tensor) -> Tensor:
        """Cross-entropy, mean over the pixels, weighted by class."""
        scores = self.prior.full(prepared, prepared.code.mean)
        return hardest_cross_entropy(scores, labels, self.weights)

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of the scores at full size at the most likely code, percent."""
        return self.score_of(lambda x: self.prior.full(x, x.code.mean), samples, device)


def _kl(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """KL(q || p) of each image, float [B]."""
    return gaussian_kl(posterior.mean, posterior.log_variance, (prior.mean, prior.log_variance))
