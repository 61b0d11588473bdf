"""Spins a node in several threads that take turns at waiting.

rclpy's own `MultiThreadedExecutor` offers a callback again and again until a thread of its pool has
begun it: beside a model that keeps the cores busy that takes up to half a core and, worse, the
interpreter's lock from the very thread that is waited for. It also ends where a callback destroys a
subscription that is about to be waited for. Here the thread that is offered a callback runs it
while another waits (leader/followers: Schmidt et al., PLoP 2000), and what was destroyed is left;
a callback that itself used what is destroyed is told of in the log.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import CodeType

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

    The end of `with` waits for the callbacks that have begun.

    Args:
        node: to spin.
        on_end: called by each thread that ends, for whatever reason; the first ends them all.

    Raises:
        Exception: what a callback raised, which ends the spinning.
    """
    spinner = _Spinner(node)
    with ThreadPoolExecutor(THREADS, "spinning") as pool:
        threads = [pool.submit(spinner.run) for _ in range(THREADS)]
        for thread in threads:
            thread.add_done_callback(lambda _: on_end())
        try:
            yield
        finally:
            spinner.stop()
            wait(threads)
            spinner.close()
            for thread in threads:
                thread.result()


class _Spinner:
    """What the threads share."""

    def __init__(self, node: Node) -> None:
        self._waiter = SingleThreadedExecutor(context=node.context)
        self._waiter.add_node(node)
        self._logger = node.get_logger()
        self._told: set[tuple[CodeType, int]] = set()
        self._waiting = threading.Lock()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Run callbacks until stopped, or until one raises, which stops the other threads, too."""
        try:
            while (callback := self._next()) is not None:
                callback()
                error = callback.exception()
                if isinstance(error, InvalidHandle):
                    self._tell(error)
                elif error is not None:
                    raise error
        finally:
            self.stop()

    def stop(self) -> None:
        """Begin no more callbacks; from any thread."""
        self._stopped.set()
        self._waiter.wake()

    def close(self) -> None:
        """Give back what was needed to wait, once no thread runs."""
        self._waiter.shutdown()

    def _tell(self, error: InvalidHandle) -> None:
        """Log where a callback used what is destroyed, once for each place.

        Where no frame but rclpy's own is on the way, what called back was itself destroyed
        meanwhile, which is no fault.
        """
        places = [
            (frame.f_code, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
            if frame.f_globals.get("__name__", "").partition(".")[0] != "rclpy"
        ]
        if places and places[-1] not in self._told:
            self._told.add(places[-1])
            trace = "".join(traceback.format_exception(error))
            self._logger.error(f"A callback used what is destroyed and broke off:\n{trace}")

    def _next(self) -> Task[None] | None:
        """Wait for a callback, or for the end, which is None."""
        with self._waiting:
            while self._waiter.context.ok() and not self._stopped.is_set():
                try:
                    return self._waiter.wait_for_ready_callbacks(condition=self._stopped.is_set)[0]
                except (ConditionReachedException, ExternalShutdownException, InvalidHandle):
                    pass  # the end, or something was destroyed since it was listed
                except RuntimeError:  # of rcl, also where it meets a context that has just ended
                    if self._waiter.context.ok():
                        raise
        return None
