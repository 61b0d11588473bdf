"""What every test relies on: a private ROS 2 domain, few threads, the real data where it is."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

# Before numpy, torch or rclpy is imported, since they read these once.
# One thread each: the machines are small, and results must not depend on how many cores there are.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")
# Triton decides when a kernel is defined whether it will be interpreted. TRITON_INTERPRET=0 runs
# the kernels' tests on a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")
# A private domain keeps the nodes of other sessions out. Above 101, Linux may have lent the ports.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 101)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from real_tensorrt import AbsentError, load_tensorrt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
HAS_TORCH = importlib.util.find_spec("torch") is not None

# Same examples on every run in CI; a fresh search on a developer's machine.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

collect_ignore_glob = [] if HAS_TORCH else ["training/*"]


def pytest_report_header() -> list[str]:
    """Say which parts this run leaves out, so that a green run is not mistaken for a full one."""
    data = _data_root()
    return [
        f"torch: {'present' if HAS_TORCH else 'absent, test/training is left out'}",
        f"real data: {data or 'absent, tests that need it are skipped'}",
        f"ROS_DOMAIN_ID: {os.environ['ROS_DOMAIN_ID']} on localhost",
    ]


def _data_root() -> Path | None:
    named = os.environ.get("SEG_PERCEPTION_DATA")
    root = Path(named) if named else ROOT.parent / "shared" / "data"
    return root.resolve() if root.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (camvid/, faces/, driving_samples/); skips where there is none."""
    root = _data_root()
    if root is None:
        pytest.skip("no real data: set SEG_PERCEPTION_DATA, or put it at ../shared/data")
    return root


@pytest.fixture(scope="session")
def camvid_root(shared_data: Path) -> Path:
    """CamVid in SegNet's layout (train/ trainannot/ val/ valannot/)."""
    return shared_data / "camvid"


@pytest.fixture(scope="session")
def trt(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """NVIDIA's bindings; skips where they are not installed."""
    try:
        return load_tensorrt(tmp_path_factory.mktemp("tensorrt"))
    except AbsentError as error:
        pytest.skip(str(error))
