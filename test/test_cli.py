"""`seg-perception` as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from simulated_gpu import SimulatedGpu, SimulatedTensorRT
from tiny_bundle import color_image, reseal, write_tiny_bundle
from tiny_datasets import write_cityscapes, write_voc

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.cli import FAILED, INTERRUPTED, OK, build_engine, main
from seg_perception.cli.parser import build_parser
from seg_perception.datasets.catalogue import CITYSCAPES_CLASSES
from seg_perception.errors import RunnerError
from seg_perception.runtime.bundle import Bundle, Quantisation, load_bundle
from seg_perception.runtime.engine_cache import EngineCache
from seg_perception.runtime.tensorrt_open import EngineOptions, open_on
from seg_perception.runtime.tensorrt_runner import TensorRTRunner

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "models" / "default"
COMMANDS = ("demo", "evaluate", "make-bag", "replay", "inspect", "build-engine")
ROAD, SIDEWALK, BUILDING = 3, 4, 1
N_IMAGES = 3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of CamVid's classes that labels each pixel by the nearest of their colours."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    return write_tiny_bundle(folder, height=24, width=32, classes=CAMVID_CLASSES)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames in SegNet's layout; a part of the road looks like sidewalk."""
    root = tmp_path_factory.mktemp("camvid")
    for split in ("val", "test"):
        (root / split).mkdir()
        (root / f"{split}annot").mkdir()
        for i in range(N_IMAGES):
            labels = np.full((24, 32), BUILDING, np.uint8)
            labels[10:] = ROAD
            labels[:4] = 11  # void
            seen = np.where(labels == 11, 0, labels)
            seen[16:18, : 8 + i] = SIDEWALK
            name = f"Seq05VD_f{30 * i:05d}.png"
            bgr = color_image(seen, CAMVID_CLASSES)[..., ::-1]
            cv2.imwrite(str(root / split / name), bgr)
            cv2.imwrite(str(root / f"{split}annot" / name), labels)
    return root


