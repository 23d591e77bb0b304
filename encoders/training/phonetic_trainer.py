"""Training on clips and what is said in them: SCRAPS (Valles-Perez et al., arXiv 2307.12445), with CTC to listen for phonemes.

Beside the symmetric contrast of clips and their phonemes there are corrupted sequences as hard negatives, the same contrast
between parts of clips and of sequences, so that words inside clips are found, and CTC on the frames.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from encoders.audio import SAMPLE_RATE
from encoders.batches import by_length, padded
from encoders.corruption import corrupt
from encoders.ctc import BLANK
from encoders.espeak import phonemes_of
from encoders.evidence import Spoken, evidence
from encoders.manifest import ManifestError
from encoders.phonetic_tests import Listener, fit_intelligibility, run_tests
from encoders.training import losses
from encoders.training.alignment import align
from encoders.training.augment import augment, draw_surroundings
from encoders.training.data import Clips
from encoders.training.distributed import Place, gather
from encoders.training.padding import pad
from encoders.training.phonetics import LONGEST
from encoders.training.recipe import Recipe, RecipeError
from encoders.training.sources import Bundle
from encoders.training.trainer import Trainer
from encoders.training.validation import Figure, Validation

FEWEST_PHONEMES = 3
"""Of a part of an utterance."""
MOST_PHONEMES = 30
ALIGNED_FROM = 0.2
"""Share of the steps after which frames are told apart well enough to know where phonemes lie."""
CALM = 0.25
"""Share of the steps over which disturbances come up to their share of the clips."""
SLACK = 0.3
"""Most of a part's length that a window may reach beyond it, or fall short of it, at each end."""
WHOLLY_WRONG = 0.25
"""Share of edits from which on a corrupted sequence counts in full."""


@dataclass(frozen=True)
class Batch:
    """This process's clips: waveform [clips, samples] and lengths [clips]; phoneme ids of each, and corrupted ones."""

    waveform: Tensor
    lengths: Tensor
    spoken: list[list[int]]
    corrupted: list[list[int]]
    shares: list[float]


