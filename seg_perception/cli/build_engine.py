"""`seg-perception build-engine`: build a bundle's TensorRT engine, test it and keep it."""

from __future__ import annotations

import argparse
import statistics
import time

from seg_perception.cli.console import engine_bar, out
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner
from seg_perception.runtime.tensorrt_open import MIB, EngineOptions, open_tensorrt

WARM_UP, MEASURED = 10, 100


def run(args: argparse.Namespace) -> None:
    """Build, or take what is kept; say what it is and how fast.

    Raises:
        RunnerError: the driver, TensorRT, pycuda or memory is missing, or TensorRT failed.
        BundleError: the bundle is damaged, or the engine does not pass its self-test.
    """
    bundle = load_bundle(args.bundle)
    with engine_bar() as progress:
        runner = open_tensorrt(
            bundle, EngineOptions(args.precision, args.workspace * MIB, progress)
        )
    try:
        out.print(f"engine ready, self-test passed: {runner.reason}", markup=False)
        if not args.build_only:
            out.print(_speed(runner), markup=False)
    finally:
        runner.close()


def _speed(runner: Runner) -> str:
    """Of the bundle's first golden case, from arrays to arrays."""
    inputs = runner.bundle.golden()[0].inputs
    times_ms = []
    for _ in range(WARM_UP + MEASURED):
        start = time.perf_counter()
        runner.run(inputs)
        times_ms.append(1e3 * (time.perf_counter() - start))
    median_ms = statistics.median(times_ms[WARM_UP:])
    return f"a frame takes {median_ms:.2f} ms (median of {MEASURED}, arrays to arrays)"
