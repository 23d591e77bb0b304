"""Training on clips and captions: contrastive and classification losses, hard negatives, and self-distillation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from voxdex.encoders.networks.speech_tower import ConvNeXtSpeechTower
from voxdex.encoders.networks.whisper_tower import WhisperSpeechTower
from voxdex.encoders.training import losses
from voxdex.encoders.training.annotate.label_rules import played
from voxdex.encoders.training.data.augment import RecordingConditions, augment, draw_conditions
from voxdex.encoders.training.data.caption_sampling import (
    ATTRIBUTE_COLUMNS,
    EXCLUSIVE,
    PROMPTED,
    caption_matches,
    draw_captions,
    hard_negative_captions,
    label_prompts,
    tokens,
)
from voxdex.encoders.training.data.dataset import Clips
from voxdex.encoders.training.data.takes import Take, Takes
from voxdex.encoders.training.distributed import ProcessGroup, gather
from voxdex.encoders.training.initial import TrainingBundle
from voxdex.encoders.training.recipe import Recipe, RecipeError
from voxdex.encoders.training.trainer import Trainer
from voxdex.encoders.training.validation import Validation, validate

FITTED_CLIPS = 256
"""Number of clips to which the scale of a tower's inputs is fitted."""


@dataclass(frozen=True)
class Batch:
    """A batch: this process's part of the clips and captions, and the truth of all.

    truth [all, claims]; ids and mask [part, tokens] of the clips' captions. hard_negatives: further captions, each false of one
    clip; matches [all, captions and hard negatives]. sound: this process's clips; their takes, for a frozen speech tower.
    """

    rows: list[int]
    truth: np.ndarray
    ids: Tensor
    mask: Tensor
    hard_negatives: list[str]
    matches: Tensor
    sound: "Sound | list[Take]"

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        tensors = {name: getattr(self, name).to(device) for name in ("ids", "mask", "matches")}
        return replace(self, **tensors, sound=self.sound.to(device) if isinstance(self.sound, Sound) else self.sound)


@dataclass(frozen=True)
class Sound:
    """Clips as waveform [clips, samples] and lengths [clips], with the recording conditions to augment them with."""

    waveform: Tensor
    lengths: Tensor
    conditions: RecordingConditions

    def to(self, device: torch.device) -> "Sound":
        """Return the clips on a device."""
        return Sound(self.waveform.to(device), self.lengths.to(device), self.conditions.to(device))


