from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_bundle import TINY_CLASSES
from tiny_drives import tiny_drive, tiny_sample
from tiny_replay import TRANSPORT, frames, scored

from seg_perception.classes import ClassInfo
from seg_perception.errors import ReplayError
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.replay import METHODS, score_replay
from seg_perception.evaluation.report import render_report, write_report
from seg_perception.runtime.runner import Runner

ABOUT = {"drive": "tiny", "model": "nearest colour"}
VOID_TAGS = {"meta", "img", "br", "line", "rect"}


class Page(HTMLParser):
    """The page's pictures, text and unclosed tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[np.ndarray] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            data = base64.b64decode((found["src"] or "").split(",")[1])
            self.pictures.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_holds_scores_charts_and_pictures(runner: Runner) -> None:
    result = scored(tiny_drive(4), runner)
    page = Page(render_report(result, "A drive", ABOUT))
    assert page.open == []
    assert "nearest colour" in page.text
    for method in METHODS:
        assert method in page.text
    assert f"{result.tallies['refined'].outcome.everywhere.miou():.2f}" in page.text
    assert "4 / 5" in page.text
    # Image, truth, without evidence, corrected and the changes; the node kept no entropy here.
    assert len(page.pictures) == 5 * len(result.exhibits)
    assert {picture.shape for picture in page.pictures} == {(24, 32, 3)}


def test_truth_of_another_size_is_shown_in_the_image(runner: Runner) -> None:
    """Coarser here, as labels are that were made at a fraction of the image's size."""
    sample = tiny_sample(0)
    (frame,) = frames(tiny_drive(1))
    coarse = replace(frame, truth=sample.labels[::2, ::2])
    result = score_replay([coarse], TRANSPORT, TINY_CLASSES, Comparer(runner))
    pictures = Page(render_report(result, "A drive", ABOUT)).pictures
    assert {picture.shape for picture in pictures} == {(24, 32, 3)}
    assert len(pictures) == 5


def test_report_tells_what_each_source_brought(runner: Runner) -> None:
    text = Page(render_report(scored(tiny_drive(2), runner), "A drive", ABOUT)).text
    assert "What each source of evidence brought" in text
    assert "lane mask" in text
    assert "together" in text
    silent = Page(render_report(scored(tiny_drive(2), runner, known=False), "A drive", ABOUT)).text
    assert "What each source" not in silent


def test_report_needs_no_other_file(runner: Runner) -> None:
    html = render_report(scored(tiny_drive(2), runner), "A drive", ABOUT)
    assert all(link.startswith("data:image/jpeg;base64,") for link in Page(html).links)
    assert not re.search(r"https?://|@import|<script|<link", html)


def test_changes_are_green_where_correction_put_right(runner: Runner) -> None:
    result = scored(tiny_drive(1), runner)
    (exhibit,) = result.exhibits
    changes = Page(render_report(result, "A drive", ABOUT)).pictures[4].astype(int)
    put_right = exhibit.maps["refined"] != exhibit.maps["corrected"]
    put_right &= exhibit.frame.truth != 255
    blue, green, red = changes[put_right].mean(axis=0)
    assert green > red
    assert green > blue


def test_report_without_truth(runner: Runner) -> None:
    page = Page(render_report(scored(tiny_drive(2), runner, truth=False), "A drive", ABOUT))
    assert "mIoU" not in page.text
    assert "stamp to publish" in page.text
    assert page.pictures


def test_report_of_a_drive_without_answers() -> None:
    page = Page(render_report(score_replay([], TRANSPORT, (), None), "A drive", ABOUT))
    assert page.open == []
    assert page.pictures == []


def test_names_cannot_inject_html(runner: Runner) -> None:
    evil = (ClassInfo(0, "<script>alert(1)</script>", (0, 0, 0)),)
    result = score_replay([], TRANSPORT, evil, None)
    html = render_report(result, "<script>", {"drive": "<img src=x>"})
    assert "<script" not in html
    assert "<img" not in html


def test_writes_into_a_new_folder_or_says_why_not(tmp_path: Path) -> None:
    result = score_replay([], TRANSPORT, (), None)
    write_report(result, tmp_path / "new" / "report.html", "A drive", ABOUT)
    assert (tmp_path / "new" / "report.html").read_text().startswith("<!doctype html>")
    with pytest.raises(ReplayError, match="cannot write"):
        write_report(result, tmp_path, "A drive", ABOUT)
