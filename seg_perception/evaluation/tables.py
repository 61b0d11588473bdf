"""Results as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from seg_perception.evaluation.evaluate import Evaluation
from seg_perception.evaluation.gains import GAIN_COLUMNS, gain_rows
from seg_perception.evaluation.replay import ReplayResult

SCORE_COLUMNS = {
    "pixel_accuracy": "accuracy",
    "miou": "mIoU",
    "miou_others": "mIoU others",
    "outside_pixel_accuracy": "outside acc.",
    "outside_miou": "outside mIoU",
}


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """Scores without evidence, then one table for each sort of evidence."""
    record = evaluation.to_record()
    latency = record["latency_ms"]
    summary = _table(
        f"{record['n_images']} images, without evidence, percent",
        ("mIoU", "accuracy", "p50 ms", "p90 ms", "p99 ms"),
    )
    summary.add_row(
        *map(number, (record["miou"], record["pixel_accuracy"])),
        *(number(latency[p]) for p in ("p50", "p90", "p99")),
    )
    if "superpixel_accuracy" in record:
        summary.caption = f"superpixel accuracy {number(record['superpixel_accuracy'])}"
    classes = _class_table({"IoU": record["class_iou"]})
    return [summary, classes, *_evidence_tables(evaluation, record)]


def replay_tables(result: ReplayResult) -> list[Table]:
    """Frames and latency, then, where there is truth, the scores of each method."""
    record = result.to_record()
    tables = [_latency_table(record, result.node_counts)]
    if record["methods"]:
        columns = {**SCORE_COLUMNS, "boundary_f": "boundary F"}
        given = ", ".join(record["evidence_classes"]) or "none"
        title = f"{record['frames']['scored']} frames, percent; evidence of: {given}"
        tables.append(_score_table(title, record["methods"], columns))
        tables += _gain_tables(record)
        tables.append(_class_table({name: m["class_iou"] for name, m in record["methods"].items()}))
    return tables


def number(value: float | None) -> str:
    """A figure with two digits, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def _evidence_tables(evaluation: Evaluation, record: Mapping[str, Any]) -> list[Table]:
    names = {case.name: case.kind for case in evaluation.cases}
    return [
        _score_table(f"evidence: {name} ({kind})", record["evidence"][name], SCORE_COLUMNS)
        for name, kind in names.items()
    ]


def _latency_table(record: Mapping[str, Any], counts: str) -> Table:
    frames = record["frames"]
    table = _table(
        f"{record['mode']}: {frames['sent']} frames sent, {frames['answered']} answered, "
        f"{frames['dropped']} dropped, {number(record['answers_per_second'])} answers a second",
        ("milliseconds", "p50", "p90", "p99"),
    )
    for name, points in {
        **record["stage_ms"],
        "stamp to publish": record["stamp_to_publish_ms"],
    }.items():
        table.add_row(name, *(number(points[p]) for p in ("p50", "p90", "p99")))
    table.caption = f"the node counted: {counts}"
    return table


def _gain_tables(record: Mapping[str, Any]) -> list[Table]:
    rows = gain_rows(record)
    if not rows:
        return []
    title = "what each source brought alone, percentage points; together: what the node answered"
    table = _table(title, ("", *GAIN_COLUMNS.values()))
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return [table]


def _score_table(
    title: str, methods: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]
) -> Table:
    table = _table(title, ("", *columns.values()))
    for method, scores in methods.items():
        table.add_row(method, *(number(scores[key]) for key in columns))
    return table


def _class_table(class_iou: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A row for each class, a column for each method."""
    table = _table("class IoU", ("", *class_iou))
    for name in next(iter(class_iou.values())):
        table.add_row(name, *(number(column[name]) for column in class_iou.values()))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    """A table with a left-aligned title; columns of figures are right-aligned."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        is_text = column in ("", "milliseconds")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=is_text)
    return table
