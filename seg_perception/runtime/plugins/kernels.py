"""The precompiled kernels of one bundle, loaded onto a GPU once for all plugins that use them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seg_perception.errors import BundleError
from seg_perception.runtime.bundle import Bundle
from seg_perception.runtime.cuda import Driver
from seg_perception.runtime.kernel_programs import (
    KERNELS_FILE,
    KERNELS_FOLDER,
    PTX,
    Binary,
    Kernel,
    KernelFile,
)


@dataclass(frozen=True)
class Function:
    """A kernel in a GPU's context, and what its launches have in common.

    Attributes:
        handle: CUfunction.
        threads: a block.
        shared_bytes: dynamic shared memory a block.
    """

    handle: int
    threads: int
    shared_bytes: int


class Kernels:
    """What `kernels.json` describes, and the functions that were loaded of it.

    Args:
        file: the description.
        read: gives a file of the bundle's kernels folder by its name.
        digest: names the kernels and all that is said about them; sha256 of `kernels.json`.
    """

    def __init__(self, file: KernelFile, read: Callable[[str], bytes], digest: str) -> None:
        self.file = file
        self.digest = digest
        self._read = read
        self._lock = threading.Lock()
        self._loaded: dict[tuple[int, str], Function] = {}

    def function(self, name: str, driver: Driver) -> Function:
        """A kernel by name in the current context, loaded when first asked for.

        Raises:
            BundleError: its file is missing or was changed.
            RunnerError: the driver refuses it.
        """
        with self._lock:
            key = (driver.context(), name)
            if key not in self._loaded:
                self._loaded[key] = self._load(self.file.kernels[name], driver)
            return self._loaded[key]

    def _load(self, kernel: Kernel, driver: Driver) -> Function:
        binary = self._binary(kernel, driver.architecture())
        image = self._read(binary.file)
        # kernels.json, which the bundle vouches for, vouches for its files.
        if hashlib.sha256(image).hexdigest() != binary.sha256:
            raise BundleError(
                f"{KERNELS_FOLDER}/{binary.file} is not what {KERNELS_FILE} lists: "
                "copy the bundle again or export again"
            )
        module = driver.load(image)
        handle = driver.function(module, kernel.entry, binary.shared_bytes)
        return Function(handle, kernel.threads, binary.shared_bytes)

    def _binary(self, kernel: Kernel, architecture: str) -> Binary:
        binaries: Mapping[str, Any] = kernel.binaries
        found = binaries.get(architecture, binaries.get(PTX))
        if not isinstance(found, Binary):
            raise BundleError(
                f"kernel {kernel.entry!r} was compiled for {', '.join(binaries)}, not for "
                f"{architecture}: export the bundle with PTX, or for this GPU"
            )
        return found


def open_kernels(bundle: Bundle) -> Kernels | None:
    """The kernels that a bundle carries, None if it carries none.

    Raises:
        BundleError: `kernels.json` breaks its schema, or was changed since the bundle was loaded.
    """
    name = f"{KERNELS_FOLDER}/{KERNELS_FILE}"
    if name not in bundle.manifest.files:
        return None
    content = bundle.read(name)
    return Kernels(
        KernelFile.from_json(content.decode()),
        lambda file: bundle.read(f"{KERNELS_FOLDER}/{file}"),
        hashlib.sha256(content).hexdigest(),
    )
