"""Scoring a bundle on a labelled dataset, with and without partial truth; no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo, class_ids
from seg_perception.datasets import Dataset, Sample
from seg_perception.datasets.partial_truth import parse_kind, partial_truth
from seg_perception.errors import ConfigError
from seg_perception.evaluation.compare import OPTIMISED_REPLACED, REPLACED, Comparer
from seg_perception.evaluation.plain import percentile_record, without_nan
from seg_perception.evaluation.scores import ConfusionMatrix, Outcome, SuperpixelScore
from seg_perception.runtime.runner import Runner

METHODS = ("zero_code", "replaced", "optimised", "optimised_replaced")
DEFAULT_KIND = "positive"


@dataclass(frozen=True)
class EvidenceCase:
    """One sort of evidence to score.

    Attributes:
        name: under which it is reported.
        kind: of partial truth, see `seg_perception.datasets.partial_truth`.
        class_id: the class it speaks about, for the kinds that speak about one.
        given: ids of the classes that "others" leaves out.
    """

    name: str
    kind: str
    class_id: int | None
    given: tuple[int, ...]


@dataclass(frozen=True)
class Evaluation:
    """What a bundle reached on a dataset.

    Attributes:
        classes: of the bundle.
        confusion: without evidence.
        superpixels: likewise, of the samples that have superpixels.
        latency_ms: of every image without evidence: resizing, model, resizing back.
        cases: the evidence that was scored.
        outcomes: by the case's name, by method of `METHODS`.
    """

    classes: tuple[ClassInfo, ...]
    confusion: ConfusionMatrix
    superpixels: SuperpixelScore
    latency_ms: tuple[float, ...]
    cases: tuple[EvidenceCase, ...]
    outcomes: Mapping[str, Mapping[str, Outcome]]

    def to_record(self) -> dict[str, Any]:
        """As plain JSON values; percent and milliseconds, null for what has no value."""
        names = [info.name for info in self.classes]
        record: dict[str, Any] = {
            "n_images": len(self.latency_ms),
            "miou": self.confusion.miou(),
            "pixel_accuracy": self.confusion.pixel_accuracy,
            "class_iou": dict(zip(names, self.confusion.class_iou.tolist(), strict=True)),
            "latency_ms": percentile_record(self.latency_ms),
        }
        if self.superpixels.total:
            record["superpixel_accuracy"] = self.superpixels.accuracy
        if self.cases:
            record["evidence"] = {
                case.name: {
                    method: outcome.to_record(case.given)
                    for method, outcome in self.outcomes[case.name].items()
                }
                for case in self.cases
            }
        plain: dict[str, Any] = without_nan(record)
        return plain


@dataclass(frozen=True)
class ScoredFrame:
    """One image and its label maps uint8 [h,w] by name, for whoever wants to look at them."""

    sample: Sample
    maps: Mapping[str, NDArray[np.uint8]]


def evidence_cases(
    class_names: Sequence[str] | None, kind: str | None, classes: Sequence[ClassInfo]
) -> tuple[EvidenceCase, ...]:
    """Read `--evidence` and `--evidence-kind`.

    A kind that needs no class (ego_lane, points:F, sets:F) is reported under its own name, and, if
    classes are given too, under theirs as well, where they are what "others" leaves out.

    Args:
        class_names: the classes to give, one after the other; None = not said, () = none.
        kind: None = "positive".
        classes: of the dataset.

    Raises:
        ConfigError: unknown class or kind, or a kind that needs a class and nothing said.
    """
    if class_names is None and kind is not None and parse_kind(kind).of_one_class:
        raise ConfigError(f"evidence kind {kind!r} speaks about one class; name it by --evidence")
    names = class_names or ()
    chosen = DEFAULT_KIND if kind is None else kind
    parsed = parse_kind(chosen)
    ids = class_ids(classes, names)
    cases = [
        EvidenceCase(name, chosen, class_id if parsed.of_one_class else None, (class_id,))
        for name, class_id in zip(names, ids, strict=True)
    ]
    if not parsed.of_one_class:
        given = class_ids(classes, ("road",)) if parsed.name == "ego_lane" else ()
        cases.insert(0, EvidenceCase(parsed.name, chosen, None, given))
    return tuple(cases)


def evaluate(
    runner: Runner,
    dataset: Dataset,
    cases: Sequence[EvidenceCase] = (),
    seed: int = 0,
    observe: Callable[[ScoredFrame], None] = lambda frame: None,
) -> Evaluation:
    """Score a bundle on every image of a dataset.

    Args:
        runner: of the bundle.
        dataset: with the bundle's classes.
        cases: the evidence to score.
        seed: of the evidence; with the image's number it decides, so that all methods and all
            bundles get the same.
        observe: called after every image.

    Raises:
        ConfigError: the dataset has other classes than the bundle, or no images.
        RunnerError: the bundle cannot use the evidence.
    """
    classes = _common_classes(runner, dataset)
    comparer = Comparer(runner)
    comparer.uncorrected(dataset[0].image)  # the first run of a session is slower
    confusion, superpixels = ConfusionMatrix.empty(len(classes)), SuperpixelScore()
    latency_ms: list[float] = []
    nothing = Outcome(confusion, confusion)
    outcomes = {case.name: dict.fromkeys(METHODS, nothing) for case in cases}
    for i in range(len(dataset)):
        sample = dataset[i]
        start = time.perf_counter()
        zero_code = comparer.uncorrected(sample.image)["labels"]
        latency_ms.append(1e3 * (time.perf_counter() - start))
        confusion += ConfusionMatrix.of(zero_code, sample.labels, len(classes))
        if sample.superpixels is not None:
            superpixels += SuperpixelScore.of(
                zero_code, sample.labels, sample.superpixels, len(classes)
            )
        maps = {"zero_code": zero_code}
        for case in cases:
            rng = np.random.default_rng((seed, i))
            for method, labels, outcome in _answers(
                case, sample, dataset, zero_code, comparer, rng
            ):
                outcomes[case.name][method] += outcome
                maps[f"{case.name} {method}"] = labels
        observe(ScoredFrame(sample, maps))
    return Evaluation(classes, confusion, superpixels, tuple(latency_ms), tuple(cases), outcomes)


def _answers(
    case: EvidenceCase,
    sample: Sample,
    dataset: Dataset,
    zero_code: NDArray[np.uint8],
    comparer: Comparer,
    rng: np.random.Generator,
) -> Iterator[tuple[str, NDArray[np.uint8], Outcome]]:
    """Method, label map and score of each way to use one image's evidence."""
    truth = sample.labels
    evidence = partial_truth(
        truth, case.kind, case.class_id, classes=dataset.classes, groups=dataset.groups, rng=rng
    )
    corrected = comparer.corrected(sample.image, [evidence], zero_code)
    known = evidence.index > 0
    for method, labels in zip(
        METHODS,
        (zero_code, corrected[REPLACED], corrected["labels"], corrected[OPTIMISED_REPLACED]),
        strict=True,
    ):
        yield method, labels, Outcome.of(labels, truth, known, len(dataset.classes))


def _common_classes(runner: Runner, dataset: Dataset) -> tuple[ClassInfo, ...]:
    """The classes of both.

    Raises:
        ConfigError: they differ, or there is nothing to score.
    """
    bundle = runner.bundle
    ours, theirs = (
        [c.name for c in classes] for classes in (bundle.manifest.classes, dataset.classes)
    )
    if ours != theirs:
        raise ConfigError(
            f"bundle {bundle.path} tells {', '.join(ours)} apart, but {dataset.name} is labelled "
            f"with {', '.join(theirs)}; use a bundle that was trained for these classes, or say "
            "by a class map which of its classes they are"
        )
    if not len(dataset):
        raise ConfigError(f"{dataset.name} holds no images; choose another split or more frames")
    return bundle.manifest.classes
