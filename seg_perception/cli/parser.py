"""What the command line takes. Light to import, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seg_perception.datasets.registry import DATASETS

EPILOG = "exit codes: 0 done, 1 failed (one line says why and what to do), 2 wrong usage"
KINDS_HELP = """\
kinds of evidence, made from the truth (void pixels are never known):
  positive    all pixels of the class
  complete    those, and "not the class" on all others (so that nothing is "outside": null)
  partial:F   a random fraction F of the pixels of the class, as in partial:0.1
  ego_lane    road pixels in a wedge like the lane ahead; needs no class
  points:F    a random fraction F of all pixels, each with its label; needs no class
  sets:F      the same, only ground / obstacle / sky being known; needs no class
"""

FAULTS_HELP = """\
faults, as in --fault depth:noise=0.05,drop=0.3 --fault points:yaw=2:
  noise=N     lane_mask, labels: this fraction of the pixels says something random;
              depth: standard deviation in parts of the depth; lane_borders, points: in metres
  bias=M      depth, lane_borders, points: everything seems M metres further away
  shift=F     lane_mask, labels, depth: F of the image's width too far to the right
  yaw=D, pitch=D   lane_borders, points: calibration wrong by D degrees, to the right or down
  drop=P      any: missing with this probability
  delay=S     any: S seconds older than its stamp says
"""
SOURCES = {
    "lanes": ("lane_mask", "lane_borders"),
    "lidar": ("points",),
    **{name: (name,) for name in ("lane_mask", "lane_borders", "depth", "points", "labels")},
}
SOURCES_HELP = "lanes (lane_mask and lane_borders), depth, lidar (points), labels"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen one's name is left in `command`."""
    parser = argparse.ArgumentParser(
        prog="seg-perception",
        description="Semantic segmentation that can be corrected while driving: "
        "try it, score it, record and replay drives.",
        epilog=f"seg-perception COMMAND --help tells more. {EPILOG}",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (
        _add_demo,
        _add_evaluate,
        _add_make_bag,
        _add_replay,
        _add_inspect,
        _add_build_engine,
    ):
        add(commands)
    return parser


def _add_command(commands: Any, name: str, help_: str, more: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        epilog=f"{more}\n{EPILOG}" if more else EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name)
    return parser


def _add_demo(commands: Any) -> None:
    parser = _add_command(
        commands, "demo", "drive through a rendered street, or a real one, and see it scored"
    )
    parser.add_argument(
        "--camvid",
        type=Path,
        metavar="DIR",
        help="the same as --dataset camvid --root DIR (train/ trainannot/ val/ ...)",
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        help="show frames of real sensors, too: KITTI's lidar in DIR/kitti (image_2/ velodyne/ "
        "calib/) and TuSimple's lane lines in DIR/tusimple (image/ lane_instance/)",
    )
    _add_dataset_options(parser, default="street")
    _add_class_map(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="where to put the bag, report.html and scores.json (default: demo)",
    )
    _add_bundle_options(parser)


def _add_evaluate(commands: Any) -> None:
    parser = _add_command(
        commands,
        "evaluate",
        "score a bundle on labelled images, without ROS",
        f"{KINDS_HELP}\n"
        "scores, in percent: zero_code = without evidence; replaced = zero_code, its scores\n"
        "restricted to what the evidence allows; optimised = corrected by the evidence;\n"
        "optimised_replaced = both. miou_others leaves out the given classes, outside_* look\n"
        "only at pixels without evidence. Evidence of a kind that needs no class is reported\n"
        "under the kind's name (ego_lane, points, sets), and under each class given as well.\n",
    )
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="the folder of the model bundle"
    )
    _add_dataset_options(parser)
    _add_class_map(parser)
    parser.add_argument(
        "--evidence",
        type=_names,
        metavar="none|CLASS[,CLASS...]",
        help="give the model these classes, one after the other (default: none)",
    )
    parser.add_argument(
        "--evidence-kind", metavar="KIND", help="how they are given, see below (default: positive)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write every image and its label maps as PNG"
    )
    _add_runner_options(parser)


def _add_make_bag(commands: Any) -> None:
    parser = _add_command(
        commands,
        "make-bag",
        "write a dataset as a recorded drive (rosbag2)",
        "topics: image or image/compressed, camera_info, truth/labels, tf_static, odometry,\n"
        "evidence/*; of the last three, what the dataset tells enough for. They are the node's\n"
        f"own, so that `ros2 bag play` drives it without remapping.\n\n{FAULTS_HELP}\n{KINDS_HELP}",
    )
    _add_dataset_options(parser)
    _add_class_map(parser)
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="write labels in the classes of this model (default: in those of the dataset)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bag to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a bag that is there")
    parser.add_argument(
        "--storage", choices=("mcap", "sqlite3"), default="mcap", help="file format (default: mcap)"
    )
    parser.add_argument("--compressed", action="store_true", help="images as JPEG")
    parser.add_argument(
        "--rate", type=float, metavar="HZ", help="frames a second (default: as recorded)"
    )
    parser.add_argument(
        "--evidence",
        type=_sources,
        metavar="none|SOURCE[,SOURCE...]",
        help=f"what to make from the truth: {SOURCES_HELP} (default: lanes, depth and lidar, as "
        "far as the dataset tells enough)",
    )
    parser.add_argument(
        "--evidence-kind",
        default="points:0.01",
        metavar="KIND",
        help="what evidence/labels holds, see below: positive, partial:F, ego_lane or points:F "
        "(default: points:0.01)",
    )
    parser.add_argument(
        "--evidence-class", metavar="CLASS", help="the class of evidence/labels, if its kind asks"
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="SOURCE:NAME=NUMBER[,...]",
        help="spoil a source, see below; repeatable, for different sources",
    )


