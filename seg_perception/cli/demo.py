"""`seg-perception demo`: see the node work, on a rendered street or on a real drive."""

from __future__ import annotations

import argparse
from dataclasses import replace

from seg_perception.cli.console import bar, out
from seg_perception.cli.opening import dataset_of, in_classes_of, runner_of
from seg_perception.cli.replay import node_parameters, open_bundle, replay_bag, show
from seg_perception.datasets import Dataset
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.gallery import Exhibit
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.evaluation.real_samples import real_exhibits
from seg_perception.ros.player import PlayOptions
from seg_perception.runtime.bundle import Bundle

STREET_FRAMES = 60


def run(args: argparse.Namespace) -> None:
    """Make a bag, play it through the node with all it knows, score it, write the report.

    Raises:
        SegPerceptionError: the data is not there, or the node does not answer.
    """
    bundle = open_bundle(args.bundle)
    dataset = in_classes_of(bundle.manifest, _dataset(args), args)
    samples = _samples(args, bundle)
    bag = args.out / "drive"
    with bar(f"making a bag of {dataset.name}") as progress:
        make_bag(dataset, bag, BagOptions(overwrite=True), progress)
    out.print(
        f"drive: {len(dataset)} frames of {dataset.name}, {bag}", markup=False, soft_wrap=True
    )
    options = PlayOptions(parameters=node_parameters(args))
    result = replay_bag(bag, bundle, args, options)
    result = replace(result, exhibits=(*result.exhibits, *samples))
    drive = f"{dataset.name}, {args.split}" + (f", in {args.root}" if args.root else "")
    show(result, bundle, drive, args.out / "scores.json", args.out / "report.html")


def _samples(args: argparse.Namespace, bundle: Bundle) -> tuple[Exhibit, ...]:
    """Pictures of real sensors, for the report; before the drive, lest it be for nothing."""
    if args.samples is None:
        return ()
    with runner_of(args, bundle) as runner:
        return tuple(real_exhibits(args.samples, bundle.manifest, Comparer(runner)))


def _dataset(args: argparse.Namespace) -> Dataset:
    """As told; --camvid DIR is CamVid in DIR, and a street is as long as a demo should be."""
    if args.camvid is not None:
        args.dataset, args.root = "camvid", args.camvid
    if args.dataset == "street" and args.limit is None:
        args.limit = STREET_FRAMES
    return dataset_of(args, lidar=True)
