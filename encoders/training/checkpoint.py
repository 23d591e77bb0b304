"""All that a run needs to go on after it was stopped, in one safetensors file that is either whole or not there."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from voxdex.encoders.paths import replaced
from voxdex.encoders.training.trainer import Trainer

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(trainer: Trainer, folder: Path, memory: dict[str, Any]) -> None:
    """Writes the state of a run; no source of chance is in it, as each step's come from the seed and its number.

    Args:
        trainer: at the end of a step.
        folder: of the run.
        memory: what else the run remembers, as plain data.
    """
    tensors = {f"network.{name}": value for name, value in trainer.network.state_dict().items()}
    if trainer.average:
        tensors |= {f"average.{name}": value for name, value in trainer.average.state_dict().items()}
    for number, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    about = {"step": str(trainer.step_number), "memory": json.dumps(memory)}
    with replaced(folder / CHECKPOINT) as new:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, new, about)


def load_checkpoint(trainer: Trainer, folder: Path) -> dict[str, Any] | None:
    """Puts a new trainer where the run stopped; what it remembered, or None where there is no checkpoint."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    parts: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        for key in file.keys():  # noqa: SIM118
            part, name = key.split(".", 1)
            parts.setdefault(part, {})[name] = file.get_tensor(key)
    trainer.network.load_state_dict(parts["network"])
    if trainer.average:
        trainer.average.load_state_dict(parts["average"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in parts.get("optimizer", {}).items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    trainer.optimizer.load_state_dict({"state": state, "param_groups": trainer.optimizer.state_dict()["param_groups"]})
    trainer.step_number = int(about["step"])
    return json.loads(about["memory"])
