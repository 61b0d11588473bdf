"""Engines are cache, not truth: built where they run, kept privately, rebuilt when stale.

An engine fits one model on one GPU with one TensorRT; all of that is in its key. It is also code
that TensorRT executes, so it never comes with a bundle, and the folder that holds it is the user's
alone: a folder that somebody else may write to is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from seg_perception.errors import RunnerError

PRECISIONS = ("fp16", "fp32")

Progress = Callable[[str, int, int], bool]
"""Called with a phase of the build, steps done and steps in all (0: not known); False ends the
build."""

_HEADER = 64  # hexadecimal sha256 of what follows

RETRY_S = 0.2
"""How often to look whether another process has finished its build."""


class BuildStoppedError(RunnerError):
    """`Progress` ended a build; the next may well succeed."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        workspace_bytes: GPU memory that one layer may use while it runs.
        timing_cache: what an earlier build on this GPU measured; empty if there was none.
        progress: told of every step.
    """

    workspace_bytes: int
    timing_cache: bytes
    progress: Progress


@dataclass(frozen=True)
class Built:
    """An engine, serialised, and what was measured on the way."""

    plan: bytes
    timing_cache: bytes


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from and for.

    Attributes:
        bundle: digest of the bundle.
        outputs: that the engine computes.
        precision: one of `PRECISIONS`.
        gpu: name and architecture.
        tensorrt: version.
        rewrite: version of what `onnx_tensorrt` does to the model.
    """

    bundle: str
    outputs: tuple[str, ...]
    precision: str
    gpu: str
    tensorrt: str
    rewrite: int = 1

    @property
    def name(self) -> str:
        """Of the file."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32] + ".engine"


class EngineCache:
    """A folder of engines and timing caches, private to the user.

    Args:
        folder: made if need be; default `$XDG_CACHE_HOME/seg_perception`.

    Raises:
        RunnerError: it cannot be made, or others may write to it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _default_folder()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
        except OSError as error:
            raise RunnerError(
                f"{self.folder} cannot hold engines ({error.strerror}): "
                "set XDG_CACHE_HOME to a folder of yours"
            ) from None
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise RunnerError(
                f"others may write to {self.folder}, and an engine is code: "
                f"chown and chmod 700 it, or set XDG_CACHE_HOME to a folder of yours"
            )

    def get(self, name: str) -> bytes | None:
        """What was put under this name; None if nothing was, or it is damaged."""
        try:
            content = (self.folder / name).read_bytes()
        except OSError:
            return None
        digest, payload = content[:_HEADER], content[_HEADER:]
        return payload if hashlib.sha256(payload).hexdigest().encode() == digest else None

    def put(self, name: str, payload: bytes) -> None:
        """Store under a name, at once or not at all.

        Raises:
            RunnerError: the disk does not take it.
        """
        try:
            descriptor, path = tempfile.mkstemp(dir=self.folder)
            try:
                with open(descriptor, "wb") as file:
                    file.write(hashlib.sha256(payload).hexdigest().encode() + payload)
                os.replace(path, self.folder / name)
            finally:
                Path(path).unlink(missing_ok=True)  # it is there if the disk was full
        except OSError as error:
            raise RunnerError(
                f"{self.folder / name} cannot be written ({error.strerror}): make room there"
            ) from None

    def drop(self, name: str) -> None:
        """As if this had never been put."""
        (self.folder / name).unlink(missing_ok=True)

    def prefer(self, name: str) -> None:
        """As if this had been put just now."""
        (self.folder / name).touch()

    def put_at(self, name: str) -> float:
        """When this was put, for comparing; 0 if it was not."""
        path = self.folder / name
        return path.stat().st_mtime if path.exists() else 0.0

    @contextmanager
    def building(self, name: str, progress: Progress) -> Iterator[None]:
        """One process builds an engine and puts it; others wait instead of building it too.

        Raises:
            BuildStoppedError: `progress` ended the wait.
        """
        with open(self.folder / f"{name}.lock", "w") as file:
            while not _is_locked_by_us(file):
                if not progress("another process is building it", 0, 0):
                    raise BuildStoppedError("told not to wait for another process's build")
                time.sleep(RETRY_S)
            yield


def _is_locked_by_us(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "seg_perception"