class CaptionTrainer(Trainer):
    """Trains speech and captions into one space, with a frozen teacher for self-distillation."""

    def __init__(self, recipe: Recipe, bundle: TrainingBundle, clips: Clips, group: ProcessGroup) -> None:
        tags = [clip_tags(row, recipe.loss.tag_columns) for row in clips.rows]
        self.tag_names = sorted(set().union(*tags))
        if not self.tag_names and (recipe.loss.tags or recipe.sampling.order == "balanced"):
            columns = ", ".join(recipe.loss.tag_columns)
            raise RecipeError(
                f"The recipe needs tags, and no clip has any in the manifest's column(s) {columns} (loss.tag_columns)."
            )
        super().__init__(recipe, bundle, clips, group, tags)
        if self.schedule.checkpoint_activations:
            self.network.speech_tower.checkpoint_activations()
            self.network.text_tower.checkpoint_activations()
        self.takes = None
        if self.schedule.takes:
            self.takes = Takes(clips, self.schedule, self.network.speech_tower, group.device)
        self.teacher = self._frozen_copy(self.network) if self.loss.self_distillation else None
        self.starting_text = self._frozen_copy(self.network.text_tower) if self.loss.positives == "text_similarity" else None

    def validate(self, clips: Clips, unheard: Clips) -> Validation:
        return validate(self.kept, clips, self.tokenizer, self.group.device, unheard)

    def draw(self) -> Batch:
        epoch, index = divmod(self.step_number, self.steps_per_epoch)
        rows = self._epoch(epoch)[index]
        if self.takes:
            rng = self._random("takes")
            takes = [self.takes.draw(row, rng) for row in rows]
            return self._captioned(rows, [self.takes.labels(take) for take in takes], takes[self.group.part(len(rows))])
        conditions = draw_conditions(len(rows), self._generator("surroundings"), self.schedule.augment)
        furthest = math.log1p(self.schedule.speed_change)
        speeds = np.exp(np.random.default_rng(self._seed("speeds")).uniform(-furthest, furthest, len(rows)))
        moved = [played(self.clips.rows[row], speed) for row, speed in zip(rows, speeds, strict=True)]
        relabelled = [cells | around for cells, around in zip(moved, conditions.labels(), strict=True)]
        mine = self.group.part(len(rows))
        places = np.random.default_rng(self._seed("crops")).random(len(rows))
        seconds = self._random("seconds").uniform(*self.schedule.crop_seconds)
        waveform, lengths = self.clips.crops(rows[mine], seconds, places[mine], speeds[mine])
        return self._captioned(rows, relabelled, Sound(waveform, lengths, conditions[mine]))

    def _captioned(self, rows: list[int], relabelled: list[dict[str, str]], sound: Sound | list[Take]) -> Batch:
        """Draw captions for clips whose labels change in the cells `relabelled`."""
        clips = self.clips.select(rows).relabel(relabelled)
        captions = draw_captions(clips, self._random("captions"), self.loss.negations)
        matches = 2 * torch.eye(len(rows)) - 1
        hard_negatives: list[str] = []
        if self.loss.positives == "labels":
            false = hard_negative_captions(clips, captions, self.loss.hard_negatives, self._random("twists"))
            matches, hard_negatives = caption_matches(clips, captions + false), false.texts
        mine = self.group.part(len(rows))
        ids, mask = tokens(self.tokenizer, captions.texts)
        return Batch(rows, clips.truth, ids[mine], mask[mine], hard_negatives, matches, sound)

    def _backward(self) -> dict[str, Tensor]:
        """With several chunks, embed in two passes (Gao et al. 2021, GradCache)."""
        batch = self._augmented(next(self._batches).to(self.group.device))
        whole = slice(0, len(batch.ids))
        if self.schedule.grad_cache_chunks == 1:
            parts = self._losses(batch, *self._embed(batch, whole, 0))
            parts["loss"].backward()
            return parts
        bounds = np.linspace(0, len(batch.ids), self.schedule.grad_cache_chunks + 1).astype(int).tolist()
        pieces = [slice(*pair) for pair in pairwise(bounds) if pair[0] < pair[1]]
        with torch.no_grad():
            embedded = [self._embed(batch, piece, i) for i, piece in enumerate(pieces)]
        speech, text = (torch.cat(side).requires_grad_() for side in zip(*embedded, strict=True))
        parts = self._losses(batch, speech, text)
        parts["loss"].backward()
        for i, piece in enumerate(pieces):
            again = self._embed(batch, piece, i)
            torch.autograd.backward(again, [side.grad[piece] for side in (speech, text) if side.grad is not None])
        return parts

    def _augmented(self, batch: Batch) -> Batch:
        sound = batch.sound
        if not (self.schedule.augment and isinstance(sound, Sound)):
            return batch
        noise = self._generator("augment", self.group.rank, device=self.group.device)
        return replace(batch, sound=replace(sound, waveform=augment(sound.waveform, sound.lengths, sound.conditions, noise)))

    def _embed(self, batch: Batch, piece: slice, number: int) -> tuple[Tensor, Tensor]:
        """Embed a chunk of this process's batch, with the same dropout for the same chunk of the same step."""
        seed = self._seed("dropout", self.group.rank, number)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # transformers draws masked spans from numpy's global generator
        with self._precision():
            if isinstance(batch.sound, Sound):
                speech = self.network.embed_speech(batch.sound.waveform[piece], batch.sound.lengths[piece])
            else:
                assert self.takes
                speech = self.network.project_speech(self.takes.features(batch.sound[piece]))
            text = self.network.embed_text(batch.ids[piece], batch.mask[piece])
        return speech, text

    def _losses(self, batch: Batch, speech: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss and their weighted sum, `loss`, over the embeddings of all processes."""
        loss, scale = self.loss, self.network.logit_scale
        speech, text = gather(speech, self.group), gather(text, self.group)
        cosines = speech @ text.T
        matched = speech @ torch.cat([text, self._embed_prompts(batch.hard_negatives)]).T if batch.hard_negatives else cosines
        parts: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "contrastive": (loss.contrastive, lambda: self._contrastive(scale * matched, batch)),
            "attributes": (loss.attributes, lambda: self._attributes(scale * speech, batch.truth)),
            "tags": (loss.tags, lambda: self._tags(speech if loss.tag_scale == "none" else scale * speech, batch.rows)),
            "self_distillation": (loss.self_distillation, lambda: self._self_distillation(cosines, batch)),
        }
        values = {name: (weight, part()) for name, (weight, part) in parts.items() if weight}
        return {name: value for name, (_, value) in values.items()} | {
            "loss": sum((weight * value for weight, value in values.values()), start=torch.zeros(()))
        }

    def _contrastive(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.starting_text is None:
            return losses.contrastive(logits, batch.matches)
        with torch.no_grad():
            features = nn.functional.normalize(self.starting_text(batch.ids, batch.mask), dim=-1)
        features = gather(features, self.group)
        return losses.soft_cross_entropy(logits, features @ features.T / self.loss.text_similarity_temperature)

    def _attributes(self, speech: Tensor, truth: np.ndarray) -> Tensor:
        prompts = self._embed_prompts(label_prompts(self._random("prompts")))
        claims = torch.from_numpy(truth[:, PROMPTED]).to(self.group.device)
        weights = [self.loss.attribute_weights.get(name, 1.0) for name in EXCLUSIVE]
        return losses.attribute_classification(speech @ prompts.T, claims, ATTRIBUTE_COLUMNS, weights, self.loss.ambiguous)

    def _tags(self, speech: Tensor, rows: Sequence[int]) -> Tensor:
        rng = self._random("tags")
        prompts = self._embed_prompts([rng.choice(self.loss.tag_templates).format(tag) for tag in self.tag_names])
        has = torch.tensor([[float(tag in self.tags[row]) for tag in self.tag_names] for row in rows], device=self.group.device)
        return losses.tag_classification(speech @ prompts.T, has)

    def _self_distillation(self, cosines: Tensor, batch: Batch) -> Tensor:
        assert self.teacher is not None and isinstance(batch.sound, Sound)
        with torch.no_grad(), self._precision():
            speech = gather(self.teacher.embed_speech(batch.sound.waveform, batch.sound.lengths), self.group)
            text = gather(self.teacher.embed_text(batch.ids, batch.mask), self.group)
        form, temperature = self.loss.distillation_form, self.loss.distillation_temperature
        return losses.self_distillation(cosines, speech @ text.T, form, temperature)

    def _embed_prompts(self, prompts: list[str]) -> Tensor:
        with self._precision():
            return self.network.embed_text(*(part.to(self.group.device) for part in tokens(self.tokenizer, prompts)))

    def _fit_inputs(self) -> None:
        """Fit the scale of a tower's statistics to clips as training draws them."""
        if isinstance(self.network.speech_tower, ConvNeXtSpeechTower | WhisperSpeechTower):
            rng = np.random.default_rng(self._seed("fit"))
            rows = rng.choice(len(self.clips), min(FITTED_CLIPS, len(self.clips)), replace=False).tolist()
            waveform, lengths = self.clips.crops(rows, self.schedule.crop_seconds[1], rng.random(len(rows)))
            conditions = draw_conditions(len(rows), self._generator("fit"), self.schedule.augment)
            waveform = augment(waveform, lengths, conditions, self._generator("fit"))
            self.network.speech_tower.fit(waveform.to(self.group.device), lengths.to(self.group.device))


def clip_tags(row: dict[str, str], columns: Sequence[str]) -> set[str]:
    """Return the tags of a manifest's row: the cells of `columns`, with several separated by "|"."""
    cells = (cell for column in columns for cell in row.get(column, "").split("|"))
    return {cell.strip().lower() for cell in cells if cell.strip()}
