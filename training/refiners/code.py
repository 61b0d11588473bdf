"""The optimisable code (paper 004), made to carry evidence: linear, global and local.

Scores are ``unary + B(I) c``: linear in the code ``c``, with a basis ``B(I)`` that depends on the
image. A global code carries far (a lane says where the whole road is), a grid of small codes
carries near (a point says what this object is). Evidence is fitted by Gauss-Newton whose inner
system is solved by a fixed number of conjugate-gradient steps: only products with ``B`` and its
adjoint, never a Jacobian.

Paper 004 only concatenates image features with the code, which with linear activations leaves ``B``
the same for every image: a fixed residual basis, which cannot follow object edges. That is
`conditioning="concat"`. The default, "concat_mul", multiplies the decoded code with image features,
as CodeSLAM does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import TrainingError
from training.refiners.code_guess import CodeGuess
from training.refiners.evidence import PooledEvidence, pool_evidence
from training.refiners.maps import mix, probabilities
from training.refiners.protocol import GaussianPrior, Refiner, Scene
from training.refiners.trust import EvidenceTrust

REACH = 1.5
"""Initial scale of the basis: with less, the prior N(0, I) holds every code near zero at first, and
the solve that training goes through changes nothing it could learn from."""


@dataclass(frozen=True)
class CodeConfig:
    """Shape of the code and of its solve.

    Attributes:
        global_size: numbers in the global code; 0 = none.
        grid_size: numbers in each local code; 0 = none.
        conditioning: "concat_mul" (image-dependent basis) or "concat" (paper 004).
        channels: basis maps of each of the two parts.
        stride: resolution of the basis and of the solve; its result is upsampled bilinearly onto
            the unary scores, whose edges stay as sharp as they were.
        coarse: (height, width) of the map that the global code decodes to before it is upsampled.
        iterations: Gauss-Newton steps.
        inner: conjugate-gradient steps in each.
        likelihood: "cross_entropy", -log of the probability of the set; or "squared", paper 004's
            distance between probabilities and truth.
        guessed: whether the prior's mean is learned from the image, p(c | I) = N(m(I), I), as in
            paper 000, instead of N(0, I). Codes are then measured from m(I): zero is the guess, and
            the previous frame hands on how far it was from its own.
    """

    global_size: int = 48
    grid_size: int = 6
    conditioning: str = "concat_mul"
    channels: int = 16
    stride: int = 8
    coarse: tuple[int, int] = (6, 8)
    iterations: int = 2
    inner: int = 4
    likelihood: str = "cross_entropy"
    guessed: bool = False

    def __post_init__(self) -> None:
        if self.conditioning not in ("concat", "concat_mul"):
            raise TrainingError(f"conditioning {self.conditioning!r}: use 'concat' or 'concat_mul'")
        if self.likelihood not in ("cross_entropy", "squared"):
            raise TrainingError(f"likelihood {self.likelihood!r}: use 'cross_entropy' or 'squared'")
        if not (self.global_size or self.grid_size):
            raise TrainingError("a code needs a global_size or a grid_size")


@dataclass(frozen=True)
class Prepared:
    """What is computed once a frame.

    Attributes:
        unary: float [B, C, h0, w0], the zero-code scores D0(I); with the guess, where there is one.
        pooled: float [B, C, h, w], the same averaged over the cells at which the code is solved.
        probs: float [B, C, h, w], probabilities of `pooled`.
        basis: float [B, D, h, w], image features that the decoded code is multiplied with; ones
            [1, D, 1, 1] for "concat".
        resize: for each part (global, grid), the two matrices of its bilinear upsampling:
            rows [h, h'], columns [w', w].
        grid: (height, width) of the grid of local codes.
        evidence: by cell, with the trust in each piece.
        prior: the previous frame's code.
    """

    unary: Tensor
    pooled: Tensor
    probs: Tensor
    basis: Tensor
    resize: tuple[tuple[Tensor, Tensor], ...]
    grid: tuple[int, int]
    evidence: WeighedEvidence
    prior: GaussianPrior


@dataclass(frozen=True)
class CodeState:
    """Where the solve stands.

    Attributes:
        code: float [B, K].
        change: float [B, C, h, w], what the code decodes to: the change of the scores.
    """

    code: Tensor
    change: Tensor


@dataclass(frozen=True)
class WeighedEvidence:
    """Evidence by cell with the trust in it.

    Attributes:
        allowed: float [2, B, C, h, w] multi-hot, see `PooledEvidence`.
        trust: float [2, B, 1, h, w], see `EvidenceTrust`.
        anchor: float [B, 1, h, w], trust in the image's own word where there is no evidence.
    """

    allowed: Tensor
    trust: Tensor
    anchor: Tensor


class CodeRefiner(Refiner[Prepared, CodeState]):
    """Decodes a code into a change of the scores, and finds the code that agrees with evidence.

    Args:
        classes: number of classes C.
        channels: {stride: channels} of the unary network's features.
        config: sizes and solver.
    """

    name: ClassVar[str] = "code"
    GRID_STRIDE = 16

    def __init__(self, classes: int, channels: Mapping[int, int], config: CodeConfig) -> None:
        super().__init__()
        self.config = config
        maps = config.channels * (bool(config.global_size) + bool(config.grid_size))
        seen = channels[config.stride] + 2 * classes
        if config.global_size:
            rows, columns = config.coarse
            self.global_decoder = nn.Parameter(
                _waves(config.global_size, config.channels, rows, columns)
            )
        if config.grid_size:
            spread = torch.randn(config.channels, config.grid_size)
            self.grid_decoder = nn.Parameter(spread / math.sqrt(config.grid_size))
        self.to_scores = nn.Parameter(REACH * torch.randn(classes, maps) / math.sqrt(maps))
        if config.conditioning == "concat_mul":
            self.basis = nn.Sequential(
                nn.Conv2d(seen, 2 * maps, 3, padding=1), nn.ReLU(), nn.Conv2d(2 * maps, maps, 1)
            )
            with torch.no_grad():
                self.basis[2].weight.mul_(REACH)
        self.guess = self._guess(channels[self.GRID_STRIDE]) if config.guessed else None
        self.anchor = nn.Conv2d(seen, 1, 1)
        nn.init.zeros_(self.anchor.weight)
        # Held firmly from the start, a code changes nothing, and training stays on that plateau.
        nn.init.constant_(self.anchor.bias, -4.0)
        self.trust = EvidenceTrust(classes)
        # Log odds that a piece of evidence is wrong.
        self.outlier = nn.Parameter(torch.tensor(-4.0))

    @property
    def iterations(self) -> int:
        """Gauss-Newton steps."""
        return self.config.iterations

    def size(self, height: int, width: int) -> int:
        """Length K of the flattened code for an image of `height` x `width` pixels."""
        cells = math.ceil(height / self.GRID_STRIDE) * math.ceil(width / self.GRID_STRIDE)
        return self.config.global_size + self.config.grid_size * cells

    def prepare(self, scene: Scene) -> Prepared:
        """Compute the image's basis, and how far each piece of evidence is trusted."""
        unary = scene.unary
        features = unary.features[self.config.stride]
        scores, uncertainty = (_pool(x, features) for x in (unary.scores, unary.uncertainty))
        grid = unary.features[self.GRID_STRIDE].shape[-2:]
        sources = [self.config.coarse] * bool(self.config.global_size)
        sources += [(int(grid[0]), int(grid[1]))] * bool(self.config.grid_size)
        height, width = scores.shape[-2:]
        resize = tuple(
            (_interpolation(rows, height).to(scores), _interpolation(columns, width).to(scores).T)
            for rows, columns in sources
        )
        probs = probabilities(scores)
        seen = torch.cat([features.to(scores), probs, uncertainty], dim=1)
        anchor = self.anchor(seen)
        prepared = Prepared(
            unary=unary.scores,
            pooled=scores,
            probs=probs,
            basis=self._basis(seen),
            resize=resize,
            grid=(int(grid[0]), int(grid[1])),
            evidence=self._weigh(scene, probs, anchor),
            prior=scene.prior or self._no_prior(scores, grid),
        )
        if self.guess is None:
            return prepared
        code = self.guess(unary.features[self.GRID_STRIDE].to(scores))
        prepared = self._from(prepared, code)
        return replace(prepared, evidence=self._weigh(scene, prepared.probs, anchor))

    def _guess(self, features: int) -> CodeGuess:
        config = self.config
        sizes = config.global_size, config.grid_size
        return CodeGuess(features, 2 * config.channels, config.coarse, *sizes)

    def _from(self, prepared: Prepared, code: Tensor) -> Prepared:
        """The same frame with codes measured from `code`: its scores are the zero-code scores."""
        change = self.decode(prepared, code)
        pooled = prepared.pooled + change
        scores = self.scores(prepared, CodeState(code, change))
        return replace(prepared, unary=scores, pooled=pooled, probs=probabilities(pooled))

    def _basis(self, seen: Tensor) -> Tensor:
        if self.config.conditioning == "concat":
            return seen.new_ones(1, self.to_scores.shape[1], 1, 1)
        basis: Tensor = self.basis(seen)
        return basis

    def decode(self, prepared: Prepared, code: Tensor) -> Tensor:
        """``B c``: change of the scores, float [B, C, h, w], of a code [B, K]. Linear in it."""
        parts = zip(self._coarse(prepared, code), prepared.resize, strict=True)
        maps = [rows @ (coarse @ columns) for coarse, (rows, columns) in parts]
        return mix(self.to_scores, torch.cat(maps, dim=1) * prepared.basis)

    def adjoint(self, prepared: Prepared, scores: Tensor) -> Tensor:
        """``B^T v``: code [B, K] of a map [B, C, h, w]; the exact transpose of `decode`."""
        maps = mix(self.to_scores.T, scores) * prepared.basis
        codes = []
        for part, fine in enumerate(maps.split(self.config.channels, dim=1)):
            rows, columns = prepared.resize[part]
            coarse = (rows.T @ fine) @ columns.T
            if self.config.global_size and part == 0:
                codes.append(coarse.flatten(1) @ self.global_decoder.T)
            else:
                codes.append(mix(self.grid_decoder.T, coarse).flatten(1))
        return torch.cat(codes, dim=1)

    def _coarse(self, prepared: Prepared, code: Tensor) -> list[Tensor]:
        """What each part decodes to before it is upsampled, float [B, channels, h', w']."""
        maps = []
        if self.config.global_size:
            spread = code[:, : self.config.global_size] @ self.global_decoder
            maps.append(spread.unflatten(1, (self.config.channels, *self.config.coarse)))
        if self.config.grid_size:
            local = code[:, self.config.global_size :]
            cells = local.unflatten(1, (self.config.grid_size, *prepared.grid))
            maps.append(mix(self.grid_decoder, cells))
        return maps

    def start(self, prepared: Prepared) -> CodeState:
        """The zero code: the prior's mean."""
        rows, columns = prepared.grid
        size = self.config.global_size + self.config.grid_size * rows * columns
        code = prepared.pooled.new_zeros(prepared.pooled.shape[0], size)
        return CodeState(code, torch.zeros_like(prepared.pooled))

    def scores(self, prepared: Prepared, state: CodeState) -> Tensor:
        """Corrected scores, float [B, C, h0, w0], where the unary scores are."""
        size = prepared.unary.shape[-2:]
        return prepared.unary + F.interpolate(
            state.change, size, mode="bilinear", align_corners=False
        )

    def _weigh(self, scene: Scene, probs: Tensor, anchor: Tensor) -> WeighedEvidence:
        """Decide, once a frame, how far each piece of evidence is trusted."""
        if scene.evidence is None:
            evidence = PooledEvidence.nothing(probs)
        else:
            evidence = pool_evidence(scene.evidence, self.config.stride)
            if evidence.coverage.shape[-2:] != probs.shape[-2:]:
                height, width = scene.guide.shape[-2:]
                raise TrainingError(
                    f"an image of {height}x{width}: with a code, both sides must be multiples of "
                    f"{self.config.stride}; change data.shrink, or the images"
                )
        trust, held = self.trust(probs, anchor, evidence)
        return WeighedEvidence(evidence.allowed, trust, held)

    def step(self, prepared: Prepared, state: CodeState) -> CodeState:
        """One Gauss-Newton step on evidence and priors."""
        evidence, prior = prepared.evidence, prepared.prior
        probs = probabilities(prepared.pooled + state.change)
        pull, trust = self._residual(probs, evidence)
        pull = pull + evidence.anchor * (probs - prepared.probs)
        trust = trust + evidence.anchor
        gradient = self.adjoint(prepared, self._jacobian(probs, pull))
        gradient = gradient + state.code + prior.precision * (state.code - prior.mean)

        def hessian(direction: Tensor) -> Tensor:
            change = self._jacobian(probs, _covariance(probs, self.decode(prepared, direction)))
            return self.adjoint(prepared, trust * change) + (1 + prior.precision) * direction

        code = state.code - conjugate_gradients(hessian, gradient, self.config.inner)
        return CodeState(code, self.decode(prepared, code))

    def _no_prior(self, scores: Tensor, grid: tuple[int, ...]) -> GaussianPrior:
        """Nothing beside N(0, I)."""
        size = self.config.global_size + self.config.grid_size * grid[0] * grid[1]
        return GaussianPrior(scores.new_zeros(len(scores), size), scores.new_zeros(len(scores), 1))

    def _residual(self, probs: Tensor, evidence: WeighedEvidence) -> tuple[Tensor, Tensor]:
        """Gradient of the evidence's loss by the scores [B, C, h, w] and its trust [B, 1, h, w].

        The loss is ``-log((1 - e) P + e u)``, ``P`` the probability of the set: evidence is wrong
        at some rate ``e``, and then says nothing (``u``). Its expectation-maximisation bound is a
        cross-entropy to the probabilities restricted to the set, weighted by the chance that this
        piece of evidence is right; so contradicted evidence lets go, and the bound's Hessian is
        that of cross-entropy: positive semi-definite.
        """
        inside = evidence.allowed * probs
        total = inside.sum(dim=2, keepdim=True).clamp_min(1e-6)
        right = total / (total + torch.exp(self.outlier))
        trust = evidence.trust * right
        pull = (trust * (probs - inside / total)).sum(dim=0)
        return pull, trust.sum(dim=0)

    def _jacobian(self, probs: Tensor, change: Tensor) -> Tensor:
        """Identity for cross-entropy; the softmax's Jacobian once more for the squared distance."""
        return change if self.config.likelihood == "cross_entropy" else _covariance(probs, change)


