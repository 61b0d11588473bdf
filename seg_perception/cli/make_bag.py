"""`seg-perception make-bag`: write a dataset as a recorded drive."""

from __future__ import annotations

import argparse

from seg_perception.cli.console import bar, out
from seg_perception.cli.opening import dataset_of, in_classes_of
from seg_perception.errors import ConfigError
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.evaluation.sensor_faults import parse_fault
from seg_perception.evaluation.sensors import KnownLabels
from seg_perception.runtime.bundle import load_bundle


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
    dataset = dataset_of(args, lidar=True)
    if args.bundle is not None:
        dataset = in_classes_of(load_bundle(args.bundle).manifest, dataset, args)
    elif args.class_map is not None:
        raise ConfigError("--class-map gives classes of a bundle: name it with --bundle")
    with bar("writing") as progress:
        counts = make_bag(dataset, args.out, options, progress)
    for topic, count in counts.items():
        out.print(f"{count:6d}  {topic}")
