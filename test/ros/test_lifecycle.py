"""Transitions really create and release, failures say why, signals end the node cleanly."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.waitable import Waitable
from ros_client import NODE, PATIENCE_S, Client, NodeProcess, run_interrupted, to_time, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tiny_bundle import TINY_CLASSES, color_image, write_tiny_bundle

from seg_perception.classes import ClassInfo
from seg_perception.errors import RunnerError
from seg_perception.ros import node as node_module
from seg_perception.ros import session
from seg_perception.ros.diagnostics import ERROR, OK, WARN
from seg_perception.ros.messages import from_array, to_label_map
from seg_perception.ros.node import SegmentationNode
from seg_perception.ros.spinning import spinning
from seg_perception.runtime.bundle import Bundle, load_bundle
from seg_perception.runtime.engine_cache import BuildStoppedError, Progress
from seg_perception.runtime.runner import Runner

pytestmark = pytest.mark.ros

LABELS = np.tile(np.arange(4, dtype=np.uint8), (24, 8))
IMAGE = color_image(LABELS, TINY_CLASSES)
OUTPUTS = ("mask", "confidence", "entropy", "overlay", "overlay/compressed", "label_info")
FAST = {"diagnostics_period": 0.1}


@pytest.fixture
def by_hand(tmp_path: Path, client: Client) -> Iterator[NodeProcess]:
    """The node without a model, waiting for transitions."""
    client.start_afresh()
    parameters = {**FAST, "bundle": tmp_path / "nowhere", "autostart": False}
    with NodeProcess(tmp_path, parameters) as process:
        client.wait_for_report(lambda report: report.state == "unconfigured", "the node")
        yield process
        assert process.stop() == 0


def outputs(client: Client) -> set[str]:
    """Outputs of the node that exist."""
    return {name for name in OUTPUTS if client.node.count_publishers(f"/{NODE}/{name}")}


def listens(client: Client) -> bool:
    """Whether the node subscribes images."""
    return client.node.count_subscribers("/image") > 0


def test_a_life(by_hand: NodeProcess, bundle: Path, tmp_path: Path, client: Client) -> None:
    assert client.report.level == WARN
    assert f"ros2 lifecycle set /{NODE} configure" in client.report.message
    assert outputs(client) == set()

    assert not client.transit(Transition.TRANSITION_CONFIGURE)
    report = client.wait_for_report(lambda report: report.level == ERROR, "the failure to be told")
    assert "nowhere is no bundle" in report.message
    assert client.state() == "unconfigured"

    assert client.set_parameter("bundle", str(bundle)).successful
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    client.wait(lambda: outputs(client) == set(OUTPUTS), "topics of answers")
    assert not listens(client)
    report = client.wait_for_report(lambda report: report.state == "inactive", "inactive")
    assert (report.level, report.values["bundle"]) == (WARN, str(bundle))
    assert f"ros2 lifecycle set /{NODE} activate" in report.message

    for _ in range(2):
        assert client.transit(Transition.TRANSITION_ACTIVATE)
        np.testing.assert_array_equal(client.labels(IMAGE), LABELS)
        assert client.transit(Transition.TRANSITION_DEACTIVATE)
        client.wait(lambda: not listens(client), "no subscription any more")

    assert client.transit(Transition.TRANSITION_CLEANUP)
    client.wait(lambda: outputs(client) == set(), "no topics of answers any more")

    swapped = (ClassInfo(0, "road", (255, 0, 0)), ClassInfo(1, "sky", (0, 0, 255)))
    other = write_tiny_bundle(tmp_path / "other", height=12, width=16, classes=swapped)
    assert client.set_parameter("bundle", str(other)).successful
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    assert client.transit(Transition.TRANSITION_ACTIVATE)
    labels = (LABELS % 2)[:12, :16]
    np.testing.assert_array_equal(client.labels(color_image(labels, swapped)), labels)

    assert client.transit(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    client.wait_for_report(lambda report: report.state == "finalized", "the end")
    client.wait(lambda: outputs(client) == set(), "no topics of answers any more")
    assert client.state() == "finalized"


def test_a_model_without_code_and_road_runs_without_evidence(
    by_hand: NodeProcess, tmp_path: Path, client: Client
) -> None:
    classes = (ClassInfo(0, "floor", (255, 0, 0)), ClassInfo(1, "wall", (0, 0, 255)))
    indoor = write_tiny_bundle(tmp_path / "indoor", classes=classes, code_size=0)
    assert client.set_parameter("bundle", str(indoor)).successful
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    assert client.transit(Transition.TRANSITION_ACTIVATE)
    np.testing.assert_array_equal(client.labels(color_image(LABELS % 2, classes)), LABELS % 2)
    assert client.node.count_subscribers("/evidence/labels") == 0


def test_classes_that_lanes_cannot_lie_on_mute_only_the_lanes(
    by_hand: NodeProcess, bundle: Path, client: Client
) -> None:
    assert client.set_parameter("bundle", str(bundle)).successful
    assert client.set_parameter("evidence.lane_mask.classes", ["lawn"]).successful
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    assert client.transit(Transition.TRANSITION_ACTIVATE)
    report = client.fresh_report()
    assert "unknown class 'lawn'" in report.values["faults.evidence/lane_mask.last"]
    np.testing.assert_array_equal(client.labels(IMAGE), LABELS)
    client.wait(lambda: client.node.count_subscribers("/evidence/labels") == 1, "evidence/labels")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_the_middle_of_frames_ends_cleanly(
    number: signal.Signals, tmp_path: Path, client: Client
) -> None:
    # Large enough that the model is at work nearly all the time.
    slow = write_tiny_bundle(tmp_path / "slow", height=480, width=640)
    client.start_afresh()
    image = from_array(IMAGE, "rgb8", Header(frame_id="front"))
    with NodeProcess(tmp_path, {**FAST, "bundle": slow, "self_test": False}) as process:

        def flood() -> bool:
            image.header.stamp = to_time(client.stamp())
            client.send("image", image)
            return client.report is not None and client.report.count("frames.dropped") > 5

        client.wait(flood, "more images than the model can answer")
        assert process.stop(number) == 0
        assert "Traceback" not in process.log.read_text()
    report = client.wait_for_report(lambda report: report.state == "finalized", "last words")
    assert report.count("frames.answered") > 0


def test_a_signal_may_come_at_any_line() -> None:
    script = """
