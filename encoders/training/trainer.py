"""One step of training: a batch, its losses, its gradients. All chance of a step comes from the seed and its number."""

import copy
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from encoders.networks import DualEncoder
from encoders.training.data import Clips
from encoders.training.distributed import Place, average_gradients
from encoders.training.recipe import Recipe
from encoders.training.sampling import epoch_batches
from encoders.training.sources import Bundle
from encoders.training.validation import Validation


class Draws(Dataset):
    """What a trainer draws at each step; a process that reads ahead has a trainer of its own."""

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer = trainer

    def __getitem__(self, step: int) -> Any:
        self.trainer.step_number = step
        return self.trainer.draw()


class Trainer(ABC):
    """A network in training, with its optimiser and, if the recipe wants them, its averaged weights.

    What a batch is and what is minimised, a subclass says. phoneme_shares: of each phoneme id among those trained on, if any.
    """

    phoneme_shares: Sequence[float] = ()

    def __init__(self, recipe: Recipe, beginning: Bundle, clips: Clips, place: Place, tags: Sequence[set[str]]) -> None:
        self.recipe, self.clips, self.place = recipe, clips, place
        self.schedule, self.loss = recipe.schedule, recipe.loss
        self.tags = tags
        self.batch_size = min(self.schedule.batch, len(clips)) // place.world * place.world
        self.steps_per_epoch = len(self._epoch(0))
        self.total_steps = self.schedule.steps or self.schedule.epochs * self.steps_per_epoch

        self.step_number = 0
        self.network = beginning.network.to(place.device)
        self.tokenizer = beginning.tokenizer
        if not recipe.start:
            self._fit_inputs()
        self.average = None
        if self.schedule.average_decay:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.schedule.average_decay))
        encoder = getattr(self.network.speech_tower, "encoder", nn.Module())
        self.late = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        """What is trained from `encoder_start` on."""
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=self.schedule.weight_decay)

    @abstractmethod
    def validate(self, clips: Clips) -> Validation:
        """How good the kept weights are on held-out clips."""

    @abstractmethod
    def draw(self) -> Any:
        """This step's batch, not on the device yet."""

    @abstractmethod
    def _backward(self) -> dict[str, Tensor]:
        """Adds the gradients of this step's batch; the parts of the loss, and `loss`, their weighted sum."""

    def _fit_inputs(self) -> None:  # noqa: B027
        """Lets a tower find out the scale of what it measures, before the first step."""

    @property
    def kept(self) -> DualEncoder:
        """The network whose weights are validated and kept."""
        return self.average.module if self.average else self.network

    def step(self) -> dict[str, float]:
        """One batch; its losses and the learning rate."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * self.rate(self.step_number)
        for parameter in self.late:
            parameter.requires_grad_(self.step_number >= self.schedule.encoder_start * self.total_steps)
        self.optimizer.zero_grad()
        parts = self._backward()
        average_gradients(self.network.parameters(), self.place)
        if self.schedule.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)
        self.step_number += 1
        values = {name: part.item() for name, part in parts.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"The loss is {values['loss']} at step {self.step_number}: lower schedule.learning_rate.")
        return values | {"learning_rate": self.schedule.learning_rate * self.rate(self.step_number - 1)}

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the highest."""
        warm = self.schedule.warmup * self.total_steps
        if step < warm:
            return (step + 1) / (warm + 1)
        if not self.schedule.one_cycle:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.total_steps - warm)))

    @cached_property
    def _draws(self) -> Iterator[Any]:
        """Batches from this step on."""
        steps = range(self.step_number, self.total_steps)
        return iter(
            DataLoader(
                Draws(self),
                batch_size=None,
                sampler=steps,
                num_workers=self.schedule.workers,
                collate_fn=lambda batch: batch,
                generator=torch.Generator(),
            )
        )

    def _epoch(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, of which the last one asked for is remembered."""
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
        return torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.schedule.precision == "bf16")

    def _groups(self) -> list[dict]:
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
    def _frozen(module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).eval().requires_grad_(False)
