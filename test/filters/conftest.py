"""Runs each test with the compiled kernels and with numpy."""

from __future__ import annotations

import pytest

from seg_perception.filters import linear, mean_field, native


@pytest.fixture(params=["compiled", "numpy"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two does the work."""
    if request.param == "numpy":
        without_kernels(monkeypatch)
    elif native.library() is None:
        pytest.skip(native.NO_LIBRARY)
    return str(request.param)


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a compiler."""
    for module in (linear, mean_field, native):
        monkeypatch.setattr(module, "library", lambda: None)
