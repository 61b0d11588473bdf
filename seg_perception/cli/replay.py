"""`seg-perception replay`: play a bag into the real node, or listen to a running one; score it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.cli.console import bar, out
from seg_perception.cli.opening import runner_of
from seg_perception.datasets.relabel import ClassMap, label_table, read_class_map
from seg_perception.errors import ConfigError
from seg_perception.evaluation.bag import TRUTH_INFO_TOPIC, Bag
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.plain import write_json
from seg_perception.evaluation.replay import ReplayResult, Scorer
from seg_perception.evaluation.report import write_report
from seg_perception.evaluation.tables import replay_tables
from seg_perception.ros.frames import Frames
from seg_perception.ros.live import Live, LiveOptions
from seg_perception.ros.parameters import settings_of
from seg_perception.ros.player import PlayOptions, play
from seg_perception.ros.recorded import replayed_frames
from seg_perception.ros.senses import make_senses
from seg_perception.ros.share import share_path
from seg_perception.runtime.bundle import Bundle, load_bundle

DEFAULT_BUNDLE = "models/default"


def run(args: argparse.Namespace) -> None:
    """Replay or listen, print, write what was asked for.

    Raises:
        SegPerceptionError: the bag, the bundle or the node is not what it should be.
    """
    if args.live:
        _refuse_what_plays(args)
    bundle = open_bundle(args.bundle)
    if args.live:
        result, drive = _listen(args, bundle), f"live from {args.node}"
    else:
        class_map = None if args.class_map is None else read_class_map(args.class_map)
        result = replay_bag(args.bag, bundle, args, _play_options(args), class_map)
        drive = str(args.bag)
    show(result, bundle, drive, args.json, args.report)


def open_bundle(path: Path | None) -> Bundle:
    """The bundle of --bundle; None = the one that comes with the package.

    Raises:
        BundleError: it is not intact.
        ConfigError: the package came without one.
    """
    return load_bundle(share_path(DEFAULT_BUNDLE) if path is None else path)


def replay_bag(
    path: Path,
    bundle: Bundle,
    args: argparse.Namespace,
    options: PlayOptions,
    class_map: ClassMap | None = None,
) -> ReplayResult:
    """Play a bag through the node, then score what it answered.

    Args:
        path: of the bag.
        bundle: for the node, and for what it is compared with.
        args: --runner and --threads for both, --image-topic and --topic.
        options: how to play.
        class_map: the bundle's class of each of the truth's, where they differ.

    Raises:
        SegPerceptionError: the bag cannot be read, or the node does not answer.
    """
    topics = dict(getattr(args, "topic", ()))
    settings = settings_of(options.parameters)  # before the drive, lest it be for nothing
    with Bag(path, getattr(args, "image_topic", None), topics) as bag:
        table = _truth_table(bag, bundle.manifest.classes, options, class_map)
        with bar("driving") as progress:
            log = play(bag, bundle.path, options, progress)
        with runner_of(args, bundle) as runner, bar("scoring") as progress:
            scorer = Scorer(bundle.manifest.classes, Comparer(runner))
            senses = make_senses(bundle.manifest, Frames(), settings)
            frames = replayed_frames(bag, log, senses, table)
            for i, frame in enumerate(frames, start=1):
                scorer.add(frame)
                progress(i, log.transport.answered)
    return scorer.result(log.transport)


def node_parameters(args: argparse.Namespace) -> dict[str, str]:
    """Parameters of the node that --runner and --threads stand for."""
    threads = {} if args.threads is None else {"threads": str(args.threads)}
    return {"runner": args.runner, **threads}


def show(
    result: ReplayResult, bundle: Bundle, drive: str, json: Path | None, report: Path | None
) -> None:
    """Print the tables; write JSON and report where they are wanted.

    Raises:
        SegPerceptionError: a file cannot be written.
    """
    out.print(*replay_tables(result))
    if json is not None:
        write_json(result.to_record(), json)
        out.print(f"figures: {json}", markup=False, soft_wrap=True)
    if report is not None:
        about = {"drive": drive, "model": f"{bundle.manifest.name} ({bundle.digest[:12]})"}
        write_report(result, report, "Segmentation replay", about)
        out.print(f"report: {report}", markup=False, soft_wrap=True)


def _play_options(args: argparse.Namespace) -> PlayOptions:
    return PlayOptions(
        rate_hz=args.rate if isinstance(args.rate, float) else None,
        paced=args.rate == "bag",
        sources=args.evidence,
        frames=args.frames,
        parameters={**node_parameters(args), **dict(args.param)},
        start_timeout_s=args.timeout,
    )


def _truth_table(
    bag: Bag, classes: Sequence[ClassInfo], options: PlayOptions, class_map: ClassMap | None
) -> NDArray[np.uint8] | None:
    """The class of each id of the truth, uint8 [256]; None where they are the bundle's.

    Raises:
        ConfigError: they are others, and no map says which.
    """
    theirs, ours = bag.truth_classes, [info.name for info in classes]
    if theirs is None:
        if class_map is not None:
            raise ConfigError(
                f"{bag.path} does not name the classes of its truth ({TRUTH_INFO_TOPIC}), so that "
                "--class-map cannot be applied: leave it out, or make the bag anew"
            )
        return None
    names = [info.name for info in theirs]
    if class_map is None and names == ours:
        return None
    if class_map is None and set(names) != set(ours):
        raise ConfigError(
            f"the truth of {bag.path} tells {', '.join(names)} apart, the bundle "
            f"{', '.join(ours)}: say with --class-map which of the bundle's classes they are"
        )
    if "labels" in bag.topics.evidence and options.gives("labels"):
        raise ConfigError(
            f"evidence/labels of {bag.path} has other class ids than the bundle: make the bag with "
            "--bundle and --class-map, or leave the source out, as in --evidence lanes,depth,lidar"
        )
    return label_table(str(bag.path), theirs, classes, class_map or {name: name for name in names})


def _refuse_what_plays(args: argparse.Namespace) -> None:
    """Options that say how a bag is played would otherwise be passed over in silence.

    Raises:
        ConfigError: one is given.
    """
    options = {
        "--rate": args.rate,
        "--topic": args.topic or None,
        "--evidence": args.evidence,
        "--class-map": args.class_map,
    }
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"--live plays nothing: leave out {', '.join(given)}, or give a bag")


def _listen(args: argparse.Namespace, bundle: Bundle) -> ReplayResult:
    options = LiveOptions(args.node, args.image_topic, args.frames, args.timeout, args.idle)
    comparing = runner_of(args, bundle) if args.compare else nullcontext()
    settings = settings_of(dict(args.param))
    with comparing as runner, Live(options, bundle.manifest, settings) as live:
        scorer = Scorer(bundle.manifest.classes, None if runner is None else Comparer(runner))
        with bar(f"listening to {args.node}, Ctrl-C to end") as progress:
            for i, frame in enumerate(live.frames(), start=1):
                scorer.add(frame)
                progress(i, args.frames or i)
        return scorer.result(live.transport())
