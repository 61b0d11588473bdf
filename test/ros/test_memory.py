"""What the settings of the C library's memory do, seen by the page faults of a thread."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, sys, threading
from seg_perception.ros.memory import reuse_memory

MEGABYTE = bytes(1 << 20)

def take_and_forget():
    for size in (2, 6, 8, 3):
        MEGABYTE * size

def count():
    take_and_forget()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        take_and_forget()
    print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

if sys.argv[1] == "reuse":
    reuse_memory()
thread = threading.Thread(target=count)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_memory_of_a_large_message_serves_the_next() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", FAULTS, how], cwd=ROOT))
        for how in ("reuse", "as it is")
    }
    assert faults["reuse"] < 20 < faults["as it is"]
