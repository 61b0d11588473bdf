from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_libcuda import compile_libcuda

from seg_perception.errors import RunnerError
from seg_perception.runtime.cuda import CudaDriver

FUNCTION, STREAM, ADDRESS = 0x7F0000000003, 0x7F00_1234_5678, 0x7F00_8765_4320


class Record(ctypes.Structure):
    _fields_ = [
        ("function", ctypes.c_size_t),
        ("stream", ctypes.c_size_t),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("first", ctypes.c_uint64),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = compile_libcuda(tmp_path_factory.mktemp("cuda"))
    if made is None:
        pytest.skip("no C compiler for the libcuda that drives no GPU")
    return made


@pytest.fixture
def fake(library: Path) -> Iterator[ctypes.CDLL]:
    fake = ctypes.CDLL(str(library))
    number(fake, "launched").value = 0
    yield fake
    number(fake, "fail_with").value = 0


def number(fake: ctypes.CDLL, name: str) -> Any:
    return ctypes.c_int.in_dll(fake, name)


@pytest.fixture
def driver(library: Path, fake: ctypes.CDLL) -> CudaDriver:
    return CudaDriver(str(library))


def test_asks_for_the_gpu_of_the_context(driver: CudaDriver) -> None:
    assert driver.devices() == 1
    assert driver.context() == 0x7F0000000001
    assert driver.architecture() == "sm_87"


def test_loads_a_kernel_with_its_shared_memory(driver: CudaDriver, fake: ctypes.CDLL) -> None:
    module = driver.load(b"image\x01")
    assert driver.function(module, "stats_entry", 70_000) == FUNCTION
    assert (ctypes.c_char * 64).in_dll(fake, "image").value == b"image\x01"
    assert number(fake, "attribute_value").value == 70_000


def test_a_kernel_that_is_not_there_is_told(driver: CudaDriver) -> None:
    with pytest.raises(RunnerError, match=r"cuModuleGetFunction failed with .* \(500\)"):
        driver.function(driver.load(b"image"), "missing", 0)


def test_launch_passes_everything_in_full_width(driver: CudaDriver, fake: ctypes.CDLL) -> None:
    value = ctypes.c_void_p(ADDRESS)
    arguments = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    driver.launch(FUNCTION, (70_000, 2, 3), 128, 1024, STREAM, arguments)
    record = (Record * 1024).in_dll(fake, "launches")[0]
    assert (record.function, record.stream, record.first) == (FUNCTION, STREAM, ADDRESS)
    assert [*record.grid, *record.block, record.shared] == [70_000, 2, 3, 128, 1, 1, 1024]


def test_memset_takes_sizes_above_four_gigabytes(driver: CudaDriver, fake: ctypes.CDLL) -> None:
    driver.memset(ADDRESS, 255, 5 << 30, STREAM)
    assert ctypes.c_size_t.in_dll(fake, "memset_size").value == 5 << 30


def test_captures_a_graph_and_replays_it(driver: CudaDriver, fake: ctypes.CDLL) -> None:
    driver.begin_capture(STREAM)
    executable = driver.end_capture(STREAM)
    driver.launch_graph(executable, STREAM)
    driver.destroy_graph(executable)
    assert executable == 0x7F0000000006
    assert number(fake, "launched").value == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [(2, "CUDA_ERROR_OUT_OF_MEMORY.*close what else uses it"), (999, "OTHER.*restart the node")],
)
def test_every_return_code_is_read(
    driver: CudaDriver, fake: ctypes.CDLL, code: int, said: str
) -> None:
    arguments = (ctypes.c_void_p * 1)(ctypes.addressof(ctypes.c_int(0)))
    number(fake, "fail_with").value = code
    calls = (
        driver.devices,
        driver.context,
        driver.architecture,
        lambda: driver.load(b""),
        lambda: driver.function(0x7F0000000002, "stats_entry", 0),
        lambda: driver.launch(1, (1, 1, 1), 1, 0, 0, arguments),
        lambda: driver.memset(1, 0, 1, 0),
        lambda: driver.begin_capture(1),
        lambda: driver.end_capture(1),
        lambda: driver.launch_graph(0x7F0000000006, 1),
        lambda: driver.destroy_graph(1),
    )
    for call in calls:
        with pytest.raises(RunnerError, match=said):
            call()


def test_no_driver_is_told_with_the_way_out() -> None:
    with pytest.raises(RunnerError, match=r"no NVIDIA driver.*use the runner 'onnx'"):
        CudaDriver("libcuda-that-is-not-there.so.1")
