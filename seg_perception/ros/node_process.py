"""The real node in a process of its own, for replays and tests."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from seg_perception.errors import ReplayError

NODE_NAME = "segmentation"
STOP_TIMEOUT_S = 15.0
LOG_TAIL_LINES = 15
# Above 101, Linux may have lent the ports to others.
HIGHEST_DOMAIN = 101


class NodeProcess:
    """Runs `segmentation_node` in a private DDS domain on this machine, until the end of `with`.

    Its namespace is unique too, so that not even a node that chose the same domain is met.

    Args:
        bundle: folder of the model bundle.
        parameters: further ROS parameters by name, as they would stand behind `-p NAME:=`.
    """

    def __init__(self, bundle: Path, parameters: Mapping[str, str] | None = None) -> None:
        self.domain_id = random.SystemRandom().randint(1, HIGHEST_DOMAIN)
        self.namespace = f"/replay_{os.getpid()}_{random.SystemRandom().randrange(16**6):06x}"
        self._parameters = {"bundle": f'"{bundle.resolve()}"', **(parameters or {})}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def node_name(self) -> str:
        """Full name of the node."""
        return f"{self.namespace}/{NODE_NAME}"

    def __enter__(self) -> NodeProcess:
        private = {
            "ROS_DOMAIN_ID": str(self.domain_id),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        given = [f"{name}:={value}" for name, value in self._parameters.items()]
        arguments = ["-r", f"__ns:={self.namespace}", *(x for p in given for x in ("-p", p))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "seg_perception.ros.node", "--ros-args", *arguments],
            env={**os.environ, **private},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

    def log_tail(self) -> str:
        """The last lines that the node wrote to stdout and stderr."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 8192))
        lines = self._log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        self._log.seek(0, os.SEEK_END)
        return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"
