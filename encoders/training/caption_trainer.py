"""Training on clips and captions: contrastive and classification losses, twisted captions, soft matches with a teacher."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from encoders.networks import ConvNeXtSpeechTower, WhisperSpeechTower
from encoders.training import losses
from encoders.training.augment import Surroundings, augment, draw_surroundings
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
from encoders.training.distributed import Place, gather
from encoders.training.measured import played
from encoders.training.recipe import Recipe, RecipeError
from encoders.training.sources import Bundle
from encoders.training.trainer import Trainer
from encoders.training.validation import Validation, validate

FITTED_CLIPS = 256
"""Clips on which a tower of our own is fitted to its inputs."""


@dataclass(frozen=True)
class Batch:
    """This process's clips and captions, and what is known of all processes'.

    truth [all, claims]; waveform [part, samples], lengths [part]; ids and mask [part, tokens] of the clips' own captions.
    twisted: captions beside them that are false of one clip; matches [all, own and twisted captions].
    surroundings: that this process's clips are to be put through.
    """

    rows: list[int]
    truth: np.ndarray
    waveform: Tensor
    lengths: Tensor
    ids: Tensor
    mask: Tensor
    twisted: list[str]
    matches: Tensor
    surroundings: Surroundings

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        names = ("waveform", "lengths", "ids", "mask", "matches", "surroundings")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


class CaptionTrainer(Trainer):
    """Trains speech and captions into one space, with a frozen teacher if the recipe wants one."""

    def __init__(self, recipe: Recipe, beginning: Bundle, clips: Clips, place: Place) -> None:
        tags = [clip_tags(row, recipe.loss.tag_columns) for row in clips.rows]
        self.tag_names = sorted(set().union(*tags))
        if not self.tag_names and (recipe.loss.tags or recipe.sampling.order == "balanced"):
            columns = ", ".join(recipe.loss.tag_columns)
            raise RecipeError(
                f"The recipe needs tags, and no clip has any in the manifest's column(s) {columns} (loss.tag_columns)."
            )
        super().__init__(recipe, beginning, clips, place, tags)
        if self.schedule.checkpoint_activations:
            self.network.speech_tower.checkpoint_activations()
            self.network.text_tower.checkpoint_activations()
        self.teacher = self._frozen(self.network) if self.loss.soft_matches else None
        self.starting_text = self._frozen(self.network.text_tower) if self.loss.positives == "similar" else None

    def validate(self, clips: Clips) -> Validation:
        return validate(self.kept, clips, self.tokenizer, self.place.device)

    def draw(self) -> Batch:
        epoch, index = divmod(self.step_number, self.steps_per_epoch)
        rows = self._epoch(epoch)[index]
        surroundings = draw_surroundings(len(rows), self._generator("surroundings"), self.schedule.augment)
        furthest = math.log1p(self.schedule.speed_change)
        speeds = np.exp(np.random.default_rng(self._seed("speeds")).uniform(-furthest, furthest, len(rows)))
        moved = [played(self.clips.rows[row], speed) for row, speed in zip(rows, speeds, strict=True)]
        heard = [cells | around for cells, around in zip(moved, surroundings.labels(), strict=True)]
        clips = self.clips.select(rows).relabel(heard)
        captions = draw_captions(clips, self._random("captions"), self.loss.denials)
        matches, twisted = 2 * torch.eye(len(rows)) - 1, []
        if self.loss.positives == "fitting":
            twists = twist(clips, captions, self.loss.twists, self._random("twists"))
            matches, twisted = fitting(clips, captions + twists), twists.texts
        mine = self.place.part(len(rows))
        places = np.random.default_rng(self._seed("crops")).random(len(rows))
        seconds = self._random("seconds").uniform(*self.schedule.crop_seconds)
        waveform, lengths = self.clips.crops(rows[mine], seconds, places[mine], speeds[mine])
        ids, mask = tokens(self.tokenizer, captions.texts)
        return Batch(rows, clips.truth, waveform, lengths, ids[mine], mask[mine], twisted, matches, surroundings[mine])

    def _backward(self) -> dict[str, Tensor]:
        """With several parts, in two passes (Gao et al. 2021, GradCache)."""
        batch = self._augmented(next(self._draws).to(self.place.device))
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

    def _augmented(self, batch: Batch) -> Batch:
        if not self.schedule.augment:
            return batch
        noise = self._generator("augment", self.place.rank, device=self.place.device)
        return replace(batch, waveform=augment(batch.waveform, batch.lengths, batch.surroundings, noise))

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
        return losses.attribute_classification(speech @ prompts.T, truth, ATTRIBUTE_COLUMNS, weights, self.loss.ambiguous)

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

    def _fit_inputs(self) -> None:
        """Lets a tower of our own find out the scale of what it measures, on clips as training draws them."""
        if isinstance(self.network.speech_tower, ConvNeXtSpeechTower | WhisperSpeechTower):
            rng = np.random.default_rng(self._seed("fit"))
            rows = rng.choice(len(self.clips), min(FITTED_CLIPS, len(self.clips)), replace=False).tolist()
            waveform, lengths = self.clips.crops(rows, self.schedule.crop_seconds[1], rng.random(len(rows)))
            surroundings = draw_surroundings(len(rows), self._generator("fit"), self.schedule.augment)
            waveform = augment(waveform, lengths, surroundings, self._generator("fit"))
            self.network.speech_tower.fit(waveform.to(self.place.device), lengths.to(self.place.device))


def clip_tags(row: dict[str, str], columns: Sequence[str]) -> set[str]:
    """The tags of a manifest's row: the cells of `columns`, several separated by "|"."""
    cells = (cell for column in columns for cell in row.get(column, "").split("|"))
    return {cell.strip().lower() for cell in cells if cell.strip()}
