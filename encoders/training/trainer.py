"""One step of training: a batch, its losses, its gradients. All chance of a step comes from the seed and its number."""

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from encoders.networks import ConvNeXtSpeechTower, DualEncoder
from encoders.training import losses
from encoders.training.augment import augment, draw_surroundings
from encoders.training.caption_writer import (
    ATTRIBUTE_COLUMNS,
    EXCLUSIVE,
    PROMPTED,
    draw_captions,
    fitting,
    label_prompts,
    tokens,
    twist,
)
from encoders.training.data import Clips
from encoders.training.distributed import Place, average_gradients, gather
from encoders.training.recipe import Recipe, RecipeError
from encoders.training.sampling import epoch_batches
from encoders.training.sources import Bundle

FITTED_CLIPS = 256
"""Clips on which a tower of our own is fitted to its inputs."""


@dataclass(frozen=True)
class Batch:
    """A batch on the device: this process's clips and captions, and what is known of all processes'.

    truth [all, claims]; waveform [part, samples], lengths [part]; ids and mask [part, tokens] of the clips' own captions.
    twisted: captions beside them that are false of one clip; matches [all, own and twisted captions].
    """

    rows: list[int]
    truth: np.ndarray
    waveform: Tensor
    lengths: Tensor
    ids: Tensor
    mask: Tensor
    twisted: list[str]
    matches: Tensor


