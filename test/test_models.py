"""What the released model promises, held against rendered streets that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from seg_perception.datasets import Sample, open_dataset
from seg_perception.datasets.faults import lie
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.scores import Outcome
from seg_perception.evidence.record import Evidence
from seg_perception.runtime.bundle import Bundle, check_bundle, load_bundle
from seg_perception.runtime.runner import Runner, open_runner

DEFAULT = Path(__file__).parents[1] / "models" / "default"
LARGEST = 15_000_000  # bytes


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(DEFAULT)


@pytest.fixture(scope="module")
def runner(bundle: Bundle) -> Iterator[Runner]:
    runner = open_runner(bundle, "onnx", threads=1)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    street = open_dataset("street", None, "val", frames=40, seed=7)
    return [street[index] for index in range(0, 40, 5)]


def scored(
    runner: Runner,
    samples: list[Sample],
    kind: str,
    spoil: Callable[[Evidence, np.random.Generator], Evidence] = lambda evidence, _: evidence,
) -> tuple[Outcome, Outcome]:
    """Without and with evidence, pooled over the samples."""
    manifest, comparer = runner.bundle.manifest, Comparer(runner)
    outcomes = []
    for index, sample in enumerate(samples):
        rng = np.random.default_rng(index)
        evidence = partial_truth(
            sample.labels,
            kind,
            None,
            classes=manifest.classes,
            groups=manifest.class_groups,
            rng=rng,
        )
        evidence = spoil(evidence, rng)
        before = comparer.uncorrected(sample.image)["labels"]
        after = comparer.corrected(sample.image, [evidence], before)["labels"]
        known = evidence.index > 0
        pair = [
            Outcome.of(labels, sample.labels, known, manifest.n_classes)
            for labels in (before, after)
        ]
        outcomes.append(pair)
    before, after = outcomes[0]
    for pair in outcomes[1:]:
        before, after = before + pair[0], after + pair[1]
    return before, after


def test_it_answers_here_as_it_did_where_it_was_made(bundle: Bundle, runner: Runner) -> None:
    check_bundle(bundle, runner)


def test_it_is_small_and_says_where_it_comes_from(bundle: Bundle) -> None:
    assert sum(file.stat().st_size for file in DEFAULT.iterdir()) <= LARGEST
    assert {entry["name"] for entry in bundle.manifest.provenance["data"]} == {"camvid", "street"}
    card = (DEFAULT / "MODEL_CARD.md").read_text()
    assert "CC BY-NC" in card
    assert "leave_one_drive_out" in card


def test_known_points_mend_a_tenth_of_the_errors_elsewhere(
    runner: Runner, samples: list[Sample]
) -> None:
    before, after = scored(runner, samples, "points:0.01")
    wrong = 100 - before.outside.pixel_accuracy
    assert after.outside.pixel_accuracy > before.outside.pixel_accuracy + 0.1 * wrong
    assert after.outside.miou() > before.outside.miou()


def test_a_lane_is_believed_and_harms_nothing_else(runner: Runner, samples: list[Sample]) -> None:
    before, after = scored(runner, samples, "ego_lane")
    assert after.everywhere.pixel_accuracy > before.everywhere.pixel_accuracy
    assert after.outside.miou() > before.outside.miou() - 0.1


@pytest.mark.parametrize("kind", ["points:0.01", "ego_lane", "sets:0.05"])
def test_a_fifth_of_lies_is_no_worse_than_no_evidence(
    runner: Runner, samples: list[Sample], kind: str
) -> None:
    before, after = scored(runner, samples, kind, lambda evidence, rng: lie(evidence, 0.2, rng))
    assert after.everywhere.miou() > before.everywhere.miou() - 0.2
