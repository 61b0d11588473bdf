"""The node's executor: who waits, who runs what, and what ends it. Real rclpy, nothing timed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from rcl_interfaces.srv import ListParameters
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import Executor
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node
from sensor_msgs.msg import Image

from seg_perception.ros.qos import SubscriptionEventCallbacks
from seg_perception.ros.spinning import THREADS, spinning

pytestmark = pytest.mark.ros

PATIENCE_S = 30.0


class Trap(ReentrantCallbackGroup):
    """Does something once, from when it is armed: just after an executor has listed a callback."""

    def __init__(self) -> None:
        super().__init__()
        self.action: Callable[[], object] | None = None

    def can_execute(self, entity: Any) -> bool:
        action, self.action = self.action, None
        if action is not None:
            action()
        return True


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("spun", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def on_trigger(node: Node, callback: Callable[[], object]) -> GuardCondition:
    """Something to trigger the callback with; may be called by several threads at once."""
    return node.create_guard_condition(callback, ReentrantCallbackGroup())


def runs(node: Node, trigger: Callable[[], object] = lambda: None) -> bool:
    """Whether callbacks are run, the one asked for before this, too."""
    ran = threading.Event()
    condition = on_trigger(node, ran.set)
    trigger()
    condition.trigger()
    return ran.wait(PATIENCE_S)


def test_each_callback_runs_once(node: Node) -> None:
    n_runs = 0
    ran = threading.Semaphore(0)

    def callback() -> None:
        nonlocal n_runs
        n_runs += 1
        ran.release()

    condition = on_trigger(node, callback)
    with spinning(node):
        for _ in range(100):
            condition.trigger()
            assert ran.acquire(timeout=PATIENCE_S)
        assert runs(node)
    assert n_runs == 100


def test_while_all_threads_are_busy_nobody_waits(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: set[int] = set()
    wait = Executor.wait_for_ready_callbacks

    def counted(*args: Any, **options: Any) -> Any:
        waits.add(threading.get_ident())
        try:
            return wait(*args, **options)
        finally:
            waits.remove(threading.get_ident())

    monkeypatch.setattr(Executor, "wait_for_ready_callbacks", counted)
    met, go = threading.Barrier(THREADS + 1), threading.Event()

    def work() -> None:
        met.wait(PATIENCE_S)
        go.wait(PATIENCE_S)

    ran = threading.Event()
    further = on_trigger(node, ran.set)
    with spinning(node):
        for condition in [on_trigger(node, work) for _ in range(THREADS)]:
            condition.trigger()
        met.wait(PATIENCE_S)
        further.trigger()
        assert not waits
        assert not ran.is_set()
        go.set()
        assert ran.wait(PATIENCE_S)


def test_what_was_destroyed_since_it_was_listed_is_left(node: Node) -> None:
    trap, sprung = Trap(), threading.Event()
    events = SubscriptionEventCallbacks(message_lost=lambda event: None)
    subscription = node.create_subscription(
        Image, "image", lambda image: None, 1, event_callbacks=events
    )
    subscription.event_handlers[0].callback_group = trap

    def destroy() -> None:
        node.destroy_subscription(subscription)
        sprung.set()

    def arm() -> None:
        trap.action = destroy

    with spinning(node):
        assert runs(node, arm)
        assert sprung.wait(PATIENCE_S)
        assert runs(node)


def test_what_was_destroyed_before_it_was_begun_is_left(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    """A service that ends before its answer is out: only rclpy itself meets what is destroyed."""

    def answer(
        request: ListParameters.Request, response: ListParameters.Response
    ) -> ListParameters.Response:
        node.destroy_service(service)
        return response

    service = node.create_service(ListParameters, "ending", answer)
    client = node.create_client(ListParameters, "ending")
    with spinning(node):
        assert client.wait_for_service(PATIENCE_S)
        assert runs(node, lambda: client.call_async(ListParameters.Request()))
        assert runs(node)
    assert "destroyed" not in capfd.readouterr().err


def test_a_callback_that_uses_what_is_destroyed_is_told_of_once(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    publisher = node.create_publisher(Image, "image", 1)
    node.destroy_publisher(publisher)
    begun = threading.Semaphore(0)

    def publish() -> None:
        begun.release()
        publisher.publish(Image())

    condition = on_trigger(node, publish)
    with spinning(node):
        for _ in range(3):
            condition.trigger()
            assert begun.acquire(timeout=PATIENCE_S)
        assert runs(node)
    logged = capfd.readouterr().err
    assert logged.count("A callback used what is destroyed") == 1
    assert "in publish\n    publisher.publish(Image())" in logged


def test_what_ends_the_spinning_is_raised(node: Node) -> None:
    ended = threading.Event()
    node.create_timer(0.0, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), spinning(node, ended.set):
        assert ended.wait(PATIENCE_S)


def test_what_ends_the_waiting_is_raised(node: Node) -> None:
    trap, ended = Trap(), threading.Event()

    def fail() -> None:
        raise RuntimeError("as rcl fails")

    trap.action = fail
    node.create_guard_condition(lambda: None, trap)
    with pytest.raises(RuntimeError, match="as rcl fails"), spinning(node, ended.set):
        assert ended.wait(PATIENCE_S)


def test_the_end_waits_for_what_has_begun(node: Node) -> None:
    begun, ending, finished = (threading.Event() for _ in range(3))

    def work() -> None:
        begun.set()
        assert ending.wait(PATIENCE_S)
        finished.set()

    condition = on_trigger(node, work)
    with spinning(node, ending.set):
        condition.trigger()
        assert begun.wait(PATIENCE_S)
    assert finished.is_set()


def test_the_end_of_the_context_ends_it(node: Node) -> None:
    ended = threading.Event()
    with spinning(node, ended.set):
        assert runs(node)
        node.context.shutdown()
        assert ended.wait(PATIENCE_S)


def test_the_end_of_the_context_just_before_the_wait_ends_it(node: Node) -> None:
    trap, ended = Trap(), threading.Event()
    trap.action = node.context.shutdown
    node.create_guard_condition(lambda: None, trap)
    with spinning(node, ended.set):
        assert ended.wait(PATIENCE_S)
