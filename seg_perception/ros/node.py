"""The lifecycle node: parameters, transitions, diagnostics. No arithmetic.

States and what exists in them: unconfigured = parameters, services and /diagnostics; inactive =
also the model and the topics of answers (`Session`), as soon as its engine is built (`Loading`);
active = also the subscriptions.
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import (
    LifecycleNode,
    LifecycleNodeMixin,
    LifecycleState,
    TransitionCallbackReturn,
)
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from seg_perception.errors import ConfigError, SegPerceptionError
from seg_perception.ros.diagnostics import Snapshot, to_status
from seg_perception.ros.health import judge_active, judge_idle
from seg_perception.ros.loading import Loading
from seg_perception.ros.parameters import declare, misspelt
from seg_perception.ros.session import Session, open_model
from seg_perception.ros.spinning import spinning

NODE_NAME = "segmentation"
LOOK_S = 0.1
"""How often to look whether an engine is built."""

LAST_WORDS = Duration(seconds=0.5)
"""How long the end waits for someone to hear the last diagnostics."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class SegmentationNode(LifecycleNode):
    """Answers camera images with label maps; see docs of the topics in the README.

    Spin it as `spinning` does, with several threads: loading a model then blocks no service.

    Raises:
        ConfigError: a parameter has a value that is none of those there are.
        rclpy.exceptions.ParameterException: one is of another type or out of its range.
    """

    def __init__(self, **arguments: Any) -> None:
        Node.__init__(self, NODE_NAME, **arguments)
        # As LifecycleNode does it, but with a group in which "get_state" need not wait for the end
        # of "configure".
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._state = "unconfigured"
        self._failure = ""
        self._ending = False
        self._activates_itself = False
        self._loading: Loading | None = None
        self._session: Session | None = None
        # What is loaded becomes a session, or is given back: one of both.
        self._handover = threading.RLock()
        self._settings = declare(self)
        for line in misspelt(self):
            self.get_logger().warning(line)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The steady clock also ticks while simulated time stands still, which is worth telling.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(
            self._settings.diagnostics_period,
            self._on_timer,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=steady,
        )
        self._built = self.create_timer(
            LOOK_S, self._on_built, callback_group=MutuallyExclusiveCallbackGroup(), clock=steady
        )
        self._built.cancel()
        self._autostart = self.create_timer(
            0.0, self._start, callback_group=MutuallyExclusiveCallbackGroup(), clock=steady
        )
        if not self._settings.autostart:
            self._autostart.cancel()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and make the topics of answers; while an engine is built, return."""
        self._loading = Loading(partial(open_model, self._settings))
        if self._ending:
            self._loading.ask_to_stop()
        self._enter("configuring")
        if self._loading.wait():
            error = self._take_over()
            if error is not None:
                return self._fail("unconfigured", error)
        else:
            self.get_logger().warning(f"{self._loading.text()}: /diagnostics says how far it is")
            self._enter("inactive")
            self._built.reset()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and answer."""
        with self._handover:  # a session that is just being made is waited for
            session = self._session
        if session is None:
            reason = self._advice() or "the model could not be loaded"
            self.get_logger().error(f"cannot answer yet, activate again later: {reason}")
            return FAILURE
        enabled = super().on_activate(state)
        try:
            topics = session.start()
        except Exception as error:
            session.stop()
            super().on_deactivate(state)
            return self._fail("inactive", error)
        self.get_logger().info(f"answers images on {' or '.join(topics)}")
        self._enter("active")
        return enabled

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the model stays loaded."""
        assert self._session is not None
        self._session.stop()
        self._enter("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the model and the topics of answers."""
        self._release("unconfigured")
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As cleanup, from any state and for good."""
        self._release("finalized")
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to the start, from where the node can be configured again."""
        self._release("unconfigured")
        return SUCCESS

    def publish_diagnostics(self) -> None:
        """Tell on /diagnostics how the node is doing."""
        session = self._session
        inputs = session.inputs if session is not None else None
        if session is None or inputs is None:
            level, message = judge_idle(self, self._state, self._failure, self._advice())
        else:
            level, message = judge_active(self, session, inputs, self._settings.image_timeout)
        name = self.get_fully_qualified_name().lstrip("/")
        status = to_status(name, level, message, self._snapshot(session))
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(array)

    def end_loading(self) -> None:
        """Stop the build of an engine if there is one: it would hold up the end for minutes."""
        self._ending = True
        loading = self._loading
        if loading is not None:
            loading.ask_to_stop()

    def close(self) -> None:
        """Release everything, whatever state the node is in; for after the executor has stopped."""
        if self._state != "finalized":
            self.trigger_shutdown()
        self._publisher.wait_for_all_acked(LAST_WORDS)
        self.destroy_node()

    def _on_timer(self) -> None:
        try:
            self.publish_diagnostics()
        except Exception:  # looking for the fault of others must not become one
            self.get_logger().error(traceback.format_exc(), throttle_duration_sec=60.0)

    def _start(self) -> None:
        self._autostart.cancel()
        self._activates_itself = True
        if self.trigger_configure() != SUCCESS:
            self._activates_itself = False
        elif self._is_its_own_turn():
            self.trigger_activate()

    def _is_its_own_turn(self) -> bool:
        """Whether the node is to activate itself now; says so once."""
        with self._handover:
            wanted = self._activates_itself and self._session is not None
            self._activates_itself &= not wanted
            return wanted

    def _on_built(self) -> None:
        """Go on where `on_configure` returned early, once there is something to go on with."""
        with self._handover:
            if self._loading is None or not self._loading.is_done:
                return
            self._built.cancel()
            error = self._take_over()
        try:
            if error is not None:
                self.trigger_cleanup()
                self._fail("unconfigured", error)
            elif self._is_its_own_turn():
                self.trigger_activate()
        except Exception:  # somebody else was quicker with another transition
            self.get_logger().warning(traceback.format_exc())

    def _take_over(self) -> Exception | None:
        """Make a session of what was loaded; why that failed, if it did."""
        with self._handover:
            assert self._loading is not None
            loading, self._loading = self._loading, None
            try:
                self._session = loading.handed_to(partial(Session, self, self._settings))
            except Exception as error:  # whatever a runtime raises, the node must live to tell it
                return error
            runner = self._session.runner
            self.get_logger().info(f"{runner.bundle.path} with {runner.name}: {runner.reason}")
            self._enter("inactive")
        return None

    def _advice(self) -> str:
        """How far the loading is, and what follows; empty if nothing is being loaded."""
        loading = self._loading
        if loading is None:
            return ""
        then = "; the node activates itself then" if self._activates_itself else ""
        return f"{loading.text()}{then}"

    def _enter(self, state: str) -> None:
        self._state, self._failure = state, ""
        self.publish_diagnostics()

    def _fail(self, state: str, error: Exception) -> TransitionCallbackReturn:
        if isinstance(error, SegPerceptionError):
            reason = str(error)
        else:
            reason = f"{type(error).__name__}: {error}"
            self.get_logger().error(traceback.format_exc())
        self._state, self._failure = state, reason
        self.get_logger().error(reason)
        self.publish_diagnostics()
        return FAILURE

    def _release(self, state: str) -> None:
        self._built.cancel()
        self._activates_itself = False
        with self._handover:
            loading, self._loading = self._loading, None
            if loading is not None:
                loading.abandon()
            if self._session is not None:
                self._session.close()
            # The last words still tell what the session did.
            self._enter(state)
            self._session = None

    def _snapshot(self, session: Session | None) -> Snapshot:
        if session is None:
            loading = self._loading
            facts = {} if loading is None else loading.facts()
            return Snapshot({"state": self._state, **facts})
        runner = session.runner
        facts = {
            "state": self._state,
            "bundle": str(runner.bundle.path),
            "runner": runner.name,
            "runner_reason": runner.reason,
            "camera": session.camera,
        }
        return session.journal.snapshot(facts, session.counters)

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        configured = self._state not in ("unconfigured", "finalized")
        try:
            self._settings = self._settings.changed(parameters, configured=configured)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        session = self._session
        if session is not None:
            session.apply(self._settings)
        return SetParametersResult(successful=True)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM.

    Returns:
        The exit code: 0, or 1 for parameters that make no sense.
    """
    # Reentrant, as an Event is not: a signal may come just as this thread begins to wait.
    end: SimpleQueue[None] = SimpleQueue()

    def stop(*_: object) -> None:
        end.put(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    # rclpy's own handlers would cut the connection in the middle of a frame.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = SegmentationNode()
    except (ConfigError, ParameterException) as error:
        rclpy.logging.get_logger(NODE_NAME).fatal(str(error))
        rclpy.shutdown()
        return 1
    with spinning(node, stop):
        end.get()
        node.end_loading()
    node.close()
    rclpy.shutdown()
    return 0
