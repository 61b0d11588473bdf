"""Means over seeds of what ``bench/papers.py`` left in RUNS.

``python bench/papers_seeds.py 003 --runs RUNS``

Two tables: the rows as mIoU / pixel accuracy / boundary F, and the steps of mIoU between the
paper's rows, mean and each seed. What is left out is averaged over the drives that have every seed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIGURES = ("miou", "pixel_accuracy", "boundary_f")

Rows = dict[str, NDArray[np.float64]]
"""Percent [3] as in `FIGURES`, by row."""


@dataclass(frozen=True)
class Seeds:
    """What was measured of one paper.

    Attributes:
        splits: rows by seed, by what was scored: "val", drives left out, their mean.
        published: rows that the paper has.
    """

    splits: Mapping[str, Mapping[int, Rows]]
    published: Sequence[str]

    def report(self) -> str:
        """Both tables, in Markdown."""
        heads = [f"{name} (seeds {_listed(found)})" for name, found in self.splits.items()]
        tables = [rows for found in self.splits.values() for rows in found.values()]
        figures = [
            [row, *(_figures(list(found.values()), row) for found in self.splits.values())]
            for row in dict.fromkeys(row for rows in tables for row in rows)
        ]
        steps = [
            [f"{row} -> {other}", *(_steps(found, row, other) for found in self.splits.values())]
            for row, other in pairwise(self.published)
        ]
        return "\n\n".join(_table(["", *heads], lines) for lines in (figures, steps))


def read(paper: str, runs: Path) -> Seeds:
    """Everything in the folder that is of a paper.

    Raises:
        SystemExit: nothing is.
    """
    splits: dict[str, dict[int, Rows]] = {}
    published: list[str] = []
    name = re.compile(rf"{paper}-seed(\d+)(?:-without-(\w+))?\.json")
    matches = (name.fullmatch(path.name) for path in runs.glob("*.json"))
    for match in sorted(filter(None, matches), key=lambda found: (found[2] or "", int(found[1]))):
        rows = json.loads((runs / match[0]).read_text())["rows"]
        ours = {key: row["ours"] for key, row in rows.items() if row["ours"]}
        published = [key for key in ours if rows[key]["published"]]
        found = {key: np.array([row[figure] for figure in FIGURES]) for key, row in ours.items()}
        splits.setdefault(match[2] or "val", {})[int(match[1])] = found
    if not splits:
        raise SystemExit(f"no table of {paper} in {runs}: python bench/papers.py {paper} ...")
    return Seeds({**splits, **_mean_of_left_out(splits)}, published)


def _mean_of_left_out(splits: Mapping[str, Mapping[int, Rows]]) -> dict[str, dict[int, Rows]]:
    seeds = {seed for found in splits.values() for seed in found}
    drives = [found for name, found in splits.items() if name != "val" and set(found) == seeds]
    if not drives:
        return {}
    rows = [
        row
        for row in drives[0][min(seeds)]
        if all(row in d[seed] for d in drives for seed in seeds)
    ]
    means = {seed: {row: _mean([d[seed][row] for d in drives]) for row in rows} for seed in seeds}
    return {f"mean of {len(drives)} left-out": means}


def _mean(percent: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean(percent, axis=0))


def _figures(seeds: Sequence[Rows], row: str) -> str:
    measured = [rows[row] for rows in seeds if row in rows]
    if not measured:
        return "–"
    miou, accuracy, edges = _mean(measured)
    fewer = f" ({len(measured)} of {len(seeds)} seeds)" if len(measured) < len(seeds) else ""
    return f"{miou:.2f} / {accuracy:.2f} / {edges:.1f}{fewer}"


def _steps(found: Mapping[int, Rows], row: str, other: str) -> str:
    steps = [found[seed][other][0] - found[seed][row][0] for seed in sorted(found)]
    return f"{np.mean(steps):+.2f} ({', '.join(f'{step:+.2f}' for step in steps)})"


def _listed(found: Mapping[int, Rows]) -> str:
    return ", ".join(map(str, sorted(found)))


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paper", choices=("001", "002", "003"))
    parser.add_argument("--runs", type=Path, default=Path("runs/papers"))
    options = parser.parse_args()
    print(read(options.paper, options.runs).report())


if __name__ == "__main__":
    main()