from seg_perception.ros import node

@contextlib.contextmanager
def interrupted(*arguments):
    with spinning(*arguments):
        sys._getframe(2).f_trace = interrupt
        sys.settrace(interrupt)
        yield

spinning, node.spinning = node.spinning, interrupted
code = node.main()
sys.settrace(None)
sys.exit(code)
"""
    run_interrupted(script, "--ros-args", "-p", "autostart:=false")


def test_signal_while_loading_ends_cleanly(tmp_path: Path, client: Client) -> None:
    large = write_tiny_bundle(tmp_path / "large", height=480, width=640)
    client.start_afresh()
    with NodeProcess(tmp_path, {**FAST, "bundle": large}) as process:
        client.wait(client.sees_node, "the node to appear")
        assert process.stop() == 0
        assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("overlay_alpha", "7.5", "overlay_alpha"),
        ("runner", "abacus", "runner is 'abacus': use one of auto"),
        ("threads", "many", "threads"),
    ],
)
def test_parameter_without_sense_ends_the_start_with_the_reason(
    name: str, value: str, said: str, tmp_path: Path
) -> None:
    with NodeProcess(tmp_path, {name: value}) as process:
        assert process.wait() == 1
        log = process.log.read_text()
    assert said in log
    assert "Traceback" not in log


@contextmanager
def started(bundle: Path, *, autostart: bool) -> Iterator[SegmentationNode]:
    """The node in this process, spun as `main` does."""
    context = Context()
    rclpy.init(context=context)
    given = {"bundle": str(bundle), "autostart": autostart, **FAST}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    node = SegmentationNode(context=context, parameter_overrides=overrides)
    with spinning(node):
        yield node
    node.close()
    context.try_shutdown()


@pytest.fixture
def inner(bundle: Path, client: Client) -> Iterator[SegmentationNode]:
    """The node, waiting for transitions."""
    client.start_afresh()
    with started(bundle, autostart=False) as node:
        yield node


def perceiver_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "perceiver"]


def test_cleanup_releases_model_and_threads(inner: SegmentationNode) -> None:
    sessions = []
    for _ in range(3):
        assert inner.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert inner.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert len(perceiver_threads()) == 1
        runner = inner._session.runner
        sessions.append(weakref.ref(inner._session))
        assert inner.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert perceiver_threads() == []
        assert inner.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        with pytest.raises(RunnerError, match="closed"):
            runner.run({"image": IMAGE[None]})
    # The executor holds on to the last subscriptions for a few more rounds.
    wait_for(lambda: gc.collect() >= 0 and not any(session() for session in sessions), 10.0)
    assert [session() for session in sessions] == [None, None, None]


def test_loading_blocks_no_service(
    inner: SegmentationNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def slow(path: Path) -> Bundle:
        go_on.wait(30.0)
        return load_bundle(path)

    monkeypatch.setattr(session, "load_bundle", slow)
    loader = threading.Thread(target=lambda: client.transit(Transition.TRANSITION_CONFIGURE))
    loader.start()
    client.wait(lambda: client.state() == "configuring", "the transition to begin")
    assert client.set_parameter("overlay_alpha", 0.25).successful
    assert not client.set_parameter("bundle", "/elsewhere").successful
    report = client.wait_for_report(lambda report: report.state == "configuring", "diagnostics")
    assert (report.level, report.message) == (OK, "loading the model")
    go_on.set()
    loader.join()
    assert client.state() == "inactive"


SAID = "building the engine: Tactic selection, 3 of 40 (7 %), for "


class Builder:
    """Stands in for `open_runner`: an engine is built until it is told to go on, or to stop.

    Attributes:
        stopped: whether it was told to stop.
        opened: what came of it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stopped = False
        self.opened: list[Runner] = []
        self.failure: Exception | None = None
        self._real = session.open_runner
        self._go_on = threading.Event()
        monkeypatch.setattr(session, "open_runner", self)

    def __call__(
        self, bundle: Bundle, kind: str, *, threads: int | None, progress: Progress
    ) -> Runner:
        while not self._go_on.wait(0.01):
            if not progress("Tactic selection", 3, 40):
                self.stopped = True
                raise BuildStoppedError("told to stop")
        if self.failure is not None:
            raise self.failure
        self.opened.append(self._real(bundle, kind, threads=threads))
        return self.opened[-1]

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    return Builder(monkeypatch)


