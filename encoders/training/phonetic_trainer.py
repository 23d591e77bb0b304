"""Training on clips and their phonemes: SCRAPS (Valles-Perez et al., arXiv 2307.12445), with CTC.

The loss is the symmetric contrast of clips and phoneme sequences, with corrupted sequences as hard negatives; the same contrast
between spans of clips and of sequences, so that words inside clips are found; and CTC on the frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.networks.scraps import PhoneticFrames, acoustic_tower
from voxdex.encoders.networks.text_tower import pad
from voxdex.encoders.onnx_session import map_by_length, pad_clips
from voxdex.encoders.phonetic.ctc import BLANK, PhoneticEmbedding, align, pmi
from voxdex.encoders.phonetic.evaluation import PhoneticScorer, corrupt, evaluate_scraps, fit_intelligibility
from voxdex.encoders.phonetic.g2p import MAX_PHONEMES, phonemes_of
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training import losses
from voxdex.encoders.training.data.augment import augment, draw_conditions
from voxdex.encoders.training.data.dataset import Clips
from voxdex.encoders.training.distributed import ProcessGroup, gather
from voxdex.encoders.training.initial import TrainingBundle
from voxdex.encoders.training.recipe import Recipe, RecipeError
from voxdex.encoders.training.trainer import Trainer
from voxdex.encoders.training.validation import Validation

FEWEST_PHONEMES = 3
"""Of a part of an utterance."""
MOST_PHONEMES = 30
ALIGNED_FROM = 0.2
"""Fraction of the steps after which the alignment is good enough for the contrast of spans."""
CALM = 0.25
"""Fraction of the steps over which the probability of added noise rises to its final value."""
SLACK = 0.3
"""Largest random shift of each end of a span, as a fraction of its length."""
WHOLLY_WRONG = 0.25
"""Fraction of edits from which a corrupted sequence is a negative of full weight."""


@dataclass(frozen=True)
class Batch:
    """This process's clips: waveform [clips, samples], lengths [clips], and phoneme ids and corrupted ones of each."""

    waveform: Tensor
    lengths: Tensor
    spoken: list[list[int]]
    corrupted: list[list[int]]
    shares: list[float]


