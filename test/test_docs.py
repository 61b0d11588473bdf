"""What the documents promise exists, and what exists is documented."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from seg_perception.cli.parser import build_parser
from seg_perception.datasets import DATASETS
from seg_perception.ros.diagnostics import STAGES
from seg_perception.ros.parameters import all_parameters

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
NODE = (ROOT / "docs" / "node.md").read_text()


def test_every_parameter_is_documented_with_its_default() -> None:
    row = re.compile(r"^\| `([\w.]+)` \| `(.+?)` \| [^|]*\| (?:start|configure|any)", re.M)
    documented = {name: json.loads(default) for name, default in row.findall(NODE)}
    assert documented == {name: _plain(f.default) for name, f in all_parameters().items()}


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def test_every_stage_is_documented() -> None:
    section = NODE.split("Stages: ")[1]
    assert [stage for stage in STAGES if f"`{stage}`" not in section] == []


def test_every_dataset_is_documented() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == list(DATASETS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    local = [target for target in targets if not re.match(r"\w+:", target)]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_readme_names_every_folder() -> None:
    command = ["git", "-C", str(ROOT), "ls-files"]
    listing = subprocess.run(command, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout: folders of the project cannot be told from others")
    folders = {line.split("/")[0] for line in listing.stdout.splitlines() if "/" in line}
    readme = (ROOT / "README.md").read_text()
    assert [name for name in sorted(folders) if f"{name}/" not in readme] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_parse(document: Path) -> None:
    text = document.read_text().replace("\\\n", " ")
    commands = re.findall(r"^(?:\.venv/bin/)?seg-perception (.+)$", text, re.M)
    for line in commands:
        build_parser().parse_args(
            shlex.split(line, comments=True)
        )  # exits on what it does not know


LAUNCHED = [
    (document.name, launch_file, arguments)
    for document in DOCUMENTS
    for launch_file, arguments in re.findall(
        r"^ros2 launch seg_perception (\S+)(.*)$",
        document.read_text().replace("\\\n", " "),
        re.M,
    )
]


@pytest.mark.parametrize(("document", "launch_file", "arguments"), LAUNCHED)
def test_launch_commands_name_arguments_there_are(
    document: str, launch_file: str, arguments: str
) -> None:
    text = (ROOT / "launch" / launch_file).read_text()
    declared = set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', text))
    assert declared >= set(re.findall(r"(\w+):=", arguments))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_set_parameters_there_are(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"^ros2 param set /segmentation (\S+)", text, re.M)
    named += [n for n in re.findall(r"--param ([\w.]+):=", text) if not n.startswith("NAME")]
    assert set(named) <= set(all_parameters())
