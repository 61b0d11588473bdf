"""The papers' tables, our rows beside the published ones.

``python -m training.evaluate 003 fcn8s=RUN/unary/best.pt#unary fcn8s+dae_y=BUNDLE --root DIR``

A model is a bundle's folder, or a checkpoint RUNS/RECIPE/STAGE/best.pt. What is scored is its last
answer, or that of the point behind ``#``: ``unary``, the name of a refiner of a checkpoint, or
``refined`` of a bundle. Where one row's recipe was changed, the change stands behind a comma, as in
``lr=RUN/joint/best.pt,prior.answer=low``; what all rows share is said by ``--set``. A row that the
paper has not is added below. For paper 004, whose rows all come from one model, give ``all=MODEL``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from seg_perception.datasets import DATASETS, Dataset, Sample, open_dataset
from training.command import add_changes, mistakes_told
from training.errors import TrainingError
from training.evaluate.figures import Figure
from training.evaluate.models import Model, open_model
from training.evaluate.published import NOTHING, Paper, papers
from training.evaluate.report import to_markdown, to_record
from training.evaluate.scoring import Labels, Reading, score

ALL = "all"
NEXT_SETTING = r",(?=[\w.]+=)"
"""What stands before a setting; other commas belong to its value."""


def readings_of(
    paper: Paper, assignments: Sequence[str], settings: Sequence[str]
) -> dict[str, Reading]:
    """Open the models of ROW=MODEL[#POINT][,FIELD=VALUE...], each once.

    Raises:
        TrainingError: an assignment is not of that form, or a model has no such point.
    """
    models: dict[str, Model] = {}
    readings = {}
    for assignment in assignments:
        key, separator, source = assignment.partition("=")
        place, *own = re.split(NEXT_SETTING, source)
        path, _, point = place.partition("#")
        if not (key and separator and path):
            raise TrainingError(f"{assignment!r} is not of the form ROW=MODEL or ROW=MODEL#POINT")
        model = ",".join((path, *own))
        if model not in models:
            models[model] = open_model(Path(path), (*settings, *own))
        for row in paper.rows if key == ALL else [key]:
            readings[row] = _reading(models[model], paper, row, point)
    return readings


def _reading(model: Model, paper: Paper, key: str, point: str) -> Reading:
    row = paper.rows.get(key, NOTHING)
    if row.given:
        return Reading(model, row.point, row.given)
    if point and point not in model.points:
        raise TrainingError(
            f"{key}: no point {point!r} in the model; use {', '.join(model.points)}"
        )
    return Reading(model, point or model.points[-1])


def run(options: argparse.Namespace) -> str:
    """Score, write what was asked for, and return the table.

    Raises:
        TrainingError: models, rows or data do not fit together.
        SegPerceptionError: a bundle or the dataset is not what it should be.
    """
    paper = papers()[options.paper]
    readings = readings_of(paper, options.rows, options.set)
    dataset = open_dataset(
        options.dataset or paper.dataset,
        options.root,
        options.split,
        drives=options.drives,
        frames=options.limit,
    )
    count = len(range(0, len(dataset), options.every))
    figure = Figure(dataset.classes, count, options.pictures)
    with tqdm(total=count, desc=f"paper {paper.number}") as bar:

        def observe(sample: Sample, labels: Mapping[str, Labels]) -> None:
            named = {paper.rows.get(k, NOTHING).method or k: one for k, one in labels.items()}
            figure.add(sample, named)
            bar.update()

        scores = score(readings, dataset, observe, options.every)
    found = {key: one.to_record() for key, one in scores.items()}
    if options.figure:
        figure.write(options.figure)
    return _written(paper, found, dataset, count, options)


def _written(
    paper: Paper,
    found: Mapping[str, Mapping[str, Any]],
    dataset: Dataset,
    count: int,
    options: argparse.Namespace,
) -> str:
    sources = dict(assignment.partition("=")[::2] for assignment in options.rows)
    models = {key: sources.get(key, sources.get(ALL, "")) for key in found}
    drives = f" ({', '.join(options.drives)})" if options.drives else ""
    measured_on = f"{dataset.name} {options.split}{drives}, {count} images"
    markdown = to_markdown(paper, found, models, measured_on, dataset.classes)
    if options.markdown:
        options.markdown.write_text(markdown)
    if options.json:
        record = to_record(paper, found, models, measured_on)
        options.json.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
    return markdown


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="rows:\n"
        + "".join(f"  {p.number}  {p.title}: {', '.join(p.rows)}\n" for p in papers().values()),
    )
    parser.add_argument("paper", choices=tuple(papers()))
    parser.add_argument("rows", nargs="+", metavar="ROW=MODEL[#POINT][,FIELD=VALUE]")
    parser.add_argument("--root", type=Path, help="folder of the dataset")
    parser.add_argument("--dataset", choices=tuple(DATASETS), help="default: the paper's stand-in")
    parser.add_argument("--split", default="val")
    parser.add_argument("--drives", nargs="*", help="only these")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="score every Nth image only"
    )
    parser.add_argument("--json", type=Path, help="write all figures")
    parser.add_argument("--markdown", type=Path, help="write the table")
    parser.add_argument("--figure", type=Path, help="write a PNG: image, truth, each row")
    parser.add_argument("--pictures", type=int, default=4, help="images in the figure")
    parser.add_argument("--threads", type=int, help="CPU threads")
    add_changes(parser)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    with mistakes_told(parser):
        table = run(options)
    print(table)  # noqa: T201


if __name__ == "__main__":
    main()
