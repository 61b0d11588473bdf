"""What the commands show: tables on stdout; progress and complaints on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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


def complain(message: str) -> None:
    """Say why a command failed."""
    line = f"seg-perception: {message}"
    err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
