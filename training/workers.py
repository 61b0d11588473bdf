"""Several processes that train one model (torchrun), each on its share of every batch.

A single process, as `python -m training.train` starts it, is worker 0 of 1: everything here then
does nothing. With several, losses are normalised by what all of them weigh, gradients are averaged
and batch statistics are those of the whole batch, so that they go where one process would.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce


@contextmanager
def joined() -> Iterator[torch.device]:
    """Join the other workers that torchrun has started, if any; the device of this one.

    GPUs talk through NCCL, CPUs through gloo.
    """
    cuda = torch.cuda.is_available()
    if "WORLD_SIZE" not in os.environ:
        yield torch.device("cuda" if cuda else "cpu")
        return
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    # After a restart torchrun may hand out the same store, with the dead workers' addresses in it.
    store, own, size = next(distributed.rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = distributed.PrefixStore(f"attempt {attempt}", store)
    backend = "nccl" if cuda else "gloo"
    distributed.init_process_group(backend, store=store, rank=own, world_size=size)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """Number of workers."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def wait() -> None:
    """Until all workers are here."""
    if count() > 1:
        distributed.barrier()


def mean_over_workers(total: Tensor) -> Tensor:
    """Mean of a number, without gradient."""
    if count() == 1:
        return total
    shared = total.detach().clone()
    distributed.all_reduce(shared)
    return shared / count()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every worker the mean of all workers' gradients, in one message."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= count()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all workers' shares, which are equally large.

    `torch.nn.SyncBatchNorm` does this on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, D, h, w] -> the same shape."""
        if not self.training or count() == 1:
            return super().forward(x)
        total = count() * x.numel() / x.shape[1]
        wide = x.float()
        mean = all_reduce(wide.sum(dim=(0, 2, 3))) / total
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dim=(0, 2, 3))) / total
        self._remember(mean.detach(), variance.detach() * total / (total - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)
        self.num_batches_tracked += 1


def share_batch_statistics(model: nn.Module) -> None:
    """Put `SharedBatchNorm` in the place of batch normalisation; state keeps its names."""
    if count() == 1:
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
                shared.load_state_dict(child.state_dict())
                setattr(module, name, shared)
