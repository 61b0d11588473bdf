"""What a runner needs of a GPU and of an engine on it: neutral of who provides them.

Addresses and handles are plain integers. Work put on one stream happens in order; between streams
only events order it. Methods must be called inside `current()`, from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from seg_perception.runtime.cuda import Driver


@dataclass(frozen=True)
class Buffer:
    """One tensor in memory that both sides reach.

    Attributes:
        host: page-locked array of the tensor's dtype and shape.
        address: where the GPU finds it.
        shared: host and address are the same memory, so that nothing need be copied.
    """

    host: NDArray[Any]
    address: int
    shared: bool


class Device(Protocol):
    """One GPU.

    Attributes:
        name: as its maker calls it.
        architecture: e.g. "sm_87".
        driver: launches kernels on it.
    """

    name: str
    architecture: str
    driver: Driver

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU the calling thread's own, for a `with` block."""

    def free_bytes(self) -> int:
        """Memory that is not in use."""

    def buffer(self, dtype: str, shape: tuple[int, ...]) -> Buffer:
        """Memory for a tensor; `shared` where GPU and CPU have one memory."""

    def stream(self) -> int:
        """A new queue of work."""

    def upload(self, buffer: Buffer, stream: int) -> None:
        """Copy host to GPU, in the stream's order."""

    def download(self, buffer: Buffer, stream: int) -> None:
        """Copy GPU to host, in the stream's order."""

    def event(self) -> int:
        """A new mark for `record`."""

    def record(self, event: int, stream: int) -> None:
        """The event happens when the stream has come here."""

    def wait(self, event: int, stream: int) -> None:
        """The stream goes on when the event has happened."""

    def synchronize(self, event: int) -> None:
        """This thread goes on when the event has happened."""

    def begin_capture(self, stream: int) -> None:
        """Remember this thread's further work on the stream instead of doing it."""

    def end_capture(self, stream: int) -> int:
        """What was remembered, as a graph."""

    def launch_graph(self, graph: int, stream: int) -> None:
        """Do what a graph remembers, in the stream's order."""

    def close(self) -> None:
        """Give everything back; idempotent."""


class Engine(Protocol):
    """A model made for one GPU; used from one thread at a time."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Say where every input is read and every output written from now on.

        Raises:
            RunnerError: the engine has other tensors.
        """

    def enqueue(self, stream: int) -> None:
        """Run it once, in the stream's order.

        Raises:
            RunnerError: it failed.
        """
