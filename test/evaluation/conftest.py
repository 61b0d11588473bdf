from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 24 x 32 pixels that labels each pixel by the nearest of a few colours."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def runner(bundle: Path) -> Iterator[Runner]:
    runner = open_runner(load_bundle(bundle), threads=1)
    yield runner
    runner.close()
