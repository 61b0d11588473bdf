"""The command `seg-perception`: demo, evaluate, make-bag, replay, inspect, build-engine.

Every command is a module of this package with a function `run`, imported only when it is asked
for: `evaluate` and `inspect` work without ROS.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from importlib import import_module

from seg_perception.cli.console import complain
from seg_perception.cli.parser import build_parser
from seg_perception.errors import SegPerceptionError

OK, FAILED, INTERRUPTED = 0, 1, 130  # argparse itself exits with 2 on wrong usage

HOW_TO_INSTALL = (
    "for ROS 2 source one (. /opt/ros/<distro>/setup.sh) or "
    "pip install -r requirements/ros.in, for all else pip install -r requirements/vehicle.in"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Args:
        argv: the arguments; None = those of the process.
    """
    args = build_parser().parse_args(argv)
    # As Ctrl-C: a node that was started must not outlive the command.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        import_module(f"{__name__}.{args.command.replace('-', '_')}").run(args)
    except ImportError as error:
        complain(f"{args.command}: {error}; {HOW_TO_INSTALL}")
        return FAILED
    except SegPerceptionError as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return OK
