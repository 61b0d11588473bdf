"""The other side of the node under test: its process, and a ROS node that talks to it."""

from __future__ import annotations

import gc
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_perception.ros.diagnostics import NodeReport, read_status
from seg_perception.ros.messages import from_array, stamp_ns, to_label_map
from seg_perception.ros.qos import LOSSLESS

NODE = "segmentation"
PATIENCE_S = 30.0
RESEND_S = 2.0
ROOT = Path(__file__).resolve().parents[1]
INTERRUPT = """
import contextlib, signal, sys

def interrupt(frame, event, arg):
    if event == "line" and frame.f_code is not signal.getsignal(signal.SIGINT).__code__:
        signal.raise_signal(signal.SIGINT)
    return interrupt
"""


def run_interrupted(script: str, *arguments: str) -> None:
    """Run a script that has to end well; as a trace function, `interrupt` sends SIGINT before every
    line of the main thread."""
    command = [sys.executable, "-c", INTERRUPT + script, *arguments]
    ended = subprocess.run(command, cwd=ROOT, timeout=PATIENCE_S, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


class NodeProcess:
    """The real node in a process of its own; stopped at the end of `with`."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:
        self.log = folder / "node.log"
        given = [("-p", f"{name}:={value}") for name, value in parameters.items()]
        command = [sys.executable, "-m", "seg_perception.ros", "--ros-args"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *itertools.chain.from_iterable(given)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended."""
        return self._process.wait(PATIENCE_S)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Client:
    """Plays camera, sensors and listener for the node named `NODE`; spun by its own thread."""

    def __init__(self, name: str = "client") -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()
        self._publishers: dict[tuple[type, str], Publisher] = {}
        self._clock = itertools.count(10**9, 10**9)
        self.report: NodeReport | None = None
        self._n_reports = 0
        self.masks: list[Image] = []
        self._receipts: set[tuple[str, int]] = set()
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.listen(Image, "mask", self.masks.append)
        self.listen(Header, "received", self._on_receipt, LOSSLESS)

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self._context.try_shutdown()

    def start_afresh(self) -> None:
        """Wait until the node of an earlier test is gone, and forget what it said."""
        # rclpy gives up a lifecycle node's handle only with the last reference to it.
        self.wait(lambda: gc.collect() >= 0 and not self.sees_node(), "the node before to be gone")
        self.report = None

    def sees_node(self) -> bool:
        """Whether the node is there; one of a replay that met in this domain has a namespace."""
        return (NODE, "/") in self.node.get_node_names_and_namespaces()

    def listen(
        self,
        kind: type,
        output: str,
        callback: Callable[[Any], None],
        qos: QoSProfile = qos_profile_sensor_data,
    ) -> Any:
        """Subscribe to ~/`output` of the node."""
        return self.node.create_subscription(kind, f"/{NODE}/{output}", callback, qos)

    def forget(self, subscription: Any) -> None:
        self.node.destroy_subscription(subscription)

    def stamp(self) -> int:
        """The stamp of the next image, nanoseconds: too late for all evidence sent before."""
        return next(self._clock)

    def send(self, topic: str, message: Any) -> None:
        """Publish, as soon as the node listens."""
        publisher = self.publisher(topic, type(message))
        self.wait(lambda: publisher.get_subscription_count() > 0, f"the node subscribes {topic}")
        publisher.publish(message)

    def tell(self, topic: str, message: Any) -> None:
        """Publish what a sensor says until the node has dealt with it: DDS may lose it."""
        receipt = topic, stamp_ns(message.header)

        def told() -> bool:
            self.send(topic, message)
            return wait_for(lambda: receipt in self._receipts, RESEND_S)

        self.wait(told, f"a receipt of {topic}")

    def publisher(self, topic: str, kind: type) -> Publisher:
        if (kind, topic) not in self._publishers:
            self._publishers[kind, topic] = self.node.create_publisher(kind, topic, 1)
        return self._publishers[kind, topic]

    def silence(self, topic: str, kind: type) -> None:
        """Take a publisher back."""
        self.node.destroy_publisher(self._publishers.pop((kind, topic)))

    def ask(
        self,
        message: Image | CompressedImage,
        inbox: list[Any] | None = None,
        before: Callable[[int], None] = lambda stamp: None,
    ) -> Any:
        """Send an image with a fresh stamp until it is answered; return the answer.

        DDS may lose what is sent at best effort, so that an image without an answer is repeated.

        Args:
            message: the image; its stamp is replaced.
            inbox: where answers arrive, default `masks`.
            before: called with each stamp before the image is sent.
        """
        inbox = self.masks if inbox is None else inbox
        topic = "image" if isinstance(message, Image) else "image/compressed"
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            stamp = self.stamp()
            message.header.stamp = to_time(stamp)
            before(stamp)
            self.send(topic, message)
            found = wait_for(lambda s=stamp: answers_to(s, inbox), RESEND_S)
            if found:
                return found[0]
        raise AssertionError(f"no answer; diagnostics: {self.report}")

    def labels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The node's answer uint8 [h,w] to an RGB image."""
        return to_label_map(self.ask(from_array(image, "rgb8", Header(frame_id="front"))))

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition is truthy; return its value."""
        value = wait_for(condition, PATIENCE_S)
        assert value, f"waited for {what}; diagnostics: {self.report}"
        return value

    def wait_for_report(self, condition: Callable[[NodeReport], Any], what: str) -> NodeReport:
        """Wait for diagnostics that meet a condition."""
        return self.wait(
            lambda: self.report if self.report is not None and condition(self.report) else None,
            what,
        )

    def fresh_report(self) -> NodeReport:
        """Diagnostics made after this call."""
        # The first to come may have been on its way.
        enough = self._n_reports + 2
        self.wait(lambda: self._n_reports >= enough, "two diagnostics")
        return self.report

    def fault_count(self, cause: str) -> int:
        return 0 if self.report is None else self.report.count(f"faults.{cause}")

    def provoke(self, cause: str, send: Callable[[], None]) -> str:
        """Do something wrong until the node counts it; return what it says about it."""
        before = self.fresh_report().count(f"faults.{cause}")
        for sent in range(1, 6):
            send()
            if wait_for(lambda: self.fault_count(cause) > before, RESEND_S):
                assert self.fault_count(cause) - before <= sent, "counted more than once"
                return self.report.values[f"faults.{cause}.last"]
        raise AssertionError(f"{cause} was not counted; diagnostics: {self.report}")

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Call the node's service of this name."""
        client = self.node.create_client(kind, f"/{NODE}/{name}")
        try:
            self.wait(client.service_is_ready, f"service {name}")
            future = client.call_async(request)
            self.wait(future.done, f"answer of service {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transit(self, transition: int) -> bool:
        """Change the lifecycle state; return whether that succeeded."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: object) -> SetParametersResult:
        parameters = [Parameter(name, value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, "set_parameters", request).results[0]

    def _on_receipt(self, message: Header) -> None:
        self._receipts.add((message.frame_id, stamp_ns(message)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        report = read_status(message, NODE)
        if report is not None:
            self.report = report
            self._n_reports += 1


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """Wait until a condition is truthy; return its last value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return value


def answers_to(stamp: int, inbox: list[Any]) -> list[Any]:
    return [message for message in list(inbox) if stamp_ns(message.header) == stamp]


def to_time(stamp: int) -> Time:
    return Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