def test_while_an_engine_is_built_the_node_is_inactive_and_tells(
    builder: Builder, inner: SegmentationNode, client: Client
) -> None:
    assert client.transit(Transition.TRANSITION_CONFIGURE)  # although nothing is built yet
    assert client.state() == "inactive"
    report = client.wait_for_report(lambda report: SAID in report.message, "the progress")
    assert report.level == WARN
    assert report.message.startswith("inactive, so nothing is published yet: building the engine")
    told = {key: value for key, value in report.values.items() if key.startswith("build.")}
    assert float(told.pop("build.seconds")) >= 0
    assert told == {
        "build.phase": "Tactic selection",
        "build.done": "3",
        "build.total": "40",
        "build.percent": "7",
    }
    assert outputs(client) == set()
    assert client.set_parameter("overlay_alpha", 0.25).successful
    builder.go_on()
    client.wait(lambda: outputs(client) == set(OUTPUTS), "topics of answers")
    report = client.wait_for_report(lambda report: "activate" in report.message, "inactive")
    assert "build.phase" not in report.values
    assert client.transit(Transition.TRANSITION_ACTIVATE)
    np.testing.assert_array_equal(client.labels(IMAGE), LABELS)


def test_activation_is_refused_while_an_engine_is_built(
    builder: Builder, inner: SegmentationNode, client: Client
) -> None:
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    assert not client.transit(Transition.TRANSITION_ACTIVATE)
    assert client.state() == "inactive"
    client.wait_for_report(lambda report: SAID in report.message, "the progress, still")
    builder.go_on()
    client.wait(lambda: outputs(client) == set(OUTPUTS), "topics of answers")
    assert client.transit(Transition.TRANSITION_ACTIVATE)


def test_with_autostart_it_activates_itself_once_the_engine_is_built(
    builder: Builder, bundle: Path, client: Client
) -> None:
    client.start_afresh()
    with started(bundle, autostart=True):
        said = client.wait_for_report(lambda report: SAID in report.message, "the progress")
        assert "the node activates itself then" in said.message
        builder.go_on()
        np.testing.assert_array_equal(client.labels(IMAGE), LABELS)


def test_a_build_that_fails_says_why_and_can_be_repeated(
    builder: Builder, inner: SegmentationNode, client: Client
) -> None:
    builder.failure = RunnerError("no memory: close what else uses the GPU")
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    client.wait_for_report(lambda report: SAID in report.message, "the progress")
    builder.go_on()
    report = client.wait_for_report(lambda report: report.level == ERROR, "the failure")
    assert report.message == "unconfigured: no memory: close what else uses the GPU"
    assert client.state() == "unconfigured"
    builder.failure = None
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    assert client.transit(Transition.TRANSITION_ACTIVATE)
    np.testing.assert_array_equal(client.labels(IMAGE), LABELS)