def evaluate(bundle: Path, camvid: Path, out: Path, *more: str) -> dict[str, Any]:
    given = ["--dataset", "camvid", "--root", str(camvid), "--json", str(out)]
    assert main(["evaluate", str(bundle), *given, *more]) == OK
    return json.loads(out.read_text())


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The first of the lines on stderr."""
    return capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        build_parser().parse_args([*command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert "exit codes" in text
    assert all(name in text for name in command or COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["drive"],
        ["evaluate", "bundle"],
        ["evaluate", "bundle", "--dataset", "mnist"],
        ["evaluate", "bundle", "--dataset", "camvid", "--limit", "0"],
        ["make-bag", "--dataset", "camvid"],
        ["replay"],
        ["replay", "bag", "--live"],
        ["replay", "bag", "--rate", "-3"],
        ["replay", "bag", "--rate", "fast"],
        ["replay", "bag", "--frames", "all"],
        ["replay", "bag", "--param", "max_rate=3"],
        ["replay", "bag", "--topic", "points=/lidar/points"],
        ["replay", "bag", "--evidence", "radar"],
        ["make-bag", "--dataset", "street", "--out", "bag", "--evidence", "radar"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_as_it_is_run_from_outside(
    split: str, bundle: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--split", split, "--evidence", "road,building", "--seed", "3"]
    options += ["--evidence-kind", "partial:0.5"]
    record = evaluate(bundle, camvid, tmp_path / "out" / "scores.json", *options)
    assert record["n_images"] == N_IMAGES
    assert list(record["evidence"]) == ["road", "building"]
    road = record["evidence"]["road"]
    assert list(road) == ["zero_code", "replaced", "optimised", "optimised_replaced"]
    wrong = sum(2 * (8 + i) for i in range(N_IMAGES))
    assert record["pixel_accuracy"] == pytest.approx(
        100 * (1 - wrong / (N_IMAGES * 20 * 32)), abs=1e-3
    )
    assert record["class_iou"]["car"] is None
    assert road["replaced"]["pixel_accuracy"] > road["zero_code"]["pixel_accuracy"]
    table = capsys.readouterr().out
    assert f"{record['miou']:.2f}" in table
    assert "optimised_replaced" in table


def test_evaluate_in_the_classes_of_the_bundle(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, names = tmp_path / "a.json", tmp_path / "map.json"
    root = write_cityscapes(tmp_path / "data", splits=["val"])
    cityscapes = ["evaluate", str(bundle), "--dataset", "cityscapes", "--root", str(root)]
    assert main(cityscapes) == FAILED
    assert "use a bundle that was trained for these classes" in complaint(capsys)
    class_map = dict.fromkeys(info.name for info in CITYSCAPES_CLASSES)
    names.write_text(json.dumps({**class_map, "road": "road", "sky": "building"}))
    options = ["--class-map", str(names), "--evidence", "road", "--json", str(out)]
    assert main([*cityscapes, *options]) == OK
    record = json.loads(out.read_text())
    assert record["class_iou"]["road"] > 0
    assert set(record["class_iou"]) == {info.name for info in CAMVID_CLASSES}


def test_evaluate_without_evidence(bundle: Path, camvid: Path, tmp_path: Path) -> None:
    plain = evaluate(bundle, camvid, tmp_path / "a.json")
    none = evaluate(bundle, camvid, tmp_path / "b.json", "--evidence", "none")
    assert "evidence" not in plain
    assert plain["class_iou"] == none["class_iou"]


@pytest.mark.parametrize("kind", ["ego_lane", "points:0.05", "sets:0.2"])
def test_kinds_without_a_class_are_reported_by_name(
    kind: str, bundle: Path, camvid: Path, tmp_path: Path
) -> None:
    record = evaluate(bundle, camvid, tmp_path / "a.json", "--evidence-kind", kind)
    assert list(record["evidence"]) == [kind.split(":")[0]]


def test_pictures_of_every_image(bundle: Path, camvid: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "new" / "pictures"
    options = ["--pictures", str(pictures), "--evidence", "road", "--limit", "2"]
    evaluate(bundle, camvid, tmp_path / "a.json", *options)
    found = sorted(pictures.iterdir())
    assert [path.name for path in found] == ["Seq05VD_f00000.png", "Seq05VD_f00030.png"]
    # Image, truth, zero code and the four ways to use the evidence.
    assert cv2.imread(str(found[0])).shape[1] == 7 * 32


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--root", "/nowhere"], "no folder /nowhere/val"),
        ([], "camvid needs the folder it lies in"),
        (["--root", "CAMVID", "--evidence", "lorry"], "'lorry': use one of sky, building"),
        (["--root", "CAMVID", "--evidence-kind", "most"], "none of positive"),
        (["--root", "CAMVID", "--drives", "0001TP"], "it holds Seq05VD"),
        (["--root", "CAMVID", "--json", "/proc/no/such.json"], "cannot write /proc/no/such.json"),
        (["--root", "CAMVID", "--pictures", "/dev/null"], "cannot write /dev/null/Seq05VD"),
        (["--root", "CAMVID", "--runner", "abacus"], "abacus"),
    ],
)
def test_evaluate_fails_with_one_sentence(
    arguments: list[str],
    expected: str,
    bundle: Path,
    camvid: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [str(camvid) if argument == "CAMVID" else argument for argument in arguments]
    assert main(["evaluate", str(bundle), "--dataset", "camvid", *given]) == FAILED
    said = complaint(capsys)
    assert said.startswith("seg-perception: ")
    assert expected in said
    assert "Traceback" not in said


def test_a_bundle_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == FAILED
    assert "is no bundle" in complaint(capsys)


def test_inspect_shows_and_checks(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle), "--check"]) == OK
    shown = capsys.readouterr().out
    for part in ("tiny", "32x24", "bicyclist", "evidence_sets", "model.onnx", "self-test passed"):
        assert part in shown


def test_inspect_shows_the_default_model_at_a_glance(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(DEFAULT)]) == OK
    shown = capsys.readouterr().out
    bundle = load_bundle(DEFAULT)
    assert bundle.digest in re.sub(r"[\s│]", "", shown)
    assert f"camvid_val: miou {bundle.manifest.scores['camvid_val']['miou']}, " in shown
    assert "data: camvid, CC BY-NC" in shown
    assert "recipe: camvid_code (all of it: manifest.json)" in shown
    assert "augmentation" not in shown
    assert shown.count("\n") < 100


def test_inspect_shows_how_a_model_was_rounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    reseal(bundle, quantisation=Quantisation("int8", {"frames": 64}, {"labels_changed": 0.2}))
    assert main(["inspect", str(bundle), "--check"]) == OK
    shown = capsys.readouterr().out
    for part in ("int8 convolutions", "frames: 64", "labels_changed: 0.2", "self-test passed"):
        assert part in shown


def test_inspect_refuses_a_changed_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    with (bundle / "model.onnx").open("ab") as model:
        model.write(b"\0")
    assert main(["inspect", str(bundle)]) == FAILED
    assert "model.onnx is corrupt or was changed" in complaint(capsys)


def test_an_engine_is_built_tested_and_measured(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gpu = SimulatedGpu()
    tensorrt = SimulatedTensorRT(gpu)

    def opened(bundle: Bundle, options: EngineOptions) -> TensorRTRunner:
        return open_on(bundle, gpu, tensorrt, EngineCache(tmp_path / "cache"), options, "")

    monkeypatch.setattr(build_engine, "open_tensorrt", opened)
    arguments = ["--precision", "fp32", "--workspace", "256"]
    assert main(["build-engine", str(bundle), *arguments]) == OK
    said = capsys.readouterr()
    assert said.err.count("building the engine: Tactic selection") == 1
    ready, speed = said.out.replace("\n", " ").split("a frame takes ")
    assert "TensorRT 10.3.0 on Simulated GPU (sm_87), fp32" in ready
    assert float(speed.split(" ms")[0]) > 0
    assert tensorrt.options[0].workspace_bytes == 256 << 20
    assert gpu.closed


def test_an_engine_needs_a_driver(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(bundle: Bundle, options: EngineOptions) -> TensorRTRunner:
        raise RunnerError("no NVIDIA driver: install it")

    monkeypatch.setattr(build_engine, "open_tensorrt", refused)
    assert main(["build-engine", str(bundle)]) == FAILED
    assert "no NVIDIA driver: install it" in complaint(capsys)


def test_ctrl_c(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seg_perception.cli.inspect.load_bundle", interrupted)
    assert main(["inspect", str(bundle)]) == INTERRUPTED


def without_ros(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command on a machine where ROS 2 cannot be imported."""
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['rclpy', 'ament_index_python']));"
        "from seg_perception.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_scoring_needs_no_ros(bundle: Path, camvid: Path) -> None:
    done = without_ros("evaluate", str(bundle), "--dataset", "camvid", "--root", str(camvid))
    assert done.returncode == OK, done.stderr


