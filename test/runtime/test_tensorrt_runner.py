"""The runner's logic on a GPU in Python, whose streams do nothing until somebody waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from simulated_gpu import SimulatedEngine, SimulatedGpu
from tiny_bundle import TINY_CLASSES, color_image, write_tiny_bundle

from seg_perception.errors import RunnerError
from seg_perception.perceiver import Frame, Perceiver, Perception
from seg_perception.runtime.bundle import Bundle, check_bundle, load_bundle
from seg_perception.runtime.onnx_prune import keep_outputs
from seg_perception.runtime.tensorrt_runner import SLOTS, TensorRTRunner

SIZE = (24, 32)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(write_tiny_bundle(tmp_path, height=SIZE[0], width=SIZE[1]))


def opened(bundle: Bundle, gpu: SimulatedGpu) -> TensorRTRunner:
    model = bundle.model_path.read_bytes()

    def open_engine(outputs: Sequence[str]) -> SimulatedEngine:
        return SimulatedEngine(gpu, keep_outputs(model, outputs))

    return TensorRTRunner(bundle, gpu, open_engine)


def uniform(label: int) -> dict[str, NDArray[np.uint8]]:
    labels = np.full(SIZE, label, np.uint8)
    return {"image": color_image(labels, TINY_CLASSES)[None]}


@pytest.mark.parametrize("integrated", [False, True])
def test_passes_the_self_test(bundle: Bundle, integrated: bool) -> None:
    check_bundle(bundle, opened(bundle, SimulatedGpu(integrated=integrated)))


@pytest.mark.parametrize("integrated", [False, True])
def test_what_is_left_out_is_not_known_any_more(bundle: Bundle, integrated: bool) -> None:
    runner = opened(bundle, SimulatedGpu(integrated=integrated))
    sets = np.ones((32, len(TINY_CLASSES)), np.float32)
    sets[1] = [0, 1, 0, 0]
    known = {
        "evidence": np.ones((1, *SIZE), np.uint8),
        "evidence_sets": sets,
        "evidence_weight": np.ones(32, np.float32),
    }
    for _ in range(SLOTS + 1):
        assert np.all(runner.run({**uniform(0), **known})["labels"] == 1)
    for _ in range(SLOTS + 1):
        assert np.all(runner.run(uniform(0))["labels"] == 0)


def test_what_did_not_change_is_not_uploaded(bundle: Bundle) -> None:
    gpu = SimulatedGpu()
    runner = opened(bundle, gpu)
    gpu.log.clear()
    runner.run(uniform(2))
    downloads = ["download"] * len(bundle.manifest.default_outputs)
    assert [what for what, _ in gpu.log] == ["upload", "wait", "graph", *downloads]


def test_uploads_need_not_wait_for_inference(bundle: Bundle) -> None:
    gpu = SimulatedGpu()
    runner = opened(bundle, gpu)
    gpu.log.clear()
    runner.run(uniform(2))
    streams = dict(gpu.log)
    assert streams["upload"] != streams["graph"]
    assert streams["wait"] == streams["graph"] == streams["download"]


def test_an_integrated_gpu_copies_nothing(bundle: Bundle) -> None:
    gpu = SimulatedGpu(integrated=True)
    runner = opened(bundle, gpu)
    gpu.log.clear()
    runner.run(uniform(2))
    assert [what for what, _ in gpu.log] == ["wait", "graph"]


def test_only_what_is_asked_for_comes_back(bundle: Bundle) -> None:
    gpu = SimulatedGpu()
    runner = opened(bundle, gpu)
    gpu.log.clear()
    assert list(runner.run(uniform(1), ["labels"])) == ["labels"]
    assert [what for what, _ in gpu.log].count("download") == 1


def test_answers_are_the_callers_own(bundle: Bundle) -> None:
    runner = opened(bundle, SimulatedGpu(integrated=True))
    first = runner.run(uniform(1))["labels"]
    for _ in range(SLOTS):
        runner.run(uniform(2))
    assert np.all(first == 1)


def test_every_thread_gets_the_answer_to_its_own_frame(bundle: Bundle) -> None:
    runner = opened(bundle, SimulatedGpu())
    labels = [i % len(TINY_CLASSES) for i in range(60)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda label: runner.run(uniform(label))["labels"], labels))
    assert [set(np.unique(answer)) for answer in answers] == [{label} for label in labels]


def test_evaluation_opens_a_second_engine_once(bundle: Bundle) -> None:
    gpu, opened_for = SimulatedGpu(), list[Sequence[str]]()
    model = bundle.model_path.read_bytes()

    def open_engine(outputs: Sequence[str]) -> SimulatedEngine:
        opened_for.append(outputs)
        return SimulatedEngine(gpu, keep_outputs(model, outputs))

    runner = TensorRTRunner(bundle, gpu, open_engine)
    for _ in range(2):
        assert np.all(runner.run(uniform(3), ["labels_unrefined"])["labels_unrefined"] == 3)
        assert np.all(runner.run(uniform(3), ["labels_replaced"])["labels_replaced"] == 3)
    assert ["labels_replaced" in outputs for outputs in opened_for] == [False, True]


def test_refuses_what_the_model_does_not_take(bundle: Bundle) -> None:
    runner = opened(bundle, SimulatedGpu())
    with pytest.raises(RunnerError, match="'image' is missing"):
        runner.run({})
    with pytest.raises(RunnerError, match=r"\['depth'\] are unknown"):
        runner.run(uniform(0), ["depth"])
    assert np.all(runner.run(uniform(0))["labels"] == 0)


def test_a_failed_frame_does_not_take_its_slot_along(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimulatedGpu()
    runner = opened(bundle, gpu)
    with monkeypatch.context() as patched:
        patched.setattr(gpu, "launch_graph", lambda graph, stream: 1 / 0)
        for _ in range(SLOTS + 1):
            with pytest.raises(ZeroDivisionError):
                runner.run(uniform(0))
    assert np.all(runner.run(uniform(2))["labels"] == 2)


def test_closing_waits_for_frames_and_refuses_more(bundle: Bundle) -> None:
    gpu = SimulatedGpu()
    runner = opened(bundle, gpu)
    arrived, go_on = threading.Semaphore(0), threading.Event()
    synchronize = gpu.synchronize

    def slow(event: int) -> None:
        arrived.release()
        assert go_on.wait(10)
        synchronize(event)

    gpu.synchronize = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(SLOTS + 2) as pool:
        frames = [pool.submit(runner.run, uniform(1)) for _ in range(SLOTS)]
        for _ in frames:
            assert arrived.acquire(timeout=10)
        waiting = pool.submit(runner.run, uniform(1))
        closing = pool.submit(runner.close)
        assert not gpu.closed
        go_on.set()
        closing.result(10)
        assert [np.unique(frame.result(10)["labels"]).tolist() for frame in frames] == [[1]] * SLOTS
        error = waiting.exception(10)
        assert error is None or "closed" in str(error)  # it may have been in time
    assert gpu.closed
    runner.close()
    with pytest.raises(RunnerError, match="closed: open the bundle again"):
        runner.run(uniform(1))


def test_the_perceiver_uploads_a_frame_while_the_one_before_is_inferred(bundle: Bundle) -> None:
    gpu = SimulatedGpu()
    runner = opened(bundle, gpu)
    arrived, go_on = threading.Semaphore(0), threading.Event()
    synchronize, answered = gpu.synchronize, queue.Queue[Perception]()

    def slow(event: int) -> None:
        arrived.release()
        assert go_on.wait(10)
        synchronize(event)

    gpu.synchronize = slow  # type: ignore[method-assign]
    gpu.log.clear()
    perceiver = Perceiver(runner)
    perceiver.start(answered.put, lambda error: pytest.fail(str(error)))
    for label in range(SLOTS):
        perceiver.submit(Frame(uniform(label)["image"][0], stamp_ns=label))
        assert arrived.acquire(timeout=10)
    assert answered.empty()
    assert [what for what, _ in gpu.log if what in ("upload", "graph")] == ["upload", "graph"] * 2
    go_on.set()
    answers = [answered.get(timeout=10) for _ in range(SLOTS)]
    perceiver.stop()
    assert [np.unique(answer.labels).tolist() for answer in answers] == [[0], [1]]
