"""The report of a replay: one HTML file with everything inside, to be mailed or kept with a run."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.errors import ReplayError
from seg_perception.evaluation.charts import grouped_bars, timeline
from seg_perception.evaluation.drive import ReplayFrame
from seg_perception.evaluation.gains import GAIN_COLUMNS, gain_rows
from seg_perception.evaluation.gallery import Exhibit
from seg_perception.evaluation.replay import ReplayResult
from seg_perception.nearest import resize_nearest
from seg_perception.overlay import hatch, outline, overlay

TEMPLATE = "report.html.jinja"
PICTURE_WIDTH = 480
JPEG_QUALITY = 85
OVERLAY_ALPHA = 0.6
PUT_RIGHT, MADE_WRONG = (40, 190, 110), (230, 70, 60)
SCORES = {
    "mIoU": "miou",
    "pixel accuracy": "pixel_accuracy",
    "mIoU others": "miou_others",
    "boundary F": "boundary_f",
    "outside mIoU": "outside_miou",
    "outside accuracy": "outside_pixel_accuracy",
}


@dataclass(frozen=True)
class Picture:
    """A picture inside the page: its caption, and its JPEG as a data URI."""

    name: str
    data: str


def write_report(result: ReplayResult, out: Path, title: str, about: Mapping[str, str]) -> None:
    """Write the report of a replay.

    Args:
        result: of the replay.
        out: the HTML file.
        title: of the page.
        about: what was replayed by what, in words, by name.

    Raises:
        ReplayError: the file cannot be written.
    """
    html = render_report(result, title, about)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise ReplayError(f"cannot write {out}: {error.strerror}; choose another file") from error


def render_report(result: ReplayResult, title: str, about: Mapping[str, str]) -> str:
    """The report as HTML text; arguments as in `write_report`."""
    record = result.to_record()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = resources.files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title,
        about=about,
        facts=_facts(record),
        scores=_score_rows(record["methods"]),
        score_names=list(SCORES),
        n_scored=record["frames"]["scored"],
        gains=gain_rows(record),
        gain_names=list(GAIN_COLUMNS.values()),
        given=", ".join(record["evidence_classes"]),
        class_chart=_class_chart(result, record),
        accuracy_chart=_accuracy_chart(result),
        latency_chart=_latency_chart(result),
        mode=result.transport.mode,
        counts=result.node_counts,
        stages=_stage_rows(record),
        classes=result.classes,
        exhibits=[_exhibit(exhibit, result.classes) for exhibit in result.exhibits],
    )


def _facts(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The few numbers on top: value, name, and change against `refined`."""
    facts: list[dict[str, Any]] = []
    corrected, refined = (record["methods"].get(name) for name in ("corrected", "refined"))
    for name in ("mIoU", "pixel accuracy", "boundary F") if corrected else ():
        value = corrected[SCORES[name]]
        before = refined[SCORES[name]] if refined else None
        change = None if value is None or before is None else round(value - before, 1) or None
        facts.append({"name": name, "value": _number(value), "change": change})
    frames, latency = record["frames"], record["stamp_to_publish_ms"]
    answered = f"{frames['answered']} / {frames['sent']}"
    return [
        *facts,
        {"name": "frames answered", "value": answered, "change": None},
        {"name": "stamp to publish, p50 ms", "value": _number(latency["p50"]), "change": None},
        {
            "name": "answers a second",
            "value": _number(record["answers_per_second"]),
            "change": None,
        },
    ]


