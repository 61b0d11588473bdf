"""What the papers printed; the figures themselves stand in `published.json`, with their sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class Row:
    """One line of a paper's table.

    Attributes:
        method: as the paper calls it.
        figures: published, by column; percent or milliseconds.
        class_iou: published, percent by class id; empty where the paper has none.
        given: the class whose true pixels are given as evidence; "" = none.
        point: what is scored of a model that gets evidence: "replaced", "optimised" or "both".
    """

    method: str
    figures: Mapping[str, float]
    class_iou: tuple[float, ...] = ()
    given: str = ""
    point: str = ""


NOTHING = Row("", {})
"""The published side of a row that only we have."""


@dataclass(frozen=True)
class Paper:
    """A paper's table.

    Attributes:
        number: as in the vocabulary of the project ("003").
        title: of the method.
        source: where in the paper the figures stand.
        published_on: the data they were measured on.
        dataset: that ours are measured on, unless told otherwise.
        columns: of published figures, key and heading.
        ours: our scores that stand beside them, see `Scores.to_record`.
        rows: by their key on the command line.
    """

    number: str
    title: str
    source: str
    published_on: str
    dataset: str
    columns: Mapping[str, str]
    ours: tuple[str, ...]
    rows: Mapping[str, Row]


def papers() -> dict[str, Paper]:
    """All papers by number."""
    return {
        number: Paper(
            number=number,
            ours=tuple(record.pop("ours")),
            rows={key: _row(row) for key, row in record.pop("rows").items()},
            **record,
        )
        for number, record in json.loads(DATA.read_text()).items()
    }


def _row(record: dict[str, Any]) -> Row:
    texts = {key: record.pop(key, "") for key in ("method", "given", "point")}
    class_iou = tuple(record.pop("class_iou", ()))
    return Row(figures=record, class_iou=class_iou, **texts)
