"""Spins a node in several threads.

rclpy's own `MultiThreadedExecutor` offers a callback again and again until a thread has begun it:
beside a model that keeps the cores busy that takes up to half a core and, worse, the interpreter's
lock from the very thread that is waited for. It also ends where a callback destroys a subscription
that is about to be waited for. Here each callback is offered once, and what was destroyed is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rclpy.exceptions import InvalidHandle
from rclpy.executors import (
    ConditionReachedException,
    ExternalShutdownException,
    SingleThreadedExecutor,
)
from rclpy.node import Node
from rclpy.task import Task

THREADS = 4
"""For images, evidence, services and diagnostics, so that none waits for another."""


@contextmanager
def spinning(node: Node, on_end: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Spin a node in threads of its own; Python runs signal handlers in the main thread only.

    Args:
        node: to spin.
        on_end: called when spinning ends, for whatever reason.

    Raises:
        Exception: what ended the spinning, if anything did.
    """
    spinner = _Spinner(node)
    with ThreadPoolExecutor(1) as pool:
        spun = pool.submit(spinner.run)
        spun.add_done_callback(lambda _: on_end())
        try:
            yield
        finally:
            spinner.stop()
            spun.result()


class _Spinner:
    """Waits for callbacks in one thread and runs them in others."""

    def __init__(self, node: Node) -> None:
        self._waiter = SingleThreadedExecutor(context=node.context)
        self._waiter.add_node(node)
        self._stopped = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Spin until stopped, or until a callback raises, which is raised from here."""
        with ThreadPoolExecutor(THREADS) as pool:
            while not self._stopped.is_set():
                try:
                    callback, _, _ = self._waiter.wait_for_ready_callbacks(
                        condition=self._stopped.is_set
                    )
                except InvalidHandle:
                    continue  # destroyed since it was listed; it is not listed again
                except (ConditionReachedException, ExternalShutdownException):
                    break
                begun = threading.Event()
                pool.submit(self._execute, callback, begun)
                # Until then the waiter would offer the same again.
                begun.wait()
        self._waiter.shutdown()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End `run` after the callbacks that have begun; from any thread."""
        self._stopped.set()
        self._waiter.wake()

    def _execute(self, callback: Task[None], begun: threading.Event) -> None:
        begun.set()
        callback()
        error = callback.exception()
        # What was to call back may have been destroyed before it was begun.
        if error is not None and not isinstance(error, InvalidHandle):
            self._error = error
            self.stop()