def test_replaying_without_ros_says_how_to_get_it(bundle: Path) -> None:
    done = without_ros("replay", "bag", "--bundle", str(bundle))
    assert done.returncode == FAILED
    assert "source one (. /opt/ros/" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_bag_lists_what_it_wrote(
    camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", "camvid", "--root", str(camvid), "--storage", "sqlite3", "--compressed"]
    out = ["--out", str(tmp_path / "bag"), "--evidence", "lane_mask,labels"]
    assert main(["make-bag", *options, *out]) == OK
    written = capsys.readouterr().out
    for topic in ("/image/compressed", "/truth/labels", "/evidence/lane_mask", "/evidence/labels"):
        assert f"{N_IMAGES}  {topic}" in written
    assert main(["make-bag", *options, *out]) == FAILED
    assert "--overwrite" in complaint(capsys)
    assert main(["make-bag", *options, *out, "--overwrite", "--evidence", "none"]) == OK
    assert "/evidence" not in capsys.readouterr().out


def test_make_bag_records_sensors_and_their_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    street = ["make-bag", "--dataset", "street", "--frames", "2", "--out", str(tmp_path / "bag")]
    assert main([*street, "--evidence", "depth,lidar", "--fault", "depth:drop=1"]) == OK
    written = capsys.readouterr().out
    for topic in ("/camera_info", "/odometry", "/evidence/points"):
        assert f"2  {topic}" in written
    assert "/evidence/depth" not in written
    assert "/evidence/lane" not in written
    assert main([*street, "--overwrite", "--fault", "depth:yaw=2"]) == FAILED
    assert "depth has no yaw: use noise, bias" in complaint(capsys)


def test_a_dataset_without_roads_needs_no_lane_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voc = ["--dataset", "voc", "--root", str(write_voc(tmp_path / "voc"))]
    assert main(["make-bag", *voc, "--out", str(tmp_path / "bag")]) == OK
    assert "/evidence" not in capsys.readouterr().out
    wanted = ["--evidence", "lane_mask", "--overwrite"]
    assert main(["make-bag", *voc, "--out", str(tmp_path / "bag"), *wanted]) == FAILED
    assert "'road': use one of background" in complaint(capsys)


@pytest.mark.ros
def test_replay_scores_a_bag_and_writes_the_report(
    bundle: Path, camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, report, figures = (str(tmp_path / name) for name in ("bag", "report.html", "a.json"))
    made = ["make-bag", "--dataset", "camvid", "--root", str(camvid), "--out", bag]
    assert main(made) == OK
    options = ["--bundle", str(bundle), "--report", report, "--json", figures]
    assert main(["replay", bag, *options, "--threads", "1"]) == OK
    record = json.loads(Path(figures).read_text())
    assert record["frames"] == {"sent": 3, "answered": 3, "dropped": 0, "scored": 3}
    assert record["evidence_classes"] == ["road"]
    methods = record["methods"]
    assert list(methods) == ["unrefined", "refined", "replaced", "corrected"]
    assert methods["replaced"]["pixel_accuracy"] > methods["refined"]["pixel_accuracy"]
    assert "<svg" in Path(report).read_text()
    assert "stamp to publish" in capsys.readouterr().out


@pytest.mark.ros
@pytest.mark.slow
def test_cityscapes_is_replayed_at_its_size_with_its_classes(tmp_path: Path) -> None:
    """2048x1024 and 19 classes, through a model of another size."""
    root = write_cityscapes(tmp_path / "data", 1024, 2048, splits=["val"])
    model = write_tiny_bundle(tmp_path / "model", height=64, width=128, classes=CITYSCAPES_CLASSES)
    bag, figures = str(tmp_path / "bag"), tmp_path / "a.json"
    chosen = ["--dataset", "cityscapes", "--root", str(root), "--limit", "1"]
    assert main(["make-bag", *chosen, "--out", bag]) == OK
    assert main(["replay", bag, "--bundle", str(model), "--json", str(figures)]) == OK
    record = json.loads(figures.read_text())
    assert record["frames"] == {"sent": 1, "answered": 1, "dropped": 0, "scored": 1}
    corrected = record["methods"]["corrected"]
    assert set(corrected["class_iou"]) == {info.name for info in CITYSCAPES_CLASSES}
    # All arrived: the lanes were used; a flat disparity shows no ground, to camera and lidar alike.
    counts = ("evidence.used", "faults.evidence/depth", "faults.evidence/points")
    assert [record["node"][count] for count in counts] == [1, 1, 1]
    assert corrected["pixel_accuracy"] > 95


CITYSCAPES_TO_CAMVID = str(ROOT / "config" / "cityscapes_to_camvid.json")


@pytest.fixture
def cityscapes(tmp_path: Path) -> list[str]:
    """Options for a few small images in the classes of Cityscapes."""
    return ["--dataset", "cityscapes", "--root", str(write_cityscapes(tmp_path / "data"))]


@pytest.mark.ros
def test_another_dataset_is_recorded_and_replayed_in_the_classes_of_the_bundle(
    bundle: Path, cityscapes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, figures = str(tmp_path / "bag"), tmp_path / "a.json"
    made = ["make-bag", *cityscapes, "--out", bag, "--class-map", CITYSCAPES_TO_CAMVID]
    assert main(made) == FAILED
    assert "name it with --bundle" in complaint(capsys)
    assert main([*made, "--bundle", str(bundle), "--evidence", "lane_mask,labels"]) == OK
    assert main(["replay", bag, "--bundle", str(bundle), "--json", str(figures)]) == OK
    record = json.loads(figures.read_text())
    assert record["frames"]["scored"] == 4
    assert record["methods"]["corrected"]["class_iou"]["road"] == 100
    assert set(record["methods"]["corrected"]["class_iou"]) == {c.name for c in CAMVID_CLASSES}


@pytest.mark.ros
def test_truth_of_other_classes_is_scored_by_a_map_only(
    bundle: Path, cityscapes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, figures = str(tmp_path / "bag"), tmp_path / "a.json"
    assert main(["make-bag", *cityscapes, "--out", bag, "--evidence", "lane_mask,labels"]) == OK
    replay = ["replay", bag, "--bundle", str(bundle), "--json", str(figures)]
    assert main(replay) == FAILED
    assert "tells road, sidewalk, building, wall" in complaint(capsys)
    mapped = [*replay, "--class-map", CITYSCAPES_TO_CAMVID]
    assert main(mapped) == FAILED
    assert "evidence/labels of" in complaint(capsys)
    assert main([*mapped, "--evidence", "lanes"]) == OK
    record = json.loads(figures.read_text())
    assert record["methods"]["corrected"]["class_iou"]["road"] == 100


@pytest.mark.ros
def test_demo_of_another_dataset(bundle: Path, cityscapes: list[str], tmp_path: Path) -> None:
    options = ["--class-map", CITYSCAPES_TO_CAMVID, "--bundle", str(bundle), "--frames", "2"]
    assert main(["demo", *cityscapes, *options, "--out", str(tmp_path / "demo")]) == OK
    record = json.loads((tmp_path / "demo" / "scores.json").read_text())
    assert record["frames"]["scored"] == 2
    assert record["methods"]["corrected"]["class_iou"]["road"] == 100
    assert "cityscapes, val, in " in (tmp_path / "demo" / "report.html").read_text()


@pytest.mark.ros
def test_a_killed_replay_takes_its_node_along(bundle: Path, camvid: Path, tmp_path: Path) -> None:
    bag = str(tmp_path / "bag")
    assert main(["make-bag", "--dataset", "camvid", "--root", str(camvid), "--out", bag]) == OK
    script = "import sys; from seg_perception.cli import main; sys.exit(main())"
    replay = [sys.executable, "-c", script, "replay", bag, "--rate", "0.01"]
    with subprocess.Popen([*replay, "--bundle", str(bundle)], cwd=ROOT) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 60
        while not (nodes := children.read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == INTERRUPTED
    assert nodes
    assert not Path(f"/proc/{nodes[0]}").exists()


@pytest.mark.ros
def test_replay_of_a_model_without_a_code(camvid: Path, tmp_path: Path) -> None:
    size = {"height": 24, "width": 32}
    plain = write_tiny_bundle(tmp_path / "plain", classes=CAMVID_CLASSES, code_size=0, **size)
    bag, figures = str(tmp_path / "bag"), tmp_path / "a.json"
    made = ["make-bag", "--dataset", "camvid", "--root", str(camvid), "--out", bag]
    assert main([*made, "--evidence", "lane_mask,labels"]) == OK
    assert main(["replay", bag, "--bundle", str(plain), "--json", str(figures)]) == OK
    record = json.loads(figures.read_text())
    assert record["evidence_classes"] == []
    assert record["methods"]["replaced"] == record["methods"]["refined"]


@pytest.mark.ros
def test_replay_of_what_is_no_bag(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "/nowhere", "--bundle", str(bundle)]) == FAILED
    assert "no bag at /nowhere" in complaint(capsys)


def test_demo_looks_for_samples_before_it_drives(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = ["demo", "--frames", "2", "--bundle", str(bundle), "--out", str(tmp_path / "demo")]
    assert main([*demo, "--samples", str(tmp_path)]) == FAILED
    assert f"no images in {tmp_path}/kitti/image_2; expected" in complaint(capsys)
    assert not (tmp_path / "demo").exists()


@pytest.mark.ros
def test_demo_renders_drives_scores_and_reports(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = ["demo", "--frames", "2", "--bundle", str(bundle), "--threads", "1"]
    for _ in range(2):  # a second run replaces the first
        assert main([*demo, "--out", str(tmp_path)]) == OK
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["frames"]["scored"] == 2
    assert set(record["sources"]) == {"lane_mask", "lane_borders", "depth", "points"}
    assert record["node"]["evidence.used"] + record["node"]["evidence.doubted"] > 2
    assert "street, val" in (tmp_path / "report.html").read_text()
    assert "corrected" in capsys.readouterr().out
