"""What is launched, in which order, with what; nothing that TensorRT would be needed for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_kernels import CLASSES, FILE, KERNELS, RecordingDriver, image_of, tiny_kernels

from seg_perception.errors import BundleError
from seg_perception.runtime.kernel_programs import MEMSET, PTX, KernelFile
from seg_perception.runtime.plugins.kernels import Kernels
from seg_perception.runtime.plugins.launcher import Launcher

H, W = 7, 9
SHAPES = {
    "scores": (CLASSES, H, W),
    "guide": (3, H, W),
    "image": (3, H, W),
    "weights": (CLASSES, CLASSES),
    "spatial_weight": (CLASSES, CLASSES),
    "bilateral_weight": (CLASSES, CLASSES),
    "compatibility": (CLASSES, CLASSES),
}
GUIDED = {"radius": 3, "eps": 0.5, "iterations": 3}
STATS_BYTES = -(-10 * H * W * 4 // 256) * 256


def guided(driver: RecordingDriver) -> Launcher:
    return Launcher(tiny_kernels(), "GuidedCrf", SHAPES, GUIDED, driver)


def test_launches_every_step_in_order_with_addresses_and_numbers() -> None:
    driver = RecordingDriver()
    guided(driver).launch([0x100, 0x200, 0x300], [0x400], 0x10000, 77)
    now = 0x10000 + STATS_BYTES
    assert driver.done == [
        ("stats", (1, 1, 1), 77, (0x200, 0x10000, H * W, 0.5)),
        ("solve", (H, CLASSES, 1), 77, (0x100, 0x10000, now, 3)),
        ("solve", (H, CLASSES, 1), 77, (0x100, 0x10000, now, 3)),
        ("solve", (H, CLASSES, 1), 77, (now, 0x10000, 0x400, 3)),
    ]


def test_every_launch_takes_the_addresses_of_its_own_call() -> None:
    driver = RecordingDriver()
    launcher = guided(driver)
    launcher.launch([0x100, 0x200, 0x300], [0x400], 0x10000, 1)
    driver.done.clear()
    launcher.launch([0x110, 0x210, 0x310], [0x410], 0x20000, 2)
    assert [step[2] for step in driver.done] == [2, 2, 2, 2]
    assert driver.done[0][3] == (0x210, 0x20000, H * W, 0.5)
    assert driver.done[-1][3] == (0x20000 + STATS_BYTES, 0x20000, 0x410, 3)


def test_memset_covers_its_array() -> None:
    driver = RecordingDriver()
    attributes = {"sxy_spatial": 3.0, "sxy": 4.0, "srgb": 5.0, "iterations": 2}
    Launcher(tiny_kernels(), "MeanField", SHAPES, attributes, driver).launch(
        [1, 2, 3, 4, 5], [6], 0x10000, 9
    )
    assert [step[0] for step in driver.done] == [MEMSET, "blur", "blur"]
    assert driver.done[0][3] == (0x10000, 255, 4 * 512)
    assert driver.done[1][3] == (1, 0x10000, 6, 0.25)


def test_a_kernel_is_loaded_once_for_all_launchers() -> None:
    driver, kernels = RecordingDriver(), tiny_kernels()
    for _ in range(2):
        Launcher(kernels, "GuidedCrf", SHAPES, GUIDED, driver)
    assert driver.loaded == [image_of("stats.sm_87"), image_of("solve.sm_87")]


def test_launching_loads_nothing() -> None:
    driver = RecordingDriver()
    launcher = guided(driver)
    loaded = len(driver.loaded)
    launcher.launch([1, 2, 3], [4], 5, 6)
    assert len(driver.loaded) == loaded


@pytest.mark.parametrize(
    ("gpu", "binary"), [("sm_87", "sm_87"), ("sm_90", "sm_90"), ("sm_120", PTX), ("sm_86", PTX)]
)
def test_an_unknown_gpu_takes_the_ptx(gpu: str, binary: str) -> None:
    driver = RecordingDriver(gpu=gpu)
    guided(driver)
    assert driver.loaded[0] == image_of(f"stats.{binary}")


def test_refuses_a_gpu_that_nothing_was_compiled_for() -> None:
    file = without_ptx()
    with pytest.raises(BundleError, match="compiled for sm_87, sm_90, not for sm_120"):
        Launcher(tiny_kernels(file), "GuidedCrf", SHAPES, GUIDED, RecordingDriver(gpu="sm_120"))


def without_ptx() -> KernelFile:
    kernels = {
        name: replace(kernel, binaries={k: v for k, v in kernel.binaries.items() if k != PTX})
        for name, kernel in KERNELS.items()
    }
    return replace(FILE, kernels=kernels)


def test_refuses_a_binary_that_was_changed() -> None:
    kernels = Kernels(FILE, lambda file: image_of(file) + b"!", "digest")
    with pytest.raises(BundleError, match=r"kernels/stats\.sm_87 is not what"):
        Launcher(kernels, "GuidedCrf", SHAPES, GUIDED, RecordingDriver())


def test_refuses_as_many_tensors_as_there_are_not() -> None:
    with pytest.raises(ValueError, match="zip"):
        guided(RecordingDriver()).launch([1, 2], [3], 4, 5)