def _add_replay(commands: Any) -> None:
    parser = _add_command(
        commands,
        "replay",
        "play a bag into the real node, in a process of its own, and score its answers",
        "Images are found by their type where they are not on /image; truth on */truth/labels\n"
        "and evidence on */evidence/*. Without truth there are latencies and pictures only.\n"
        "Each frame waits for the answer to the one before (good for scores), unless --rate is\n"
        "given (good for latency under load: frames that come too fast are dropped and counted).\n"
        "\n"
        "unrefined, refined and replaced are computed after the drive, by the same bundle, from\n"
        "the same images and evidence, and so is what each source of evidence brings alone;\n"
        "corrected is what the node answered, with all of them.\n",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "bag", type=Path, nargs="?", metavar="BAG", help="a rosbag2 folder, or one .mcap or .db3"
    )
    source.add_argument(
        "--live",
        action="store_true",
        help="play nothing: listen to a running node and whoever feeds it (`ros2 bag play`), in "
        "the ROS domain of the environment, until Ctrl-C or --idle seconds of silence",
    )
    parser.add_argument(
        "--rate",
        metavar="HZ|bag",
        type=_rate,
        help="send frames at this rate, or as the bag's stamps say (default: wait for answers)",
    )
    parser.add_argument("--image-topic", metavar="TOPIC", help="where the images are")
    parser.add_argument(
        "--topic",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME:=TOPIC",
        help="where else something is in the bag, as in --topic points:=/lidar/points; repeatable",
    )
    _add_class_map(parser)
    parser.add_argument("--frames", type=_positive, metavar="N", help="only the first N frames")
    parser.add_argument(
        "--evidence",
        type=_sources,
        metavar="none|SOURCE[,SOURCE...]",
        help=f"give the node only this evidence of the bag: {SOURCES_HELP} (default: all)",
    )
    parser.add_argument(
        "--param",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="set a parameter of the node, as in --param temporal_precision:=0.5; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write a report as one HTML file"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="how long to wait for the node to come up (default: 120)",
    )
    parser.add_argument(
        "--idle", type=float, default=5.0, metavar="S", help="see --live (default: 5)"
    )
    parser.add_argument(
        "--node", default="/segmentation", metavar="NAME", help="the node that --live listens to"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="with --live: also compute unrefined, refined and replaced here, which takes CPU time "
        "from the node",
    )
    _add_bundle_options(parser)


def _add_inspect(commands: Any) -> None:
    parser = _add_command(commands, "inspect", "show what a bundle is, and whether it is intact")
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="the folder of the model bundle"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="run the golden self-test: does the model answer here as where it was made?",
    )
    _add_runner_options(parser)


def _add_build_engine(commands: Any) -> None:
    parser = _add_command(
        commands,
        "build-engine",
        "build a bundle's TensorRT engine for this GPU, test it and keep it",
        "Takes minutes, once for each bundle, GPU and TensorRT version. The node does the same at\n"
        "its first start; it takes the engine that was built last. Engines are kept in\n"
        "$XDG_CACHE_HOME/seg_perception, by default ~/.cache/seg_perception.\n",
    )
    parser.add_argument(
        "bundle", type=Path, metavar="BUNDLE", help="the folder of the model bundle"
    )
    parser.add_argument(
        "--precision",
        choices=("fp16", "fp32"),
        default="fp16",
        help="of the network; the solve for the code is always fp32 (default: fp16)",
    )
    parser.add_argument(
        "--workspace",
        type=_positive,
        default=1024,
        metavar="MIB",
        help="GPU memory that one layer may use while it runs (default: 1024)",
    )
    parser.add_argument(
        "--build-only", action="store_true", help="do not measure the time of a frame"
    )


def _add_class_map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--class-map",
        type=Path,
        metavar="FILE",
        help="where the truth has other classes than the bundle: a JSON object that gives each "
        'of them a class of the bundle, or null for void, as {"vegetation": "tree", ...}',
    )


def _add_dataset_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--dataset",
        choices=tuple(DATASETS),
        required=default is None,
        default=default,
        help="street is rendered; docs/datasets.md shows how the others must lie in --root",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the dataset lies")
    parser.add_argument(
        "--split",
        default="val",
        metavar="NAME",
        help="train, val, test, or another that the dataset has (default: val)",
    )
    parser.add_argument(
        "--drives", type=_names, metavar="NAME[,NAME...]", help="only these of a recorded dataset"
    )
    parser.add_argument(
        "--limit", "--frames", type=_positive, metavar="N", help="only the first N images"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random")


def _add_runner_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runner",
        default="auto",
        metavar="KIND",
        help="auto, tensorrt, onnx or onnx_cuda (default: auto)",
    )
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="CPU threads (default: one per core)"
    )


def _add_bundle_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="the model bundle (default: the one that comes with the package)",
    )
    _add_runner_options(parser)


def _names(text: str) -> tuple[str, ...]:
    """A comma-separated list; "none" is the empty one."""
    return () if text == "none" else tuple(name.strip() for name in text.split(",") if name.strip())


def _sources(text: str) -> tuple[str, ...]:
    """Sources of evidence, each once, by their names or those of their groups."""
    names = _names(text)
    unknown = [name for name in names if name not in SOURCES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no evidence {', '.join(unknown)}: use {', '.join(SOURCES)} or none"
        )
    return tuple(dict.fromkeys(source for name in names for source in SOURCES[name]))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _rate(text: str) -> float | str:
    if text == "bag":
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a rate above 0 nor 'bag'")
    return rate


def _assignment(text: str) -> tuple[str, str]:
    """A parameter's name and value, as ROS writes them: NAME:=VALUE."""
    name, assigned, value = text.partition(":=")
    if not (name and assigned):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:=VALUE")
    return name, value
