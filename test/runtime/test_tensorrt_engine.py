"""Building and running an engine, as far as a machine without a GPU can tell.

Every name that `tensorrt_engine` uses is looked up in NVIDIA's bindings; what it makes of the
answers is tried with stand-ins for the builder and the parser, which cannot be had here.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from seg_perception.errors import RunnerError
from seg_perception.runtime.engine_cache import BuildOptions, BuildStoppedError
from seg_perception.runtime.tensorrt_open import untold

CLASS_OF = {
    "builder": "Builder",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "error": "ParserError",
    "self._runtime": "Runtime",
    "self._engine": "ICudaEngine",
    "self._context": "IExecutionContext",
}
"""What the variables of the module hold, as TensorRT calls it."""


@pytest.fixture
def engine(trt: ModuleType) -> ModuleType:
    """The module under test."""
    return import_module("seg_perception.runtime.tensorrt_engine")


def used(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(owner, name) of every attribute: `trt.A.b` gives ("trt", "A") and ("trt.A", "b")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr


def test_every_name_exists_in_nvidias_bindings(engine: ModuleType, trt: ModuleType) -> None:
    tree = ast.parse(Path(str(engine.__file__)).read_text())
    owners: dict[str, Any] = {name: getattr(trt, kind) for name, kind in CLASS_OF.items()}
    checked = 0
    for owner, name in used(tree):
        parts = owner.split(".")
        found = owners.get(owner)
        if parts[0] == "trt":
            found = trt
            for part in parts[1:]:
                found = getattr(found, part)
        if found is not None:
            assert hasattr(found, name), f"{owner}.{name} is not in TensorRT {trt.__version__}"
            checked += 1
    assert checked > 30


class Builder:
    """Of a network that is an object; `plan` is what it builds."""

    plan: bytes | None = b"plan"
    limits: tuple[Any, ...] = ()

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> SimpleNamespace:
        return SimpleNamespace(flags=flags)

    def create_builder_config(self) -> SimpleNamespace:
        return SimpleNamespace(
            set_memory_pool_limit=lambda *limits: setattr(type(self), "limits", limits),
            clear_flag=lambda flag: None,
            create_timing_cache=lambda content: content,
            set_timing_cache=lambda cache, ignore: None,
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"measured"),
        )

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        config.progress_monitor.phase_start("Tactics", None, 3)
        go_on = config.progress_monitor.step_complete("Tactics", 0)
        config.progress_monitor.phase_finish("Tactics")
        if self.plan is None:
            self._logger.log(self._logger.Severity.ERROR, "no tactic")
        return self.plan if go_on else None


class Parser:
    """Of ONNX models that are bytes."""

    fails = False
    num_errors = 1
    flags = 0

    def __init__(self, network: Any, logger: Any) -> None:
        type(self).flags = network.flags

    def parse(self, model: bytes) -> bool:
        return not self.fails

    def get_error(self, index: int) -> SimpleNamespace:
        said = {"node": 3, "node_name": "mod", "desc": "Mod of INT64 is not supported"}
        return SimpleNamespace(**{name: lambda value=value: value for name, value in said.items()})


@pytest.fixture
def standing_in(trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt, "Builder", type("B", (Builder,), {}))
    monkeypatch.setattr(trt, "OnnxParser", type("P", (Parser,), {}))


def test_builds(engine: ModuleType, trt: ModuleType, standing_in: None) -> None:
    told = []

    def progress(phase: str, done: int, total: int) -> bool:
        told.append((phase, done, total))
        return True

    built = engine.build(b"model", BuildOptions(1 << 28, b"", progress))
    assert (built.plan, built.timing_cache) == (b"plan", b"measured")
    assert trt.Builder.limits == (trt.MemoryPoolType.WORKSPACE, 1 << 28)
    assert trt.OnnxParser.flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert told == [("Tactics", 1, 3)]


def test_what_the_parser_refuses_is_told(
    engine: ModuleType, trt: ModuleType, standing_in: None
) -> None:
    trt.OnnxParser.fails = True
    with pytest.raises(RunnerError, match=r"could not parse the model \(node 3 \(mod\): Mod of"):
        engine.build(b"model", BuildOptions(1, b"", untold))


def test_what_the_builder_complains_of_is_told(
    engine: ModuleType, trt: ModuleType, standing_in: None
) -> None:
    trt.Builder.plan = None
    with pytest.raises(RunnerError, match=r"could not build the engine \(no tactic\)"):
        engine.build(b"model", BuildOptions(1, b"", untold))


def test_a_build_can_be_stopped(engine: ModuleType, standing_in: None) -> None:
    with pytest.raises(BuildStoppedError, match="told to stop"):
        engine.build(b"model", BuildOptions(1, b"", lambda *_: False))


def test_progress_that_fails_does_not_stop_the_build(
    engine: ModuleType, standing_in: None, caplog: pytest.LogCaptureFixture
) -> None:
    built = engine.build(b"model", BuildOptions(1, b"", lambda *_: bool(1 / 0)))
    assert built.plan == b"plan"
    assert "could not be told" in caplog.text


def test_ctrl_c_passes_around_tensorrt(engine: ModuleType, standing_in: None) -> None:
    def interrupted(phase: str, done: int, total: int) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.build(b"model", BuildOptions(1, b"", interrupted))


def test_messages_go_to_the_log(
    engine: ModuleType, trt: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for severity in trt.ILogger.Severity.__members__.values():
        engine._Logger().log(severity, "said")
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.ERROR, logging.ERROR, logging.WARNING, logging.DEBUG]


def test_an_old_tensorrt_is_refused(
    engine: ModuleType, trt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.version() == trt.__version__
    monkeypatch.setattr(trt, "__version__", "8.6.2")
    with pytest.raises(RunnerError, match=r"8\.6\.2 is too old, 10\.0 is needed: .*JetPack 6\.1"):
        engine.version()


class Context:
    bound: dict[str, int]

    def __init__(self) -> None:
        self.bound = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.bound[name] = address
        return address > 0

    def execute_async_v3(self, stream: int) -> bool:
        return stream == 5


def runtime(engine_made: bool, context_made: bool, context: Context) -> Any:
    made = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda i: ("image", "labels")[i],
        create_execution_context=lambda: context if context_made else None,
    )
    return lambda logger: SimpleNamespace(
        deserialize_cuda_engine=lambda plan: made if engine_made else None
    )


def test_runs_on_the_addresses_it_was_given(
    engine: ModuleType, trt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context()
    monkeypatch.setattr(trt, "Runtime", runtime(True, True, context))
    made = engine.TensorRTEngine(b"plan")
    made.bind({"image": 1, "labels": 2})
    assert context.bound == {"image": 1, "labels": 2}
    made.enqueue(5)
    with pytest.raises(RunnerError, match="could not run the engine"):
        made.enqueue(6)
    with pytest.raises(RunnerError, match="could not bind 'labels'"):
        made.bind({"image": 1, "labels": 0})
    with pytest.raises(
        RunnerError, match=r"has the tensors \['image', 'labels'\], not \['image'\]"
    ):
        made.bind({"image": 1})


@pytest.mark.parametrize(
    ("engine_made", "said"),
    [(False, "could not load the engine"), (True, "make room for the engine .*free memory")],
)
def test_what_cannot_be_loaded_is_told(
    engine: ModuleType,
    trt: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    engine_made: bool,
    said: str,
) -> None:
    monkeypatch.setattr(trt, "Runtime", runtime(engine_made, False, Context()))
    with pytest.raises(RunnerError, match=said):
        engine.TensorRTEngine(b"plan")
