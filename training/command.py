"""What the commands of training have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg_perception.errors import SegPerceptionError
from training.errors import TrainingError
from training.recipe import recipe_names

FAILED, INTERRUPTED = 1, 130  # as `seg-perception` exits; argparse itself exits with 2


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Options that name a recipe, its data and its runs."""
    parser.add_argument("recipe", choices=recipe_names())
    parser.add_argument("--root", type=Path, help="folder of the dataset")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept")
    add_changes(parser)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """The option that changes a recipe; `training.recipe.override` reads it."""
    parser.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="change the recipe, as in docs/training.md; the same for all that is done with a run",
    )


@contextmanager
def mistakes_told(parser: argparse.ArgumentParser, interrupted: str = "stopped") -> Iterator[None]:
    """End the command with one message and no traceback, where its user can mend what is wrong.

    Args:
        parser: of the command.
        interrupted: what to say at Ctrl-C.
    """
    try:
        yield
    except (SegPerceptionError, TrainingError) as error:
        parser.exit(FAILED, f"{parser.prog}: {error}\n")
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename else error
        parser.exit(FAILED, f"{parser.prog}: {told}\n")
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, f"\n{parser.prog}: {interrupted}\n")