def conjugate_gradients(product: Callable[[Tensor], Tensor], target: Tensor, steps: int) -> Tensor:
    """Approximate solution x [B, K] of ``A x = target`` after a fixed number of steps from zero.

    Args:
        product: x -> A x, A symmetric positive definite.
        target: float [B, K].
        steps: number of steps; fewer steps also regularise.
    """
    solution = torch.zeros_like(target)
    residual = direction = target
    power = residual.square().sum(dim=1, keepdim=True)
    for index in range(steps):
        image = product(direction)
        length = power / (direction * image).sum(dim=1, keepdim=True).clamp_min(1e-12)
        solution = solution + length * direction
        if index + 1 < steps:
            residual = residual - length * image
            last, power = power, residual.square().sum(dim=1, keepdim=True)
            direction = residual + power / last.clamp_min(1e-12) * direction
    return solution


def _pool(maps: Tensor, like: Tensor) -> Tensor:
    """Maps [B, C, h, w] on the cells of `like`: averaged where finer, bilinear where coarser."""
    ratio = int(maps.shape[-2]) // int(like.shape[-2])
    if ratio > 1:
        return F.avg_pool2d(maps, ratio)
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def _waves(size: int, channels: int, rows: int, columns: int) -> Tensor:
    """Decoder [size, channels * rows * columns] to begin with: one cosine wave in one channel each.

    Long waves come first, so that the first code numbers move whole channels up and down and the
    next ones tilt them: a start from which evidence carries across the image.
    """
    v, u = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    order = torch.argsort((u.flatten() / columns) ** 2 + (v.flatten() / rows) ** 2, stable=True)
    decoder = torch.zeros(size, channels, rows, columns)
    for number in range(size):
        wave = int(order[number // channels % len(order)])
        down = torch.cos(torch.pi * (torch.arange(rows) + 0.5) * (wave // columns) / rows)
        across = torch.cos(torch.pi * (torch.arange(columns) + 0.5) * (wave % columns) / columns)
        decoder[number, number % channels] = down[:, None] * across
    return decoder.flatten(1)


def _covariance(probs: Tensor, change: Tensor) -> Tensor:
    """``(diag p - p p^T) v``: how probabilities follow scores, and cross-entropy's Hessian."""
    weighted = probs * change
    return weighted - probs * weighted.sum(dim=1, keepdim=True)


def _interpolation(source: int, target: int) -> Tensor:
    """Matrix [target, source] of bilinear interpolation (half-pixel centres, clamped borders)."""
    identity = torch.eye(source)[None]
    return F.interpolate(identity, target, mode="linear", align_corners=False)[0].T
