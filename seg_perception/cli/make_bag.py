"""`seg-perception make-bag`: write a dataset as a recorded drive."""

from __future__ import annotations

import argparse

from seg_perception.cli.console import bar, out
from seg_perception.cli.opening import dataset_of
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.evaluation.sensor_faults import parse_fault
from seg_perception.evaluation.sensors import KnownLabels


def run(args: argparse.Namespace) -> None:
    """Write the bag and say what it holds.

    Raises:
        SegPerceptionError: the dataset is not there, a fault is none, or the bag cannot be written.
    """
    options = BagOptions(
        storage=args.storage,
        compressed=args.compressed,
        evidence=args.evidence,
        labels=KnownLabels(args.evidence_kind, args.evidence_class),
        faults=tuple(map(parse_fault, args.fault)),
        seed=args.seed,
        rate_hz=args.rate,
        overwrite=args.overwrite,
    )
    with bar("writing") as progress:
        counts = make_bag(dataset_of(args), args.out, options, progress)
    for topic, count in counts.items():
        out.print(f"{count:6d}  {topic}")
