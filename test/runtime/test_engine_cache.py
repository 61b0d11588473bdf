from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from seg_perception.errors import RunnerError
from seg_perception.runtime.engine_cache import BuildStoppedError, EngineCache, EngineKey

KEY = EngineKey("ab12", ("labels",), "fp16", "Orin sm_87", "10.3.0")


def test_gives_back_what_was_put(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "new" / "cache")
    assert cache.get(KEY.name) is None
    cache.put(KEY.name, b"engine")
    cache.put(KEY.name, b"newer engine")
    assert EngineCache(cache.folder).get(KEY.name) == b"newer engine"
    assert len(list(cache.folder.iterdir())) == 1
    for _ in range(2):
        cache.drop(KEY.name)
        assert cache.get(KEY.name) is None


def test_what_cannot_be_put_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    (cache.folder / KEY.name).mkdir()
    with pytest.raises(RunnerError, match="cannot be written"):
        cache.put(KEY.name, b"engine")
    assert [path.name for path in cache.folder.iterdir()] == [KEY.name]


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    folder = EngineCache(tmp_path / "cache").folder
    assert folder.stat().st_mode & 0o777 == 0o700
    EngineCache(folder).put(KEY.name, b"engine")
    assert (folder / KEY.name).stat().st_mode & 0o077 == 0


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(RunnerError, match=r"others may write to .*chmod 700"):
        EngineCache(tmp_path)


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(RunnerError, match=r"cannot hold engines .*set XDG_CACHE_HOME"):
        EngineCache(tmp_path / "cache")


def test_lies_where_the_desktop_standard_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EngineCache().folder == tmp_path / "seg_perception"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert EngineCache().folder == tmp_path / "home" / ".cache" / "seg_perception"


@pytest.mark.parametrize("damage", [b"", b"short", b"0" * 64 + b"engine"])
def test_a_damaged_engine_is_as_none(tmp_path: Path, damage: bytes) -> None:
    cache = EngineCache(tmp_path / "cache")
    (cache.folder / KEY.name).write_bytes(damage)
    assert cache.get(KEY.name) is None


@pytest.mark.parametrize(
    "change",
    [
        {"bundle": "ab13"},
        {"outputs": ("labels", "labels_replaced")},
        {"precision": "fp32"},
        {"gpu": "Thor sm_110"},
        {"tensorrt": "10.13.3"},
        {"rewrite": 2},
    ],
)
def test_everything_an_engine_depends_on_is_in_its_name(change: dict[str, object]) -> None:
    assert replace(KEY, **change).name != KEY.name  # type: ignore[arg-type]
    assert replace(KEY).name == KEY.name


def test_one_builds_and_others_wait(tmp_path: Path) -> None:
    cache, order = EngineCache(tmp_path / "cache"), list[str]()
    waiting = threading.Event()

    def tell(phase: str, done: int, total: int) -> bool:
        assert phase == "another process is building it"
        waiting.set()
        return True

    def second() -> None:
        with cache.building(KEY.name, tell):
            order.append("second")

    with cache.building(KEY.name, lambda *_: False):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_who_waits_for_another_may_be_told_not_to(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    with (
        cache.building(KEY.name, lambda *_: False),
        pytest.raises(BuildStoppedError, match="not to wait"),
        cache.building(KEY.name, lambda *_: False),
    ):
        pytest.fail("two at once")


def test_knows_which_was_put_last(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    assert cache.put_at("a") == 0
    cache.put("a", b"")
    cache.put("b", b"")
    os.utime(cache.folder / "a", (1, 1))
    assert cache.put_at("b") > cache.put_at("a") > 0
    cache.prefer("a")
    assert cache.put_at("a") >= cache.put_at("b")
