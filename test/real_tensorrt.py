"""NVIDIA's own Python bindings of TensorRT, on machines where TensorRT itself cannot be.

`tensorrt-cu13-bindings` is the real package, every class of it, but needs libnvinfer, the ONNX
parser and a GPU. `tensorrt-lean-cu13-libs` is a real run-time half of libnvinfer, with the plugin
registry. The seven functions that the bindings miss (the factories of builder, parser and refitter)
are stubs that answer null, compiled here. So plugins, creators, fields, descriptors and the
registry are NVIDIA's; only what builds or runs an engine is out of reach.

Another version, e.g. that of JetPack 6, is tried by putting its bindings (`pip install --no-deps
--target DIR tensorrt-cu12-bindings==10.3.0`) and the libraries of the same major version before
the installed ones in PYTHONPATH (`tensorrt-lean-cu13-libs==10.16.1.11` serves 10.0 to 10.16).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

STUBS = """
void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return 0; }
void *getBuilderPluginRegistry(int capability) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
char initLibNvInferPlugins(void *logger, const char *space) { return 1; }
"""


class AbsentError(Exception):
    """The bindings are not here; the message says what is missing."""


def load_tensorrt(folder: Path) -> ModuleType:
    """The module `tensorrt`, from here on also for `import tensorrt`.

    Args:
        folder: for the compiled stubs.

    Raises:
        AbsentError: a package or the compiler is missing.
    """
    if importlib.util.find_spec("tensorrt") is not None:
        return importlib.import_module("tensorrt")
    for package in ("tensorrt_bindings", "tensorrt_lean_libs"):
        if importlib.util.find_spec(package) is None:
            raise AbsentError(
                f"{package} is not installed: pip install --no-deps tensorrt-cu13-bindings "
                "tensorrt-lean-cu13-libs"
            )
    compiler = shutil.which("cc")
    if compiler is None:
        raise AbsentError("no C compiler for the stubs of libnvinfer's factories")
    _load_stubs(compiler, folder)
    sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
    return sys.modules["tensorrt"]


def _load_stubs(compiler: str, folder: Path) -> None:
    libraries = Path(importlib.import_module("tensorrt_lean_libs").__path__[0])
    (lean,) = libraries.glob("libnvinfer_lean.so.*")
    source = folder / "stubs.c"
    source.write_text(STUBS)
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        # The dynamic linker takes a loaded library of this soname for the one that is asked for.
        soname = f"lib{name}.so{lean.suffix}"
        command = [compiler, "-shared", "-fPIC", str(source), "-o", str(folder / soname)]
        command += [f"-Wl,-soname,{soname}", "-Wl,--no-as-needed", f"-L{libraries}"]
        subprocess.run([*command, f"-l:{lean.name}"], check=True)
        ctypes.CDLL(str(folder / soname), mode=ctypes.RTLD_GLOBAL)
