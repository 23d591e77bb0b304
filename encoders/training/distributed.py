"""One training run on several processes (torchrun): gather embeddings, average gradients. Alone, nothing happens."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from voxdex.encoders.errors import DeviceError

LONGEST_WAIT = timedelta(hours=4)
"""While the first process decodes or validates, the others wait."""


@dataclass(frozen=True)
class ProcessGroup:
    """Which of how many processes this is, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's share of `count` things, which `world` divides."""
        size = count // self.world
        return slice(self.rank * size, (self.rank + 1) * size)


def init_distributed(device: str = "auto") -> ProcessGroup:
    """Joins the processes that torchrun started, or says that this one is alone.

    Args:
        device: "auto" (a GPU where torch sees one), "cpu" or "cuda".

    Raises:
        DeviceError: "cuda" was asked for and torch sees no GPU.
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
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    return ProcessGroup(rank, world, chosen)


def end_distributed() -> None:
    """Ends what join began."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def gather(vectors: Tensor, group: ProcessGroup) -> Tensor:
    """[part, width] of every process, in order of rank -> [all, width]; gradients flow back to where they belong."""
    return torch.cat(all_gather(vectors)) if group.world > 1 else vectors


def average_gradients(parameters: Iterable[nn.Parameter], group: ProcessGroup) -> None:
    """Gives every process the mean of all processes' gradients.

    Every process computes the whole batch's loss from gathered embeddings, and the backward of the gathering sums what
    the processes' losses say of an embedding: the mean over processes is the gradient of the one loss.
    """
    if group.world == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            continue
        dist.all_reduce(parameter.grad)
        parameter.grad /= group.world
