"""The model on its way in, in a thread of its own: to build its engine can take minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from seg_perception.runtime.engine_cache import Progress
from seg_perception.runtime.runner import Runner

T = TypeVar("T")


@dataclass(frozen=True)
class _Phase:
    """Of a build.

    Attributes:
        name: as the builder calls it.
        done: steps.
        total: steps; 0 = not known.
    """

    name: str
    done: int
    total: int

    @property
    def percent(self) -> int:
        return 100 * self.done // self.total if self.total else 0


class Loading:
    """Opens a runner beside the node's life.

    Args:
        open_model: opens it; called in the thread, with whom to tell of the build of an engine.
    """

    def __init__(self, open_model: Callable[[Progress], Runner]) -> None:
        self._open_model = open_model
        self._changed = threading.Condition()
        self._phase: _Phase | None = None
        self._started_s = time.monotonic()
        self._stopping = False
        self._outcome: Runner | Exception | None = None
        self._thread = threading.Thread(target=self._work, name="loading", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether there is something to hand over, or an error."""
        return self._outcome is not None

    def wait(self) -> bool:
        """Wait until it is done, or until an engine is being built; whether it is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._outcome or self._phase)
        return self.is_done

    def handed_to(self, make: Callable[[Runner], T]) -> T:
        """Wait for the runner and make something of it, whose it is from then on.

        Raises:
            Exception: whatever opening it, or `make`, raised; then the runner is closed.
        """
        self._thread.join()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert self._outcome is not None
        try:
            return make(self._outcome)
        except BaseException:
            self._outcome.close()
            raise

    def ask_to_stop(self) -> None:
        """End a build as soon as the builder asks whether to go on."""
        self._stopping = True

    def abandon(self) -> None:
        """End it, wait for that, and give back what came of it."""
        self.ask_to_stop()
        self._thread.join()
        if self._outcome is not None and not isinstance(self._outcome, Exception):
            self._outcome.close()

    def facts(self) -> Mapping[str, str]:
        """How far a build is, for /diagnostics; empty where there is none."""
        phase = self._phase
        if phase is None:
            return {}
        return {
            "build.phase": phase.name,
            "build.done": str(phase.done),
            "build.total": str(phase.total),
            "build.percent": str(phase.percent),
            "build.seconds": f"{time.monotonic() - self._started_s:.0f}",
        }

    def text(self) -> str:
        """The same for people."""
        phase = self._phase
        if phase is None:
            return "loading the model"
        seconds = time.monotonic() - self._started_s
        steps = f"{phase.done} of {phase.total} ({phase.percent} %)"
        return f"building the engine: {phase.name}, {steps}, for {seconds:.0f} s"

    def _work(self) -> None:
        outcome: Runner | Exception
        try:
            outcome = self._open_model(self._on_progress)
        except Exception as error:  # whatever a runtime raises, the node must live to tell it
            outcome = error
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    def _on_progress(self, phase: str, done: int, total: int) -> bool:
        with self._changed:
            self._phase = _Phase(phase, done, total)
            self._changed.notify_all()
        return not self._stopping