@pytest.mark.parametrize(
    ("transition", "state"),
    [
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
        (Transition.TRANSITION_INACTIVE_SHUTDOWN, "finalized"),
    ],
)
def test_cleanup_and_shutdown_stop_a_build(
    builder: Builder, inner: SegmentationNode, client: Client, transition: int, state: str
) -> None:
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    client.wait_for_report(lambda report: SAID in report.message, "the progress")
    assert client.transit(transition)
    assert builder.stopped
    assert client.state() == state
    client.wait_for_report(lambda report: report.state == state, "the end of the build")
    assert not [thread for thread in threading.enumerate() if thread.name == "loading"]


def test_what_was_built_too_late_is_given_back(
    builder: Builder, inner: SegmentationNode, client: Client
) -> None:
    """The builder asked whether to go on for the last time before it was told to stop."""
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    inner._built.cancel()
    builder.go_on()
    wait_for(lambda: inner._loading.is_done, 30.0)
    assert client.transit(Transition.TRANSITION_CLEANUP)
    with pytest.raises(RunnerError, match="closed"):
        builder.opened[0].run({"image": IMAGE[None]})


def test_the_end_of_the_process_stops_a_build(
    builder: Builder, inner: SegmentationNode, client: Client
) -> None:
    assert client.transit(Transition.TRANSITION_CONFIGURE)
    inner.end_loading()
    wait_for(lambda: builder.stopped, 30.0)


def test_activation_that_fails_says_why_and_can_be_repeated(
    inner: SegmentationNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inner.trigger_configure() == TransitionCallbackReturn.SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(session, "Inputs", lambda *arguments, **named: 1 / 0)
        assert inner.trigger_activate() == TransitionCallbackReturn.FAILURE
        report = client.wait_for_report(lambda report: report.level == ERROR, "the error")
        assert report.message.startswith("inactive: ZeroDivisionError")
    assert perceiver_threads() == []
    (mask,) = (one for one in inner.publishers if one.topic_name == f"/{NODE}/mask")
    assert not mask.is_activated
    assert inner.trigger_activate() == TransitionCallbackReturn.SUCCESS
    answer: Image = client.ask(from_array(IMAGE, "rgb8", Header()))
    np.testing.assert_array_equal(to_label_map(answer), LABELS)


def test_diagnostics_that_fail_do_not_end_the_node(
    inner: SegmentationNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(*arguments: object) -> None:
        tried.set()
        raise RuntimeError("no middleware")

    assert inner.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert inner.trigger_activate() == TransitionCallbackReturn.SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(node_module, "judge_active", fail)
        client.wait(tried.is_set, "diagnostics to fail")
        answer: Image = client.ask(from_array(IMAGE, "rgb8", Header()))
        np.testing.assert_array_equal(to_label_map(answer), LABELS)
    client.fresh_report()


def test_an_output_that_is_destroyed_before_its_event_is_taken_blocks_no_service(
    inner: SegmentationNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inner.trigger_configure() == TransitionCallbackReturn.SUCCESS
    missed = threading.Event()
    kind = type(next(inner.waitables))
    take = kind.take_data

    def take_data(self: Waitable) -> object:
        if missed.is_set() or self not in inner.waitables:  # the client's
            return take(self)
        missed.set()
        raise InvalidHandle("destroyed")

    monkeypatch.setattr(kind, "take_data", take_data)
    subscription = client.listen(Image, "mask", print, QoSProfile(depth=1))  # asks for reliability
    assert missed.wait(PATIENCE_S)
    assert client.set_parameter("overlay_alpha", 0.25).successful
    client.forget(subscription)


def test_images_that_the_middleware_lost_are_told(inner: SegmentationNode, client: Client) -> None:
    assert inner.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert inner.trigger_activate() == TransitionCallbackReturn.SUCCESS
    inner._session.on_lost(3)
    report = client.wait_for_report(lambda report: report.count("frames.lost") == 3, "the loss")
    assert "Large images" in report.values["faults.image_lost.last"]


def test_whatever_a_runtime_raises_the_node_lives_to_tell_it(
    inner: SegmentationNode, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(session, "load_bundle", lambda path: 1 / 0)
        assert inner.trigger_configure() == TransitionCallbackReturn.FAILURE
        report = client.wait_for_report(lambda report: report.level == ERROR, "the error")
        assert "ZeroDivisionError" in report.message
    assert inner.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert inner.trigger_activate() == TransitionCallbackReturn.SUCCESS
    answer: Image = client.ask(from_array(IMAGE, "rgb8", Header()))
    np.testing.assert_array_equal(to_label_map(answer), LABELS)