class Trainer:
    """A network in training, with its optimiser and, if the recipe wants them, its averaged weights and its teacher."""

    def __init__(self, recipe: Recipe, beginning: Bundle, clips: Clips, place: Place) -> None:
        self.recipe, self.clips, self.place = recipe, clips, place
        self.schedule, self.loss = recipe.schedule, recipe.loss
        self.batch_size = min(self.schedule.batch, len(clips)) // place.world * place.world
        self.tags = [clip_tags(row, self.loss.tag_columns) for row in clips.rows]
        self.tag_names = sorted(set().union(*self.tags))
        if not self.tag_names and (self.loss.tags or recipe.sampling.order == "balanced"):
            columns = ", ".join(self.loss.tag_columns)
            raise RecipeError(
                f"The recipe needs tags, and no clip has any in the manifest's column(s) {columns} (loss.tag_columns)."
            )
        self.steps_per_epoch = len(self._epoch(0))
        self.total_steps = self.schedule.steps or self.schedule.epochs * self.steps_per_epoch

        self.step_number = 0
        self.network = beginning.network.to(place.device)
        self.tokenizer = beginning.tokenizer
        if not recipe.start:
            self._fit_inputs()
        if self.schedule.checkpoint_activations:
            self.network.speech_tower.checkpoint_activations()
            self.network.text_tower.checkpoint_activations()
        self.teacher = self._frozen(self.network) if self.loss.soft_matches else None
        self.starting_text = self._frozen(self.network.text_tower) if self.loss.positives == "similar" else None
        self.average = None
        if self.schedule.average_decay:
            self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.schedule.average_decay))
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=self.schedule.weight_decay)

    @property
    def kept(self) -> DualEncoder:
        """The network whose weights are validated and kept."""
        return self.average.module if self.average else self.network

    def step(self) -> dict[str, float]:
        """One batch; its losses and the learning rate."""
        self.network.train()
        batch = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * self.rate(self.step_number)
        self.optimizer.zero_grad()
        parts = self._backward(batch)
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

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Adds the gradients of the batch's loss; with several parts, in two passes (Gao et al. 2021, GradCache)."""
        whole = slice(0, len(batch.lengths))
        if self.schedule.parts == 1:
            parts = self._losses(batch, *self._embed(batch, whole, 0))
            parts["loss"].backward()
            return parts
        bounds = np.linspace(0, len(batch.lengths), self.schedule.parts + 1).astype(int).tolist()
        pieces = [slice(*pair) for pair in pairwise(bounds) if pair[0] < pair[1]]
        with torch.no_grad():
            embedded = [self._embed(batch, piece, i) for i, piece in enumerate(pieces)]
        speech, text = (torch.cat(side).requires_grad_() for side in zip(*embedded, strict=True))
        parts = self._losses(batch, speech, text)
        parts["loss"].backward()
        for i, piece in enumerate(pieces):
            again = self._embed(batch, piece, i)
            torch.autograd.backward(again, [side.grad[piece] for side in (speech, text)])
        return parts

    def _embed(self, batch: Batch, piece: slice, number: int) -> tuple[Tensor, Tensor]:
        """Embeddings of a piece of this process's batch; the same dropout whenever it is the same piece of the same step."""
        seed = self._seed("dropout", self.place.rank, number)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # transformers draws the spans it masks from numpy's global generator
        with self._precision():
            speech = self.network.embed_speech(batch.waveform[piece], batch.lengths[piece])
            text = self.network.embed_text(batch.ids[piece], batch.mask[piece])
        return speech, text

    def _losses(self, batch: Batch, speech: Tensor, text: Tensor) -> dict[str, Tensor]:
        """The parts of the loss and their weighted sum, `loss`, over all processes' embeddings."""
        loss, scale = self.loss, self.network.logit_scale
        speech, text = gather(speech, self.place), gather(text, self.place)
        cosines = speech @ text.T
        matched = speech @ torch.cat([text, self._embed_prompts(batch.twisted)]).T if batch.twisted else cosines
        parts: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "contrastive": (loss.contrastive, lambda: self._contrastive(scale * matched, batch)),
            "attributes": (loss.attributes, lambda: self._attributes(scale * speech, batch.truth)),
            "tags": (loss.tags, lambda: self._tags(speech if loss.tag_scale == "none" else scale * speech, batch.rows)),
            "soft_matches": (loss.soft_matches, lambda: self._soft_matches(cosines, batch)),
        }
        values = {name: (weight, part()) for name, (weight, part) in parts.items() if weight}
        return {name: value for name, (_, value) in values.items()} | {
            "loss": sum(weight * value for weight, value in values.values())
        }

    def _contrastive(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.starting_text is None:
            return losses.contrastive(logits, batch.matches)
        with torch.no_grad():
            features = nn.functional.normalize(self.starting_text(batch.ids, batch.mask), dim=-1)
        features = gather(features, self.place)
        return losses.soft_cross_entropy(logits, features @ features.T / self.loss.similar_temperature)

    def _attributes(self, speech: Tensor, truth: np.ndarray) -> Tensor:
        prompts = self._embed_prompts(label_prompts(self._random("prompts")))
        truth = torch.from_numpy(truth[:, PROMPTED]).to(self.place.device)
        weights = [self.loss.attribute_weights.get(name, 1.0) for name in EXCLUSIVE]
        return losses.attribute_classification(speech @ prompts.T, truth, ATTRIBUTE_COLUMNS, weights)

    def _tags(self, speech: Tensor, rows: Sequence[int]) -> Tensor:
        rng = self._random("tags")
        prompts = self._embed_prompts([rng.choice(self.loss.tag_templates).format(tag) for tag in self.tag_names])
        has = torch.tensor([[float(tag in self.tags[row]) for tag in self.tag_names] for row in rows], device=self.place.device)
        return losses.tag_classification(speech @ prompts.T, has)

    def _soft_matches(self, cosines: Tensor, batch: Batch) -> Tensor:
        with torch.no_grad(), self._precision():
            speech = gather(self.teacher.embed_speech(batch.waveform, batch.lengths), self.place)
            text = gather(self.teacher.embed_text(batch.ids, batch.mask), self.place)
        return losses.soft_matches(cosines, speech @ text.T, self.loss.soft_form, self.loss.soft_temperature)

    def _embed_prompts(self, prompts: list[str]) -> Tensor:
        with self._precision():
            return self.network.embed_text(*(part.to(self.place.device) for part in tokens(self.tokenizer, prompts)))

    def _batch(self) -> Batch:
        epoch, index = divmod(self.step_number, self.steps_per_epoch)
        rows = self._epoch(epoch)[index]
        surroundings = draw_surroundings(len(rows), self._generator("surroundings"), self.schedule.augment)
        clips = self.clips.select(rows).relabel(surroundings.labels())
        captions = draw_captions(clips, self._random("captions"), self.loss.denials)
        matches, twisted = 2 * torch.eye(len(rows)) - 1, []
        if self.loss.positives == "fitting":
            twists = twist(clips, captions, self.loss.twists, self._random("twists"))
            matches, twisted = fitting(clips, captions + twists), twists.texts
        mine = self.place.part(len(rows))
        places = np.random.default_rng(self._seed("crops")).random(len(rows))
        seconds = self._random("seconds").uniform(*self.schedule.crop_seconds)
        furthest = math.log1p(self.schedule.speed_change)
        speeds = np.exp(np.random.default_rng(self._seed("speeds")).uniform(-furthest, furthest, len(rows)))
        waveform, lengths = self.clips.crops(rows[mine], seconds, places[mine], speeds[mine])
        if self.schedule.augment:
            noise = self._generator("augment", self.place.rank)
            waveform = augment(waveform, lengths, surroundings[mine], noise)
        ids, mask = tokens(self.tokenizer, captions.texts)
        tensors = (tensor.to(self.place.device) for tensor in (waveform, lengths, ids[mine], mask[mine]))
        return Batch(rows, clips.truth, *tensors, twisted, matches.to(self.place.device))

    def _epoch(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, of which the last one asked for is remembered."""
        if getattr(self, "_drawn", (None, None))[0] != epoch:
            seed = (self.schedule.seed, epoch)
            self._drawn = epoch, epoch_batches(self.clips, self.tags, self.recipe.sampling, self.batch_size, seed)
        return self._drawn[1]

    def _seed(self, *purpose: str | int) -> int:
        return random.Random(repr((self.schedule.seed, self.step_number, *purpose))).getrandbits(62)

    def _generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(*purpose))

    def _random(self, purpose: str) -> random.Random:
        return random.Random(self._seed(purpose))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.schedule.precision == "bf16")

    def _fit_inputs(self) -> None:
        """Lets a tower of our own find out the scale of what it measures, on clips as training draws them."""
        if isinstance(self.network.speech_tower, ConvNeXtSpeechTower):
            rng = np.random.default_rng(self._seed("fit"))
            rows = rng.choice(len(self.clips), min(FITTED_CLIPS, len(self.clips)), replace=False).tolist()
            waveform, lengths = self.clips.crops(rows, self.schedule.crop_seconds[1], rng.random(len(rows)))
            surroundings = draw_surroundings(len(rows), self._generator("fit"), self.schedule.augment)
            waveform = augment(waveform, lengths, surroundings, self._generator("fit"))
            self.network.speech_tower.fit(waveform.to(self.place.device), lengths.to(self.place.device))

    def _groups(self) -> list[dict]:
        rates = {"speech_tower": self.schedule.speech_tower_rate, "text_tower": self.schedule.text_tower_rate}
        groups: dict[str, list[nn.Parameter]] = {part: [] for part in (*rates, "")}
        for name, parameter in self.network.named_parameters():
            groups[next((part for part in rates if name.startswith(part)), "")].append(parameter)
        top = self.schedule.learning_rate
        return [{"params": members, "base": top * rates.get(part, 1.0)} for part, members in groups.items()]

    @staticmethod
    def _frozen(module: nn.Module) -> nn.Module:
        return copy.deepcopy(module).eval().requires_grad_(False)


def clip_tags(row: dict[str, str], columns: Sequence[str]) -> set[str]:
    """The tags of a manifest's row: the cells of `columns`, several separated by "|"."""
    cells = (cell for column in columns for cell in row.get(column, "").split("|"))
    return {cell.strip().lower() for cell in cells if cell.strip()}
