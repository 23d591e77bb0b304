"""Training in several processes (torchrun): gathered embeddings and averaged gradients. A single process is a no-op."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from voxdex.encoders.errors import DeviceError

TIMEOUT = timedelta(hours=4)
"""Maximum time that the other processes wait while the first one decodes or validates."""


@dataclass(frozen=True)
class ProcessGroup:
    """Rank of this process, number of processes, and the device of this process."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that validates and writes files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return this process's slice of `count` items; `world` divides `count`."""
        size = count // self.world
        return slice(self.rank * size, (self.rank + 1) * size)


def init_distributed(device: str = "auto") -> ProcessGroup:
    """Join the processes that torchrun started; without torchrun, return a group of one.

    Args:
        device: "auto" (a GPU where torch sees one), "cpu" or "cuda".

    Raises:
        DeviceError: "cuda" was requested and torch sees no GPU.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise DeviceError("torch sees no CUDA device. Install a CUDA build of torch and a driver, or train with --device cpu.")
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = torch.device("cpu")
    if cuda and device != "cpu":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(chosen)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    return ProcessGroup(rank, world, chosen)


def end_distributed() -> None:
    """Leave the group that init_distributed joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def gather(vectors: Tensor, group: ProcessGroup) -> Tensor:
    """Concatenate the vectors [part, width] of all processes by rank: [all, width], with gradients."""
    return torch.cat(all_gather(vectors)) if group.world > 1 else vectors


def average_gradients(parameters: Iterable[nn.Parameter], group: ProcessGroup) -> None:
    """Replace gradients by their mean over all processes.

    Every process computes the loss of the whole batch from gathered embeddings, and the backward pass of gather() sums the
    gradients of all processes: their mean is the gradient of the loss.
    """
    if group.world == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            continue
        dist.all_reduce(parameter.grad)
        parameter.grad /= group.world