class PhoneticTrainer(Trainer):
    """Trains speech and phonemes into one space."""

    def __init__(self, recipe: Recipe, bundle: TrainingBundle, clips: Clips, group: ProcessGroup) -> None:
        if recipe.schedule.grad_cache_chunks > 1:
            raise RecipeError("schedule.grad_cache_chunks is for captions: phonemes are trained in one part.")
        short = np.flatnonzero(clips.lengths <= recipe.schedule.crop_seconds[1] * SAMPLE_RATE)
        spoken = [bundle.tokenizer.encode(phonemes).ids for phonemes in phonemes_of([clips.rows[i] for i in short])]
        usable = [i for i, ids in enumerate(spoken) if len(ids) >= FEWEST_PHONEMES]
        if len(usable) < 2:
            raise ManifestError(f"No two clips are up to {recipe.schedule.crop_seconds[1]:g} s long and say something.")
        self.spoken = [spoken[i] for i in usable]
        self.inventory = [phoneme for ids in self.spoken for phoneme in ids]
        counts = 1 + np.bincount(self.inventory, minlength=bundle.tokenizer.get_vocab_size())
        self.phoneme_prior = [round(share, 8) for share in (counts / counts.sum()).tolist()]
        kept = clips.select(short[usable].tolist())
        super().__init__(recipe, bundle, kept, group, [set()] * len(kept))

    def validate(self, clips: Clips, unheard: Clips) -> Validation:
        del unheard  # phonetic models have no scales
        network, device = self.kept.eval(), self.group.device
        tower, ids = acoustic_tower(network), self.tokenizer.get_vocab()
        short = clips.select(np.flatnonzero(clips.lengths <= 10 * SAMPLE_RATE).tolist())
        transcripts = [self.tokenizer.encode(phonemes).tokens for phonemes in phonemes_of(short.rows)]

        @torch.inference_mode()
        def hear(sounds: list[np.ndarray]) -> list[PhoneticEmbedding]:
            waveform, lengths = (torch.from_numpy(side).to(device) for side in pad_clips(sounds).values())
            outputs = tower.listen(waveform, lengths)
            vectors = network.project_speech(tower.pool(outputs.states, outputs.weights))
            sides = (side.float().cpu().numpy() for side in (vectors, outputs.log_probs))
            return [
                PhoneticEmbedding(vector, shares[:frames])
                for vector, shares, frames in zip(*sides, outputs.frames.tolist(), strict=True)
            ]

        def ids_of(sequences: Sequence[Sequence[str]]) -> list[list[int]]:
            return [[ids[phoneme] for phoneme in sequence] for sequence in sequences]

        @torch.inference_mode()
        def embed(sequences: Sequence[Sequence[str]]) -> list[np.ndarray]:
            return [*network.embed_text(*self._pad(ids_of(sequences))).float().cpu().numpy()]

        scorer = PhoneticScorer(
            listen=lambda sounds: list(map_by_length(sounds, hear, max_items=32)),
            pmi=lambda spoken, sequences: pmi(spoken, ids_of(sequences), np.array(self.phoneme_prior)),
            embed=lambda sequences: np.stack(list(map_by_length(sequences, embed, max_items=256))),
        )
        sounds = [short.samples(i) for i in range(len(short))]
        clear = scorer.listen(sounds)
        metrics, curve = evaluate_scraps(scorer, sounds, clear, transcripts), fit_intelligibility(scorer, clear, transcripts)
        return Validation([replace(metric, set="held out") for metric in metrics], intelligibility=curve)

    def _backward(self) -> dict[str, Tensor]:
        batch = next(self._batches)
        batch = replace(batch, waveform=batch.waveform.to(self.group.device), lengths=batch.lengths.to(self.group.device))
        torch.manual_seed(self._seed("dropout", self.group.rank))
        network, tower = self.network, acoustic_tower(self.network)
        with self._precision():
            outputs = tower.listen(batch.waveform, batch.lengths)
            speech = network.project_speech(tower.pool(outputs.states, outputs.weights))
            text = network.embed_text(*self._pad([*batch.spoken, *batch.corrupted]))
        own = len(batch.spoken)
        parts = {"contrastive": self._contrastive(speech, text[:own], text[own:], batch)}
        if self.loss.ctc:
            parts["ctc"] = self._ctc(outputs, batch)
        if self.loss.spans and self.step_number >= ALIGNED_FROM * self.total_steps:
            parts["spans"] = self._spans(outputs, batch)
        weights = {"contrastive": self.loss.contrastive, "ctc": self.loss.ctc, "spans": self.loss.spans}
        parts["loss"] = sum((weights[name] * part for name, part in parts.items()), start=torch.zeros(()))
        parts["loss"].backward()
        return parts

    def _contrastive(self, speech: Tensor, text: Tensor, corrupted: Tensor, batch: Batch) -> Tensor:
        """Contrast clips and sequences; the weight of a corrupted sequence rises with the number of its edits."""
        scale = self.network.logit_scale
        same = self._same(batch.spoken)
        logits = scale * gather(speech, self.group) @ gather(text, self.group).T
        if not self.loss.corruptions:
            return losses.contrastive(logits, same)
        logits_wrong = scale * (speech[:, None] * corrupted.unflatten(0, (len(speech), -1))).sum(dim=-1)
        shares = torch.tensor(batch.shares, device=speech.device).view_as(logits_wrong)
        logits_wrong = logits_wrong + (shares / WHOLLY_WRONG).clamp(max=1).log()
        wrong = gather(logits_wrong, self.group)
        to_text = losses.multi_positive(torch.cat([logits, wrong], dim=1), torch.cat([same, -torch.ones_like(wrong)], dim=1))
        return (to_text + losses.multi_positive(logits.T, same.T)) / 2

    def _ctc(self, outputs: PhoneticFrames, batch: Batch) -> Tensor:
        targets = torch.tensor([phoneme for ids in batch.spoken for phoneme in ids])
        counts = torch.tensor([len(ids) for ids in batch.spoken])
        return nn.functional.ctc_loss(
            outputs.log_probs.transpose(0, 1), targets, outputs.frames.cpu(), counts, blank=BLANK, zero_infinity=True
        )

    def _spans(self, outputs: PhoneticFrames, batch: Batch) -> Tensor:
        """Contrast a random span of each aligned clip with the phonemes of that span."""
        rng = self._random("spans")
        frames = outputs.frames.tolist()
        places = align(outputs.log_probs.detach().float().cpu().numpy(), frames, batch.spoken)
        weights = torch.zeros_like(outputs.weights)
        parts, rows = [], []
        for row, (ids, frame_of) in enumerate(zip(batch.spoken, places, strict=True)):
            if not len(frame_of):
                continue
            count = min(len(ids), round(math.exp(rng.uniform(math.log(FEWEST_PHONEMES), math.log(MOST_PHONEMES)))))
            first = rng.randint(0, len(ids) - count)
            begin, end = _bounds(frame_of, first, count, frames[row])
            slack = SLACK * (end - begin)
            begin, end = begin + slack * rng.uniform(-1, 0.3), end + slack * rng.uniform(-0.3, 1)
            inside = slice(max(0, round(begin)), max(round(begin) + 1, round(end)))
            weights[row, inside] = 1.0
            parts.append(ids[first : first + count])
            rows.append(row)
        if len(rows) < 2:
            return outputs.weights.sum() * 0
        with self._precision():
            chosen = torch.tensor(rows, device=outputs.weights.device)
            pooled = acoustic_tower(self.network).pool(outputs.states[chosen], (weights * outputs.weights)[chosen])
            speech, text = self.network.project_speech(pooled), self.network.embed_text(*self._pad(parts))
        return losses.contrastive(self.network.logit_scale * speech @ text.T, self._same(parts, alone=True))

    def _same(self, sequences: list[list[int]], *, alone: bool = False) -> Tensor:
        """Return 1 for pairs of equal sequences, else -1: [all, all], over all processes unless `alone`."""
        ids = torch.zeros(len(sequences), MAX_PHONEMES, dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        if not alone:
            ids = gather(ids.to(self.group.device), self.group)
        return 2.0 * (ids[:, None] == ids).all(dim=-1) - 1.0

    def draw(self) -> Batch:
        epoch, index = divmod(self.step_number, self.steps_per_epoch)
        rows = self._epoch(epoch)[index]
        rows = rows[self.group.part(len(rows))]
        rng = self._random(f"corruptions {self.group.rank}")
        spoken = [self.spoken[row] for row in rows]
        shares = [rng.uniform(0.03, 0.4) for _ in range(len(rows) * self.loss.corruptions)]
        corrupted = [corrupt(spoken[i // self.loss.corruptions], share, self.inventory, rng) for i, share in enumerate(shares)]
        furthest = math.log1p(self.schedule.speed_change)
        speeds = np.exp(np.random.default_rng(self._seed("speeds", self.group.rank)).uniform(-furthest, furthest, len(rows)))
        seconds = self.schedule.crop_seconds[1] * (1 + self.schedule.speed_change)
        waveform, lengths = self.clips.crops(rows, seconds, np.zeros(len(rows)), speeds)
        generator = self._generator("augment", self.group.rank)
        if self.schedule.augment:
            conditions = draw_conditions(len(rows), generator, self.schedule.augment)
            waveform = augment(waveform, lengths, conditions, generator)
        chance = self.schedule.noise * min(1.0, self.step_number / (CALM * self.total_steps))
        waveform = add_disturbance(waveform, lengths, chance, self.schedule.noise_db, generator)
        return Batch(waveform, lengths, spoken, corrupted, shares)

    def _pad(self, sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
        ids, mask = pad(sequences)
        return ids.to(self.group.device), mask.to(self.group.device)


def add_disturbance(
    waveform: Tensor, lengths: Tensor, chance: float, louder_db: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Add white noise, or the sum of other clips of the batch, to random clips.

    Args:
        waveform: [clips, samples], zero after `lengths` [clips].
        chance: probability that a clip gets noise.
        louder_db: range of the noise's level over the clip's, in dB.
        generator: random generator.
    """
    clips, samples = waveform.shape
    valid = torch.arange(samples) < lengths[:, None]
    power = waveform.square().sum(dim=1, keepdim=True) / lengths[:, None]
    even = waveform / (power.sqrt() + 1e-9)
    babble = sum(even[torch.randperm(clips, generator=generator)] for _ in range(4))
    white = torch.randn(clips, samples, generator=generator)
    noise = torch.where(torch.rand(clips, 1, generator=generator) < 0.65, white, babble) * valid
    level = noise.square().sum(dim=1, keepdim=True) / lengths[:, None]
    louder = louder_db[0] + (louder_db[1] - louder_db[0]) * torch.rand(clips, 1, generator=generator)
    gain = (power / (level + 1e-9)).sqrt() * 10 ** (louder / 20)
    disturbed = torch.rand(clips, 1, generator=generator) < chance
    return waveform + noise * gain * disturbed


def _bounds(frame_of: np.ndarray, first: int, count: int, frames: int) -> tuple[float, float]:
    """Return the first and last frame of a run of phonemes: the midpoints to its neighbours."""
    last = first + count - 1
    begin = (frame_of[first - 1] + frame_of[first] + 1) / 2 if first else max(0, frame_of[0] - 2)
    end = (frame_of[last] + frame_of[last + 1] + 1) / 2 if last + 1 < len(frame_of) else min(frames, frame_of[-1] + 3)
    return float(begin), float(end)
