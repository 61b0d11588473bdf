from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ros_client import Client
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 24 x 32 pixels that labels each pixel by the nearest of a few colours."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()
