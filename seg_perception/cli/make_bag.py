"""`seg-perception make-bag`: write a dataset as a recorded drive."""

from __future__ import annotations

import argparse

from seg_perception.cli.console import bar, out
from seg_perception.cli.opening import dataset_of
from seg_perception.evaluation.make_bag import BagOptions, make_bag


def run(args: argparse.Namespace) -> None:
    """Write the bag and say what it holds.

    Raises:
        SegPerceptionError: the dataset is not there, or the bag cannot be written.
    """
    dataset = dataset_of(args)
    usual = ("lane_mask",) if "road" in {info.name for info in dataset.classes} else ()
    options = BagOptions(
        storage=args.storage,
        compressed=args.compressed,
        evidence=usual if args.evidence is None else args.evidence,
        labels_kind=args.evidence_kind,
        labels_class=args.evidence_class,
        seed=args.seed,
        rate_hz=args.rate,
        overwrite=args.overwrite,
    )
    with bar("writing") as progress:
        counts = make_bag(dataset, args.out, options, progress)
    for topic, count in counts.items():
        out.print(f"{count:6d}  {topic}")