class PhoneticTrainer(Trainer):
    """Trains speech and phonemes into one space."""

    def __init__(self, recipe: Recipe, beginning: Bundle, clips: Clips, place: Place) -> None:
        if recipe.schedule.parts > 1:
            raise RecipeError("schedule.parts is for captions: phonemes are trained in one part.")
        short = np.flatnonzero(clips.lengths <= recipe.schedule.crop_seconds[1] * SAMPLE_RATE)
        spoken = [beginning.tokenizer.encode(phonemes).ids for phonemes in phonemes_of([clips.rows[i] for i in short])]
        usable = [i for i, ids in enumerate(spoken) if len(ids) >= FEWEST_PHONEMES]
        if len(usable) < 2:
            raise ManifestError(f"No two clips are up to {recipe.schedule.crop_seconds[1]:g} s long and say something.")
        self.spoken = [spoken[i] for i in usable]
        self.inventory = [phoneme for ids in self.spoken for phoneme in ids]
        counts = 1 + np.bincount(self.inventory, minlength=beginning.tokenizer.get_vocab_size())
        self.phoneme_shares = [round(share, 8) for share in (counts / counts.sum()).tolist()]
        kept = clips.select(short[usable].tolist())
        super().__init__(recipe, beginning, kept, place, [set()] * len(kept))

    def validate(self, clips: Clips) -> Validation:
        network, device = self.kept.eval(), self.place.device
        short = clips.select(np.flatnonzero(clips.lengths <= 10 * SAMPLE_RATE).tolist())
        said = [self.tokenizer.encode(phonemes).tokens for phonemes in phonemes_of(short.rows)]

        @torch.inference_mode()
        def hear(sounds: list[np.ndarray]) -> list[Spoken]:
            waveform, lengths = (torch.from_numpy(side).to(device) for side in padded(sounds).values())
            heard = network.speech_tower.listen(waveform, lengths)
            vectors = network.project_speech(network.speech_tower.pool(heard.states, heard.weights))
            sides = (side.float().cpu().numpy() for side in (vectors, heard.log_shares))
            return [
                Spoken(vector, shares[:frames]) for vector, shares, frames in zip(*sides, heard.frames.tolist(), strict=True)
            ]

        def ids_of(sequences: list[list[str]]) -> list[list[int]]:
            return [[self.tokenizer.token_to_id(phoneme) for phoneme in sequence] for sequence in sequences]

        @torch.inference_mode()
        def embed(sequences: list[list[str]]) -> list[np.ndarray]:
            return [*network.embed_text(*self._pad(ids_of(sequences))).float().cpu().numpy()]

        listener = Listener(
            hear=lambda sounds: list(by_length(sounds, hear, most=32)),
            evidence=lambda spoken, sequences: evidence(spoken, ids_of(sequences), np.array(self.phoneme_shares)),
            embed=lambda sequences: np.stack(list(by_length(sequences, embed, most=256))),
        )
        sounds = [short.samples(i) for i in range(len(short))]
        clear = listener.hear(sounds)
        outcomes, curve = run_tests(listener, sounds, clear, said), fit_intelligibility(listener, clear, said)
        named = [Figure(found.question, "held out", *list(vars(found).values())[1:]) for found in outcomes]
        return Validation(named, intelligibility=curve)

    def _backward(self) -> dict[str, Tensor]:
        batch = next(self._draws)
        batch = replace(batch, waveform=batch.waveform.to(self.place.device), lengths=batch.lengths.to(self.place.device))
        torch.manual_seed(self._seed("dropout", self.place.rank))
        network, tower = self.network, self.network.speech_tower
        with self._precision():
            heard = tower.listen(batch.waveform, batch.lengths)
            speech = network.project_speech(tower.pool(heard.states, heard.weights))
            text = network.embed_text(*self._pad([*batch.spoken, *batch.corrupted]))
        own = len(batch.spoken)
        parts = {"contrastive": self._contrastive(speech, text[:own], text[own:], batch)}
        if self.loss.ctc:
            parts["ctc"] = self._ctc(heard, batch)
        if self.loss.spans and self.step_number >= ALIGNED_FROM * self.total_steps:
            parts["spans"] = self._spans(heard, batch)
        weights = {"contrastive": self.loss.contrastive, "ctc": self.loss.ctc, "spans": self.loss.spans}
        parts["loss"] = sum(weights[name] * part for name, part in parts.items())
        parts["loss"].backward()
        return parts

    def _contrastive(self, speech: Tensor, text: Tensor, corrupted: Tensor, batch: Batch) -> Tensor:
        """Corrupted sequences count the less against their own clip the fewer edits they have."""
        scale = self.network.logit_scale
        same = self._same(batch.spoken)
        logits = scale * gather(speech, self.place) @ gather(text, self.place).T
        if not self.loss.corruptions:
            return losses.contrastive(logits, same)
        logits_wrong = scale * (speech[:, None] * corrupted.unflatten(0, (len(speech), -1))).sum(dim=-1)
        shares = torch.tensor(batch.shares, device=speech.device).view_as(logits_wrong)
        logits_wrong = logits_wrong + (shares / WHOLLY_WRONG).clamp(max=1).log()
        wrong = gather(logits_wrong, self.place)
        to_text = losses.multi_positive(torch.cat([logits, wrong], dim=1), torch.cat([same, -torch.ones_like(wrong)], dim=1))
        return (to_text + losses.multi_positive(logits.T, same.T)) / 2

    def _ctc(self, heard, batch: Batch) -> Tensor:
        targets = torch.tensor([phoneme for ids in batch.spoken for phoneme in ids])
        counts = torch.tensor([len(ids) for ids in batch.spoken])
        return nn.functional.ctc_loss(
            heard.log_shares.transpose(0, 1), targets, heard.frames.cpu(), counts, blank=BLANK, zero_infinity=True
        )

    def _spans(self, heard, batch: Batch) -> Tensor:
        """The contrast between a part of each clip, as far as it is aligned, and the phonemes of that part."""
        rng = self._random("spans")
        frames = heard.frames.tolist()
        places = align(heard.log_shares.detach().float().cpu().numpy(), frames, batch.spoken)
        weights = torch.zeros_like(heard.weights)
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
            return heard.weights.sum() * 0
        with self._precision():
            chosen = torch.tensor(rows, device=heard.weights.device)
            pooled = self.network.speech_tower.pool(heard.states[chosen], (weights * heard.weights)[chosen])
            speech, text = self.network.project_speech(pooled), self.network.embed_text(*self._pad(parts))
        return losses.contrastive(self.network.logit_scale * speech @ text.T, self._same(parts, alone=True))

    def _same(self, sequences: list[list[int]], alone: bool = False) -> Tensor:
        """[all, all]: 1 where two sequences are the same, else -1; over all processes, unless `alone`."""
        ids = torch.zeros(len(sequences), LONGEST, dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        if not alone:
            ids = gather(ids.to(self.place.device), self.place)
        return 2.0 * (ids[:, None] == ids).all(dim=-1) - 1.0

    def draw(self) -> Batch:
        epoch, index = divmod(self.step_number, self.steps_per_epoch)
        rows = self._epoch(epoch)[index]
        rows = rows[self.place.part(len(rows))]
        rng = self._random(f"corruptions {self.place.rank}")
        spoken = [self.spoken[row] for row in rows]
        shares = [rng.uniform(0.03, 0.4) for _ in range(len(rows) * self.loss.corruptions)]
        corrupted = [corrupt(spoken[i // self.loss.corruptions], share, self.inventory, rng) for i, share in enumerate(shares)]
        furthest = math.log1p(self.schedule.speed_change)
        speeds = np.exp(np.random.default_rng(self._seed("speeds", self.place.rank)).uniform(-furthest, furthest, len(rows)))
        seconds = self.schedule.crop_seconds[1] * (1 + self.schedule.speed_change)
        waveform, lengths = self.clips.crops(rows, seconds, np.zeros(len(rows)), speeds)
        generator = self._generator("augment", self.place.rank)
        if self.schedule.augment:
            surroundings = draw_surroundings(len(rows), generator, self.schedule.augment)
            waveform = augment(waveform, lengths, surroundings, generator)
        chance = self.schedule.noise * min(1.0, self.step_number / (CALM * self.total_steps))
        waveform = add_disturbance(waveform, lengths, chance, self.schedule.noise_db, generator)
        return Batch(waveform, lengths, spoken, corrupted, shares)

    def _pad(self, sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
        ids, mask = pad(sequences)
        return ids.to(self.place.device), mask.to(self.place.device)


def add_disturbance(
    waveform: Tensor, lengths: Tensor, chance: float, louder_db: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Puts a share of clips under white noise, or under other clips of the batch at once.

    Args:
        waveform: [clips, samples], zero after `lengths` [clips].
        chance: share of the clips that are disturbed.
        louder_db: how much louder than the clip the noise is, from and to.
        generator: source of chance.
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
    """From which frame to which a run of phonemes lasts: halfway to its neighbours."""
    last = first + count - 1
    begin = (frame_of[first - 1] + frame_of[first] + 1) / 2 if first else max(0, frame_of[0] - 2)
    end = (frame_of[last] + frame_of[last + 1] + 1) / 2 if last + 1 < len(frame_of) else min(frames, frame_of[-1] + 3)
    return float(begin), float(end)
