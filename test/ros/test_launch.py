"""What `ros2 launch` and colcon find: scripts, files, parameters and topics that really exist."""

from __future__ import annotations

import ast
import importlib
import runpy
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import setuptools
import yaml
from rclpy.context import Context

import seg_perception
from seg_perception.ros.inputs import COMPRESSED, IMAGE
from seg_perception.ros.node import NODE_NAME, SegmentationNode
from seg_perception.ros.senses import MESSAGE_TYPES

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
CONFIG = ROOT / "config" / "segmentation.yaml"
PACKAGE = "seg_perception"
TOPICS = {IMAGE, COMPRESSED, *MESSAGE_TYPES}
ROS_PACKAGES = {"rclpy", "ament_index_python", "cv_bridge", "launch", "launch_ros"}


@pytest.fixture(scope="module")
def setup_arguments() -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    handed: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", lambda **arguments: handed.update(arguments))
        runpy.run_path("setup.py")
    return handed


@pytest.fixture(scope="module")
def console_scripts(setup_arguments: dict[str, Any]) -> dict[str, str]:
    lines = setup_arguments["entry_points"]["console_scripts"]
    return dict(line.split(" = ") for line in lines)


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    """Every parameter that the node declares, with its default."""
    context = Context()
    rclpy.init(context=context)
    node = SegmentationNode(context=context)
    of_ros = ("use_sim_time", "start_type_description_service")
    found = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in of_ros and not name.startswith("qos_overrides.")
    }
    node.close()
    context.try_shutdown()
    return found


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def calls(path: Path, name: str) -> list[ast.Call]:
    """Every call of a function of this name in a file."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name
    ]


def keyword(call: ast.Call, name: str) -> Any:
    """The literal value of a keyword argument; None if it has none."""
    for given in call.keywords:
        if given.arg == name:
            return getattr(given.value, "value", None)
    return None


def launch_arguments(path: Path) -> set[str]:
    return {call.args[0].value for call in calls(path, "DeclareLaunchArgument")}


def literal_keys(path: Path) -> set[str]:
    """The keys of all dictionaries in a file."""
    return {
        key.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Dict)
        for key in node.keys
    }


def test_config_holds_every_parameter_with_its_default(declared: dict[str, Any]) -> None:
    written = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    assert dict(flat(written)) == declared


@pytest.mark.parametrize("path", [CONFIG, ROOT / "config" / "sensors.yaml"], ids=lambda p: p.name)
def test_node_takes_the_config_as_it_is(path: Path) -> None:
    context = Context()
    rclpy.init(args=["--ros-args", "--params-file", str(path)], context=context)
    SegmentationNode(context=context).close()
    context.try_shutdown()


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_start_only_scripts_there_are(
    path: Path, console_scripts: dict[str, str]
) -> None:
    own = [call for call in calls(path, "Node") if keyword(call, "package") == PACKAGE]
    started = {keyword(call, "executable") for call in own}
    started |= {call.args[0].value for call in calls(path, "ExecutableInPackage")}
    assert started or calls(path, "IncludeLaunchDescription")
    assert started <= set(console_scripts)
    assert all(keyword(call, "name") == NODE_NAME for call in own)


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_use_only_arguments_they_declare(path: Path) -> None:
    used = {call.args[0].value for call in calls(path, "LaunchConfiguration")}
    assert used == launch_arguments(path)


@pytest.mark.parametrize("name", ["segmentation", "sensors"])
def test_launch_file_names_files_that_are_installed(
    name: str, setup_arguments: dict[str, Any]
) -> None:
    installed = {
        str(Path(folder, Path(name).name))
        for folder, names in setup_arguments["data_files"]
        for name in names
    }
    parts = [
        [part.value for part in call.args[0].elts if isinstance(part, ast.Constant)]
        for call in calls(ROOT / f"launch/{name}.launch.py", "PathJoinSubstitution")
        if getattr(call.args[0].elts[0], "id", "") == "SHARE"
    ]
    assert parts
    assert {str(Path("share", PACKAGE, *names)) for names in parts} <= installed


def test_launch_file_sets_parameters_and_topics_there_are(declared: dict[str, Any]) -> None:
    path = ROOT / "launch/segmentation.launch.py"
    assert literal_keys(path) <= declared.keys() | {"use_sim_time"}
    remapped = {
        pair.elts[0].value
        for call in calls(path, "Node")
        for given in call.keywords
        if given.arg == "remappings"
        for pair in given.value.elts
    }
    assert remapped == TOPICS


@pytest.mark.parametrize("name", ["replay", "sensors"])
def test_launch_files_pass_on_arguments_there_are(name: str) -> None:
    passed_on = literal_keys(ROOT / f"launch/{name}.launch.py")
    assert passed_on
    assert passed_on <= launch_arguments(ROOT / "launch/segmentation.launch.py")


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_make_a_description_with_the_real_launch(path: Path) -> None:
    pytest.importorskip("launch_ros", reason="no launch_ros: source a ROS 2")
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction

    made = runpy.run_path(str(path))["generate_launch_description"]()
    assert {argument.name for argument in made.get_launch_arguments()} >= launch_arguments(path)
    context = LaunchContext()
    context.launch_configurations["bag"] = "drive"
    context.launch_configurations["report"] = "report.html"
    started = []
    for entity in made.entities:
        if isinstance(entity, DeclareLaunchArgument):
            if entity.name not in context.launch_configurations:
                entity.execute(context)
        elif isinstance(entity, OpaqueFunction):
            started += entity.execute(context)
    assert any(isinstance(action, ExecuteProcess) for action in started)


def test_rviz_shows_topics_there_are_with_a_qos_that_fits() -> None:
    config = yaml.safe_load((ROOT / "config/segmentation.rviz").read_text())
    topics = [display["Topic"] for display in config["Visualization Manager"]["Displays"]]
    shown = {topic["Value"].partition("/") for topic in topics}
    assert {node for node, _, _ in shown} == {NODE_NAME}
    assert {name for _, _, name in shown} <= {"overlay", "entropy", "mask"}
    assert {topic["Reliability Policy"] for topic in topics} == {"Best Effort"}


def test_console_scripts_lead_somewhere(console_scripts: dict[str, str]) -> None:
    assert set(console_scripts) == {"segmentation_node", "seg-perception"}
    for target in console_scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_scripts_go_where_ros2_run_looks() -> None:
    lines = (ROOT / "setup.cfg").read_text().split()
    assert f"script_dir=$base/lib/{PACKAGE}" in lines
    assert f"install_scripts=$base/lib/{PACKAGE}" in lines


def test_versions_agree(setup_arguments: dict[str, Any]) -> None:
    package = ET.parse(ROOT / "package.xml").getroot()
    assert package.attrib["format"] == "3"
    assert package.findtext("name") == setup_arguments["name"] == PACKAGE
    assert package.findtext("version") == setup_arguments["version"] == seg_perception.__version__


def test_package_names_every_ros_package_that_is_imported() -> None:
    package = ET.parse(ROOT / "package.xml").getroot()
    depends = {element.text for element in package.iter("exec_depend")}
    files = [*(ROOT / PACKAGE).rglob("*.py"), *LAUNCH_FILES]
    imported = {name.partition(".")[0] for path in files for name in imports(path)}
    of_ros = {
        name for name in imported if name in ROS_PACKAGES or name.endswith(("_msgs", "_interfaces"))
    }
    assert of_ros <= depends
    # The services of a lifecycle node are of these types, though no file names them.
    unused = {"lifecycle_msgs"}
    assert {name for name in depends if not name.startswith("python3-")} == of_ros | unused


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
