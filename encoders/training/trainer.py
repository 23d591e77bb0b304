"""Training steps: batch, losses, gradients. Random draws of a step depend only on the seed and the step's number."""

import copy
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from voxdex.encoders.errors import DivergenceError
from voxdex.encoders.networks.dual_encoder import DualEncoder
from voxdex.encoders.training.data.dataset import Clips
from voxdex.encoders.training.data.sampling import epoch_batches
from voxdex.encoders.training.distributed import ProcessGroup, average_gradients
from voxdex.encoders.training.initial import TrainingBundle
from voxdex.encoders.training.recipe import Recipe
from voxdex.encoders.training.validation import Validation

Network = TypeVar("Network", bound=nn.Module)


class StepBatches(Dataset[Any]):
    """The batches of a trainer by step. A process that draws batches ahead has a trainer of its own."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer

    def __getitem__(self, step: int) -> Any:
        self.trainer.step_number = step
        return self.trainer.draw()


class Trainer(ABC):
    """A network in training, with its optimiser and, if the recipe has average_decay, its averaged weights.

    Subclasses define batches and losses. phoneme_prior: frequency of each phoneme id in the training data, of a phonetic model.
    """

    phoneme_prior: Sequence[float] = ()

    def __init__(
        self, recipe: Recipe, bundle: TrainingBundle, clips: Clips, group: ProcessGroup, tags: Sequence[set[str]]
    ) -> None:
        self.recipe, self.clips, self.group = recipe, clips, group
        self.schedule, self.loss = recipe.schedule, recipe.loss
        self.tags = tags
        self.batch_size = min(self.schedule.batch, len(clips)) // group.world * group.world
        self.steps_per_epoch = len(self._epoch(0))
        self.total_steps = self.schedule.steps or self.schedule.epochs * self.steps_per_epoch

        self.step_number = 0
        self.network = bundle.network.to(group.device)
        self.tokenizer, self.architecture = bundle.tokenizer, bundle.architecture
        if not bundle.has_trained_speech:
            self._fit_inputs()
        rates = {
            self.network.speech_tower: self.schedule.speech_tower_rate,
            self.network.text_tower: self.schedule.text_tower_rate,
        }
        self.frozen = [tower for tower, rate in rates.items() if not rate]
        """Towers that are not trained."""
        for tower in self.frozen:
            tower.requires_grad_(requires_grad=False)
        self.average = None
        if self.schedule.average_decay:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.schedule.average_decay))
        encoder = getattr(self.network.speech_tower, "encoder", nn.Module())
        self.late = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        """Parameters that are frozen before `encoder_start`."""
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=self.schedule.weight_decay)

    @abstractmethod
    def validate(self, clips: Clips, unheard: Clips) -> Validation:
        """Validate the kept weights on held-out clips. unheard: of data sets that were not trained on, for calibration."""

    @abstractmethod
    def draw(self) -> Any:
        """Draw this step's batch, not yet on the device."""

    @abstractmethod
    def _backward(self) -> dict[str, Tensor]:
        """Add the gradients of this step's batch, and return the terms of the loss, and `loss`, their weighted sum."""

    def _fit_inputs(self) -> None:  # noqa: B027
        """Fit the scale of a tower's inputs before the first step."""

    @property
    def kept(self) -> DualEncoder:
        """The network whose weights are validated and kept."""
        if self.average is None:
            return self.network
        averaged = self.average.module
        assert isinstance(averaged, DualEncoder)
        return averaged

    def step(self) -> dict[str, float]:
        """Train on one batch, and return its losses and the learning rate."""
        self.network.train()
        for tower in self.frozen:
            tower.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * self.rate(self.step_number)
        for parameter in self.late:
            parameter.requires_grad_(self.step_number >= self.schedule.encoder_start * self.total_steps)
        self.optimizer.zero_grad()
        parts = self._backward()
        average_gradients(self.network.parameters(), self.group)
        if self.schedule.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)
        self.step_number += 1
        values = {name: part.item() for name, part in parts.items()}
        if not math.isfinite(values["loss"]):
            raise DivergenceError(f"The loss is {values['loss']} at step {self.step_number}: lower schedule.learning_rate.")
        return values | {"learning_rate": self.schedule.learning_rate * self.rate(self.step_number - 1)}

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, as a fraction of the peak."""
        warm = self.schedule.warmup * self.total_steps
        if step < warm:
            return (step + 1) / (warm + 1)
        if not self.schedule.one_cycle:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.total_steps - warm)))

    @cached_property
    def _batches(self) -> Iterator[Any]:
        """The batches from this step on."""
        steps = range(self.step_number, self.total_steps)
        return iter(
            DataLoader(
                StepBatches(self),
                batch_size=None,
                sampler=steps,
                num_workers=self.schedule.workers,
                collate_fn=lambda batch: batch,
                generator=torch.Generator(),
            )
        )

    def _epoch(self, epoch: int) -> list[list[int]]:
        """Return the batches of an epoch; those of the last epoch are cached."""
        if getattr(self, "_drawn", (None, None))[0] != epoch:
            seed = (self.schedule.seed, epoch)
            self._drawn = epoch, epoch_batches(self.clips, self.tags, self.recipe.sampling, self.batch_size, seed)
        return self._drawn[1]

    def _seed(self, *purpose: str | int) -> int:
        return random.Random(repr((self.schedule.seed, self.step_number, *purpose))).getrandbits(62)

    def _generator(self, *purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
        return torch.Generator(device).manual_seed(self._seed(*purpose))

    def _random(self, purpose: str) -> random.Random:
        return random.Random(self._seed(purpose))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.schedule.precision == "bf16")

    def _groups(self) -> list[dict[str, Any]]:
        rates = {
            "speech_tower.encoder": self.schedule.encoder_rate,
            "speech_tower": self.schedule.speech_tower_rate,
            "text_tower": self.schedule.text_tower_rate,
        }
        groups: dict[str, list[nn.Parameter]] = {part: [] for part in (*rates, "")}
        for name, parameter in self.network.named_parameters():
            groups[next((part for part in rates if name.startswith(part)), "")].append(parameter)
        top = self.schedule.learning_rate
        return [{"params": members, "base": top * rates.get(part, 1.0)} for part, members in groups.items() if members]

    @staticmethod
    def _frozen_copy(module: Network) -> Network:
        return copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
