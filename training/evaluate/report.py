"""The tables as Markdown, and everything as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seg_perception.classes import ClassInfo
from training.evaluate.published import NOTHING, Paper

HEADINGS = {
    "miou": "mIoU",
    "pixel_accuracy": "accuracy",
    "boundary_f": "boundary F",
    "foreground_iou": "IoU",
    "superpixel_accuracy": "SAP",
}
NONE = "–"


def to_markdown(
    paper: Paper,
    scores: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, str],
    measured_on: str,
    classes: Sequence[ClassInfo],
) -> str:
    """A paper's table, its rows beside ours, and a table of the classes below.

    Args:
        paper: what was published.
        scores: of ours by row, see `Scores.to_record`.
        models: what each of our rows is, in words.
        measured_on: the data of ours, in words.
        classes: of that data.
    """
    keys = [*paper.rows, *(key for key in scores if key not in paper.rows)]
    published, ours = dict(paper.columns), {key: HEADINGS[key] for key in paper.ours}
    header = ["", *(f"{name}, paper" for name in published.values())]
    header += [*(f"{name}, ours" for name in ours.values()), "our model"]
    lines = []
    for key in keys:
        row, mine = paper.rows.get(key, NOTHING), scores.get(key, {})
        cells = [str(row.figures.get(column, NONE)) for column in published]
        cells += [figure(mine.get(column)) for column in ours]
        lines.append([row.method or key, *cells, models.get(key, "")])
    intro = (
        f"### {paper.number} {paper.title}\n\nPaper: {paper.source}; {paper.published_on}. "
        f"Ours: {measured_on}. Percent.\n\n"
    )
    return intro + table(header, lines) + _class_table(paper, scores, classes)


def to_record(
    paper: Paper, scores: Mapping[str, Mapping[str, Any]], models: Mapping[str, str], on: str
) -> dict[str, Any]:
    """Published and ours, as plain JSON values; arguments as `to_markdown`'s."""
    keys = [*paper.rows, *(key for key in scores if key not in paper.rows)]
    return {
        "paper": paper.number,
        "title": paper.title,
        "source": paper.source,
        "published_on": paper.published_on,
        "measured_on": on,
        "rows": {
            key: {
                "method": paper.rows.get(key, NOTHING).method or key,
                "published": dict(paper.rows.get(key, NOTHING).figures),
                "ours": scores.get(key),
                "model": models.get(key),
            }
            for key in keys
        },
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first and last hold figures."""
    marks = ["---", *["---:"] * (len(header) - 2), "---"]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, marks, *rows))


def figure(value: float | None) -> str:
    """With two digits, or a dash."""
    return NONE if value is None else f"{value:.2f}"


def _class_table(
    paper: Paper, scores: Mapping[str, Mapping[str, Any]], classes: Sequence[ClassInfo]
) -> str:
    lines = [
        [f"{row.method}, paper", *map(str, row.class_iou), str(row.figures.get("miou", NONE))]
        for key, row in paper.rows.items()
        if row.class_iou and key in scores
    ]
    lines += [
        [
            f"{paper.rows.get(key, NOTHING).method or key}, ours",
            *map(figure, mine["class_iou"]),
            figure(mine["miou"]),
        ]
        for key, mine in scores.items()
    ]
    header = ["IoU", *(info.name for info in classes), "mean"]
    return "\n" + table(header, lines)
