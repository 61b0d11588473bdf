from __future__ import annotations

import numpy as np
import pytest

from training.evaluate.published import papers


def test_five_papers_with_their_sources() -> None:
    found = papers()
    assert list(found) == ["000", "001", "002", "003", "004"]
    for paper in found.values():
        assert paper.source
        assert paper.published_on
        for row in paper.rows.values():
            assert set(row.figures) <= set(paper.columns)
            assert row.figures or row.point == "both"  # replacing after optimising is ours


@pytest.mark.parametrize("row", papers()["003"].rows.values(), ids=lambda row: row.method)
def test_class_figures_average_to_the_published_mean(row) -> None:
    assert len(row.class_iou) == 11
    assert np.mean(row.class_iou) == pytest.approx(row.figures["miou"], abs=0.1)


def test_orderings_are_those_that_the_papers_claim() -> None:
    rows = papers()["003"].rows
    chain = ["fcn8s", "fcn8s+dae_y_true", "fcn8s+crf", "fcn8s+crf_rnn", "fcn8s+dae_y"]
    figures = [rows[key].figures["miou"] for key in chain]
    assert figures == sorted(figures)
    sap = [papers()["000"].rows[key].figures["lfw_sap"] for key in ("image_encoder", "fcn", "lr")]
    assert sap == sorted(sap)
