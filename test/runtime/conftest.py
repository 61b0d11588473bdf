from __future__ import annotations

from types import ModuleType

import pytest
from real_tensorrt import AbsentError, load_tensorrt


@pytest.fixture(scope="session")
def trt(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """NVIDIA's bindings; skips where they are not installed."""
    try:
        return load_tensorrt(tmp_path_factory.mktemp("tensorrt"))
    except AbsentError as error:
        pytest.skip(str(error))
