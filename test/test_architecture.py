"""The house keeps its rules: who may import whom, and what the installed package holds.

`pyproject.toml` holds the rules that import-linter can say (the order of the rooms, the packages
the vehicle never needs); the ones below need patterns. Each is shown to fail where it is broken.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("seg_perception", "training")


class Door(NamedTuple):
    """What `behind` matches may be imported by modules that `keys` matches, and by no other."""

    behind: str
    keys: str


DOORS = (
    Door(
        r"(rclpy|ament_index_python|cv_bridge|launch|launch_ros|tf2_ros|\w+_(msgs|interfaces))(\..+)?",
        r"seg_perception\.ros\..+",
    ),
    Door(r"onnxruntime(\..+)?", r"seg_perception\.runtime\.onnx_runner|training\..+"),
    Door(
        r"tensorrt(\..+)?",
        r"seg_perception\.runtime\.(tensorrt_engine|plugins\.plugin)",
    ),
    Door(r"pycuda(\..+)?", r"seg_perception\.runtime\.pycuda_device"),
    Door(r"seg_perception\.filters(\..+)?", r"seg_perception\..+|training\.filters(\..+)?"),
    # All of the vehicle but what training may use is for the vehicle alone.
    Door(
        r"seg_perception(?!\.(errors|classes|filters|datasets)\b"
        r"|\.evidence\.record|\.evaluation\.scores|\.runtime\.(bundle|runner|kernel_programs)$).*",
        r"seg_perception(\..+)?",
    ),
)


def imports(tree: Path) -> Iterator[tuple[str, str]]:
    """(importer, imported) for every import statement of the packages, also inside functions."""
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            importer = _module(path, tree)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((importer, alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):  # ruff bans relative imports
                    yield from ((importer, _target(node, name, tree)) for name in node.names)


def broken_doors(tree: Path) -> list[str]:
    """One line for every import that no door allows."""
    return [
        f"{importer} -> {imported}"
        for importer, imported in imports(tree)
        for door in DOORS
        if re.fullmatch(door.behind, imported) and not re.fullmatch(door.keys, importer)
    ]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the contracts of pyproject.toml on a tree."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=tree, text=True, capture_output=True, timeout=120)


def _module(path: Path, tree: Path) -> str:
    return ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")


def _target(node: ast.ImportFrom, name: ast.alias, tree: Path) -> str:
    """`from a import b` means the module a.b where that is one, else a."""
    inner = tree.joinpath(*(node.module or "").split("."), name.name)
    is_module = inner.with_suffix(".py").exists() or (inner / "__init__.py").exists()
    return f"{node.module}.{name.name}" if is_module else str(node.module)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The two packages and their contracts, to be broken on purpose."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_doors_hold() -> None:
    assert broken_doors(ROOT) == []


@pytest.mark.parametrize(
    ("where", "statement"),
    [
        ("seg_perception/runtime/bundle.py", "import torch"),
        ("seg_perception/overlay.py", "from onnx import helper"),
        ("seg_perception/evidence/record.py", "import training.recipe"),
        ("seg_perception/perceiver.py", "from seg_perception.evaluation import scores"),
        ("seg_perception/evidence/fuse.py", "import seg_perception.runtime.bundle"),
        ("seg_perception/filters/checks.py", "import seg_perception.runtime.bundle"),
        ("training/train.py", "import rclpy"),
        ("training/recipe.py", "from seg_perception.ros import messages"),
    ],
)
def test_contracts_fail_on_a_forbidden_import(copy: Path, where: str, statement: str) -> None:
    _inject(copy / where, statement)
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


@pytest.mark.parametrize(
    ("where", "statement"),
    [
        ("seg_perception/evaluation/scores/boundary.py", "from sensor_msgs.msg import Image"),
        ("seg_perception/cli/inspect.py", "import rclpy.node"),
        ("seg_perception/perceiver.py", "import onnxruntime"),
        ("seg_perception/runtime/tensorrt_runner.py", "import tensorrt"),
        ("seg_perception/runtime/tensorrt_engine.py", "import pycuda.driver"),
        ("training/train.py", "from seg_perception import perceiver"),
        ("training/train.py", "from seg_perception.runtime.onnx_runner import OnnxRunner"),
        ("training/losses.py", "import seg_perception.evaluation.report"),
    ],
)
def test_doors_fail_on_a_forbidden_import(copy: Path, where: str, statement: str) -> None:
    _inject(copy / where, statement)
    assert [line.split(" -> ")[0] for line in broken_doors(copy)] == [_module(Path(where), Path())]


def _inject(path: Path, statement: str) -> None:
    path.write_text(path.read_text() + f"\n\ndef _broken() -> None:\n    {statement}\n")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every file of the wheel, seen from the installation prefix."""
    source, wheels = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheels")
    made_here = shutil.ignore_patterns(
        ".*", "build", "dist", "install", "log", "runs", "*.egg-info", "*.so"
    )
    shutil.copytree(ROOT, source, ignore=made_here)
    kernels = source / "models" / "default" / "kernels"
    kernels.mkdir(exist_ok=True)
    (kernels / "kernels.json").write_text("as of a bundle with GPU kernels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    fast = os.environ | {"CXXFLAGS": "-O0"}  # whether the kernels are there, not how fast they are
    command += ["--wheel-dir", str(wheels), str(source)]
    subprocess.run(command, check=True, timeout=120, env=fast)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    return {re.sub(r"^seg_perception-[^/]+\.data/data/", "", name) for name in names}


def is_module(name: str) -> bool:
    return name.endswith(".py") and not name.startswith("share/")


def test_installs_every_module_and_nothing_of_training_or_test(installed: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "seg_perception").rglob("*.py")}
    assert {name for name in installed if is_module(name)} == modules


def test_installs_exactly_these_resources(installed: set[str]) -> None:
    resources = {name for name in installed if not is_module(name)}
    kernels = f"seg_perception/filters/_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert {name for name in resources if ".dist-info/" not in name} == {
        kernels,
        "seg_perception/evaluation/report.html.jinja",
        "share/ament_index/resource_index/packages/seg_perception",
        "share/seg_perception/package.xml",
        "share/seg_perception/config/cityscapes_to_camvid.json",
        "share/seg_perception/config/segmentation.yaml",
        "share/seg_perception/config/sensors.yaml",
        "share/seg_perception/config/segmentation.rviz",
        "share/seg_perception/config/fastdds_large_images.xml",
        "share/seg_perception/launch/replay.launch.py",
        "share/seg_perception/launch/segmentation.launch.py",
        "share/seg_perception/launch/sensors.launch.py",
        "share/seg_perception/models/default/MODEL_CARD.md",
        "share/seg_perception/models/default/golden.npz",
        "share/seg_perception/models/default/kernels/kernels.json",
        "share/seg_perception/models/default/manifest.json",
        "share/seg_perception/models/default/model.onnx",
    }
