"""What the commands show: tables on stdout; progress and complaints on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

out = Console()
err = Console(stderr=True)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; call what it gives with the number done and the number of all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not err.is_terminal  # a log file wants no bars
    with Progress(
        *columns, TimeRemainingColumn(), console=err, transient=True, disable=hidden
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def engine_bar() -> Iterator[Callable[[str, int, int], bool]]:
    """Progress of an engine's build, phase by phase; nothing is shown before it is called."""
    columns = (TextColumn("building the engine: {task.description}"), BarColumn())
    hidden = not err.is_terminal
    with Progress(
        *columns, MofNCompleteColumn(), console=err, transient=True, disable=hidden
    ) as all_:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> bool:
            if phase not in tasks:
                tasks[phase] = all_.add_task(phase)
                if hidden:  # a log file wants a line for each phase, and no bars
                    err.print(f"building the engine: {phase}", markup=False, highlight=False)
            all_.update(tasks[phase], completed=done, total=total)
            return True

        yield show


def complain(message: str) -> None:
    """Say why a command failed."""
    line = f"seg-perception: {message}"
    err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
