"""`seg-perception evaluate`: score a bundle on labelled images, without ROS."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from seg_perception.cli.console import bar, out
from seg_perception.cli.opening import dataset_of, in_classes_of, runner_of
from seg_perception.datasets import Dataset
from seg_perception.evaluation.evaluate import ScoredFrame, evaluate, evidence_cases
from seg_perception.evaluation.pictures import write_strip
from seg_perception.evaluation.plain import write_json
from seg_perception.evaluation.tables import evaluation_tables
from seg_perception.runtime.bundle import load_bundle


def run(args: argparse.Namespace) -> None:
    """Evaluate, print, write what was asked for.

    Raises:
        SegPerceptionError: the bundle, the dataset or the evidence is not what it should be.
    """
    bundle = load_bundle(args.bundle)
    dataset = in_classes_of(bundle.manifest, dataset_of(args), args)
    cases = evidence_cases(args.evidence, args.evidence_kind, dataset.classes)
    with runner_of(args, bundle) as runner, bar("evaluating") as progress:
        observe = _observer(args, dataset, progress)
        result = evaluate(runner, dataset, cases, args.seed, observe)
    out.print(*evaluation_tables(result))
    if args.json is not None:
        write_json(result.to_record(), args.json)


def _observer(
    args: argparse.Namespace, dataset: Dataset, progress: Callable[[int, int], None]
) -> Callable[[ScoredFrame], None]:
    """Moves the bar, and writes each picture if they were asked for."""
    done = 0

    def observe(frame: ScoredFrame) -> None:
        nonlocal done
        done += 1
        progress(done, len(dataset))
        if args.pictures is not None:
            write_strip(frame, dataset.classes, args.pictures)

    return observe
