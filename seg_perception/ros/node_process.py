"""The real node in a process of its own, for replays and tests."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from seg_perception.errors import ReplayError
from seg_perception.ros.inputs import COMPRESSED, IMAGE
from seg_perception.ros.qos import lossless_overrides
from seg_perception.ros.senses import MESSAGE_TYPES
from seg_perception.ros.share import share_path

NODE_NAME = "segmentation"
ANSWERS = ("mask", "entropy")
"""The topics of the node that a replay listens to."""
STOP_TIMEOUT_S = 15.0
LOG_TAIL_LINES = 15
# Above 101, Linux may have lent the ports to others.
HIGHEST_DOMAIN = 101
OLD_FASTDDS = ("humble", "iron", "jazzy")
"""Distributions whose Fast DDS knows its profiles by an older variable."""


class NodeProcess:
    """Runs `segmentation_node` in a private DDS domain on this machine, until the end of `with`.

    Its namespace is unique too, so that not even a node that chose the same domain is met.

    Args:
        bundle: folder of the model bundle.
        parameters: further ROS parameters by name, as they would stand behind `-p NAME:=`.
        lossless: nothing that comes in, no mask and no entropy gets lost on the way.
    """

    def __init__(
        self, bundle: Path, parameters: Mapping[str, str] | None = None, *, lossless: bool = False
    ) -> None:
        self.domain_id = random.SystemRandom().randint(1, HIGHEST_DOMAIN)
        self.namespace = f"/replay_{os.getpid()}_{random.SystemRandom().randrange(16**6):06x}"
        self._parameters = {"bundle": f'"{bundle.resolve()}"', **(parameters or {})}
        if lossless:
            inputs = [f"{self.namespace}/{topic}" for topic in (IMAGE, COMPRESSED, *MESSAGE_TYPES)]
            self._parameters |= lossless_overrides(
                inputs, (f"{self.node_name}/{one}" for one in ANSWERS)
            )
        self._profiles = share_path("config/fastdds_large_images.xml")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def node_name(self) -> str:
        """Full name of the node."""
        return f"{self.namespace}/{NODE_NAME}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes DDS private and fit for large images, for the node and who talks to it."""
        old = os.environ.get("ROS_DISTRO") in OLD_FASTDDS
        variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
        return {
            "ROS_DOMAIN_ID": str(self.domain_id),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            variable: os.environ.get(variable, str(self._profiles)),
        }

    def __enter__(self) -> NodeProcess:
        given = [f"{name}:={value}" for name, value in self._parameters.items()]
        arguments = ["-r", f"__ns:={self.namespace}", *(x for p in given for x in ("-p", p))]
        try:
            with _signals_deferred():
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "seg_perception.ros", "--ros-args", *arguments],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=subprocess.STDOUT,
                )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """End the node, by force if it does not end by itself; idempotent."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def check_alive(self) -> None:
        """Notice that the node has died.

        Raises:
            ReplayError: it has; the message holds the end of its log.
        """
        if self.exit_code is not None:
            raise ReplayError(
                f"the node ended with exit code {self.exit_code}; its last words:\n"
                f"{self.log_tail()}"
            )

    def companion(self, name: str) -> Node:
        """A ROS node beside the one in the process, in a context of its own."""
        before = dict(os.environ)
        # Middleware reads its settings from nowhere else, and not before the first node is made.
        os.environ.update(self.environment)
        try:
            context = Context()
            rclpy.init(args=[], context=context)
            return rclpy.create_node(
                name, context=context, namespace=self.namespace, use_global_arguments=False
            )
        finally:
            os.environ.clear()
            os.environ.update(before)

    def log_tail(self) -> str:
        """The last lines that the node wrote to stdout and stderr."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 8192))
        lines = self._log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        self._log.seek(0, os.SEEK_END)
        return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Handle SIGINT and SIGTERM afterwards: who starts a process must live to know it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
