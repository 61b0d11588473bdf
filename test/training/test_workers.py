"""Two real workers (torchrun, gloo) beside one process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_samples, write_camvid
from torch import nn

from training import workers
from training.datasets import Augmentation, Loader
from training.workers import SharedBatchNorm, share_batch_statistics

RECIPE = ("segmodel", "unary=unet", "unary.width=4", "unary.blocks=1,1", "unary.dilations=1,2")
STAGES = ("unary", "joint")
CHANGES = (
    "unary.dropout=0",
    "context_crf.label_pool=5",
    "precision=fp32",
    "unary.options.draws=1",
    "joint.options.hardest=1.0",
    *(f"{stage}.batch_size=2" for stage in STAGES),
    *(f"{stage}.evaluate_every=1" for stage in STAGES),
    *(f"{stage}.augmentation.crop=32,48" for stage in STAGES),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("camvid"))


def command(root: Path, runs: Path, *changes: str, processes: int = 1) -> list[str]:
    """Training in one process, or in several under torchrun, which starts them again once."""
    launch = [sys.executable, "-m"]
    if processes > 1:
        launch += ["torch.distributed.run", "--standalone", "--max-restarts=1"]
        launch += [f"--nproc-per-node={processes}", "-m"]
    folders = ["--root", str(root), "--runs", str(runs), "--threads", "1"]
    recipe, *smaller = RECIPE
    return [*launch, "training.train", recipe, *folders, "--set", *smaller, *CHANGES, *changes]


def finish(line: list[str]) -> None:
    result = subprocess.run(line, capture_output=True, text=True, timeout=170)
    assert result.returncode == 0, result.stderr[-3000:]


def weights(runs: Path, stage: str) -> dict[str, Any]:
    stored = torch.load(runs / "segmodel" / stage / "last.pt", weights_only=True)
    return dict(stored["model"])


@pytest.mark.slow
def test_two_workers_go_where_one_process_goes(root: Path, tmp_path: Path) -> None:
    """The refiners' stage: nothing in its loss is drawn at random."""
    short = ("unary.epochs=1", "joint.epochs=2")
    finish(command(root, tmp_path / "one", *short))
    shutil.copytree(tmp_path / "one/segmodel/unary", tmp_path / "two/segmodel/unary")
    finish(command(root, tmp_path / "two", *short, processes=2))
    one, two = (weights(tmp_path / name, "joint") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_a_killed_worker_resumes(root: Path, tmp_path: Path) -> None:
    epochs = ("unary.epochs=5", "joint.epochs=1")
    line = command(root, tmp_path, *epochs, processes=2)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as run:
        try:
            _wait_for(tmp_path / "segmodel" / "unary" / "last.pt")
            os.kill(_workers_of(run.pid)[-1], signal.SIGKILL)
            _, errors = run.communicate(timeout=150)
        finally:
            run.kill()
    assert run.returncode == 0, errors[-9000:]
    assert "exitcode: -9" in errors
    log = (tmp_path / "segmodel" / "unary" / "log.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in log] == list(range(1, 6))
    assert weights(tmp_path, "joint")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 100
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} has not come"
        time.sleep(0.05)


def _workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def test_a_single_process_is_worker_0_of_1() -> None:
    assert (workers.rank(), workers.count()) == (0, 1)
    with workers.joined() as device:
        assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    number = torch.tensor(3.0)
    assert workers.mean_over_workers(number) is number
    model = nn.Sequential(nn.BatchNorm2d(2))
    share_batch_statistics(model)
    assert type(model[0]) is nn.BatchNorm2d


def test_alone_shared_statistics_are_those_of_the_batch() -> None:
    shared, plain = SharedBatchNorm(3), nn.BatchNorm2d(3)
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(shared(maps), plain(maps))
    assert torch.equal(shared.running_var, plain.running_var)


def test_workers_share_every_batch() -> None:
    samples, crop = tiny_samples(9), Augmentation(crop=(16, 16))
    whole = list(Loader(samples, crop, 4, seed=0).epoch(1))
    shares = [list(Loader(samples, crop, 4, seed=0, share=(i, 2)).epoch(1)) for i in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.image[0::2], first.image)
        assert torch.equal(batch.image[1::2], second.image)
        assert torch.equal(batch.labels[1::2], second.labels)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 3 is no multiple of 2 workers"):
        Loader(tiny_samples(4), Augmentation(crop=(16, 16)), 3, seed=0, share=(0, 2))