def _score_rows(methods: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each method; the best value of each column is marked."""
    best = {
        key: max((m[key] for m in methods.values() if m[key] is not None), default=None)
        for key in SCORES.values()
    }
    return [
        {
            "name": name,
            "cells": [
                {"text": _number(scores[key], 2), "best": scores[key] == best[key] is not None}
                for key in SCORES.values()
            ],
        }
        for name, scores in methods.items()
    ]


def _class_chart(result: ReplayResult, record: Mapping[str, Any]) -> str:
    series = {
        name: [_or_nan(value) for value in scores["class_iou"].values()]
        for name, scores in record["methods"].items()
    }
    return grouped_bars([info.name for info in result.classes], series)


def _accuracy_chart(result: ReplayResult) -> str:
    scored = [frame for frame in result.frames if frame.pixel_accuracy]
    series = {name: [frame.pixel_accuracy[name] for frame in scored] for name in result.tallies}
    return _timeline([frame.stamp_ns for frame in scored], series, "%", from_zero=False)


def _latency_chart(result: ReplayResult) -> str:
    timed = [frame for frame in result.frames if frame.latency_ms is not None]
    series = {"latency": [_or_nan(frame.latency_ms) for frame in timed]}
    return _timeline([frame.stamp_ns for frame in timed], series, "ms", from_zero=True)


def _timeline(
    stamps_ns: Sequence[int], series: Mapping[str, Sequence[float]], unit: str, *, from_zero: bool
) -> str:
    """A chart, or nothing where there are too few moments for one."""
    if len(stamps_ns) < 2 or not series:
        return ""
    seconds = [stamp_ns / 1e9 for stamp_ns in stamps_ns]
    return timeline(seconds, series, unit, from_zero=from_zero)


def _stage_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stage by stage, then the whole way; `share` is p50 in percent of the whole way's."""
    whole = record["stamp_to_publish_ms"]
    rows = {**record["stage_ms"], "stamp to publish": whole}
    return [
        {
            "name": name.replace("_", " "),
            **{key: _number(value, 2) for key, value in points.items()},
            "share": min(100.0, 100 * (points["p50"] or 0) / whole["p50"]) if whole["p50"] else 0,
        }
        for name, points in rows.items()
    ]


def _exhibit(exhibit: Exhibit, classes: Sequence[ClassInfo]) -> dict[str, Any]:
    scores = [f"{name} {value:.2f}" for name, value in exhibit.pixel_accuracy.items()]
    return {
        "title": exhibit.title or f"{exhibit.frame.stamp_ns / 1e9:.3f} s",
        "why": exhibit.why,
        "scores": "pixel accuracy: " + ", ".join(scores) if scores else "",
        "pictures": list(_pictures(exhibit, classes)),
    }


def _pictures(exhibit: Exhibit, classes: Sequence[ClassInfo]) -> Iterator[Picture]:
    frame, maps = exhibit.frame, exhibit.maps
    truth = None if frame.truth is None else resize_nearest(frame.truth, *frame.image.shape[:2])

    def overlaid(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return overlay(frame.image, labels, classes, OVERLAY_ALPHA)

    helped = bool(exhibit.known.any())
    if helped:
        yield _picture("image, hatched where evidence knows", _hatched(frame, classes))
    else:
        yield _picture("image", frame.image)
    if truth is not None:
        yield _picture("truth", overlaid(truth))
    if helped and "refined" in maps:
        yield _picture("without evidence", overlaid(maps["refined"]))
    answer = overlaid(maps["corrected"])
    if helped and "refined" in maps:
        changed = outline(answer, maps["corrected"] != maps["refined"])
        yield _picture("corrected, changes outlined", changed)
    else:
        yield _picture("corrected" if helped else "answer", answer)
    if helped and truth is not None and "refined" in maps:
        yield _picture(
            "correction: put right green, made wrong red",
            _changes(frame.image, truth, maps["refined"], maps["corrected"]),
        )
    if frame.answer.entropy is not None:
        yield _picture("entropy", _heat(frame.answer.entropy))


def _hatched(frame: ReplayFrame, classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """The image with what each source knows."""
    picture = frame.image
    for evidence in frame.evidence:
        index = resize_nearest(evidence.index, *picture.shape[:2])
        picture = hatch(picture, index, evidence.sets, classes)
    return picture


def _changes(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    known = truth != VOID
    was_right, is_right = (before == truth) & known, (after == truth) & known
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    changed = _tinted(grey.astype(np.uint8, copy=False), is_right & ~was_right, PUT_RIGHT, 0.85)
    return _tinted(changed, was_right & ~is_right, MADE_WRONG, 0.85)


def _tinted(
    image: NDArray[np.uint8],
    pixels: NDArray[np.bool_],
    color: tuple[int, int, int],
    alpha: float,
) -> NDArray[np.uint8]:
    """The image with the given pixels bool [h,w] in a colour."""
    tinted = image.copy()
    tinted[pixels] = (1 - alpha) * image[pixels] + alpha * np.array(color)
    return tinted


def _heat(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    bgr = cv2.applyColorMap(values, cv2.COLORMAP_INFERNO)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _picture(name: str, image: NDArray[np.uint8]) -> Picture:
    """JPEG at most `PICTURE_WIDTH` wide."""
    height, width = image.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, round(height * PICTURE_WIDTH / width))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Picture(name, "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode())


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
