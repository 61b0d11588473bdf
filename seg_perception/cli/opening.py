"""Opening what the options of several commands name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from seg_perception.cli.console import engine_bar
from seg_perception.datasets import Dataset, open_dataset
from seg_perception.datasets.relabel import in_classes, read_class_map
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.manifest import Manifest
from seg_perception.runtime.runner import Runner, open_runner


def dataset_of(args: argparse.Namespace, lidar: bool = False) -> Dataset:
    """The dataset of --dataset, --root, --split, --drives, --limit and --seed.

    Args:
        args: the command line.
        lidar: see `open_dataset`.

    Raises:
        DatasetError: it is not there, or not as it should be.
    """
    return open_dataset(
        args.dataset,
        args.root,
        args.split,
        frames=args.limit,
        drives=args.drives,
        seed=args.seed,
        lidar=lidar,
    )


def in_classes_of(manifest: Manifest, dataset: Dataset, args: argparse.Namespace) -> Dataset:
    """The dataset in the classes of a model, by --class-map where there is one.

    Raises:
        ConfigError: the map is none, or does not fit.
    """
    class_map = None if args.class_map is None else read_class_map(args.class_map)
    return in_classes(dataset, manifest.classes, manifest.class_groups, class_map)


@contextmanager
def runner_of(args: argparse.Namespace, bundle: Bundle) -> Iterator[Runner]:
    """The runner of --runner and --threads, closed in the end.

    Raises:
        RunnerError: there is no such runner here.
    """
    with engine_bar() as progress:
        runner = open_runner(bundle, args.runner, threads=args.threads, progress=progress)
    try:
        yield runner
    finally:
        runner.close()
