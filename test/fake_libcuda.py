"""A compiled libcuda that drives no GPU, so that `CudaDriver`'s calls cross into real C.

ctypes passes integers as C's int unless told otherwise, which cuts the upper half off a handle:
only a real call shows that.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def compile_libcuda(folder: Path) -> Path | None:
    """The library, made in `folder`; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "libcuda.so.1"
    command = [compiler, "-O1", "-w", "-shared", "-fPIC", str(SOURCE), "-o", str(library)]
    subprocess.run(command, check=True)
    return library
