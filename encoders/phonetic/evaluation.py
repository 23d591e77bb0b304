"""The evaluation of SCRAPS (Valles-Perez et al., arXiv 2307.12445), and its corruptions of phonemes and sound.

(a) A fraction of an utterance's phonemes is replaced at random: percentage of replacements that lower the score.
(b) Retrieval between clips and the phonemes of a hundred sentences: R@1 both ways, for clean clips and for clips in noise,
babble and rooms; the paper's noise is x = 0.25 speech + 0.75 white noise of the same power.

The score is the pointwise mutual information (PMI) of phonemes and clip, or the cosine of their embeddings.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.metrics import Metric, mean_interval
from voxdex.encoders.phonetic.ctc import PhoneticEmbedding

REPLACED_FRACTIONS = (0.2, 0.1, 0.05)
"""Fractions of phonemes that are replaced in test (a)."""
REPLACEMENTS = 5
"""Corrupted sequences for each utterance in test (a)."""
SENTENCES, DRAWS = 100, 50
"""Sentences to choose from in test (b), and number of random draws of so many."""
NOISE_FRACTION, BABBLE_FRACTION, ROOM_DIRECT_DB = 0.75, 0.5, 0.0
"""Degradations of test (b); see add_noise, add_babble and add_room."""
CORRECT_FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Fractions of correct phonemes at which the intelligibility scale is fitted."""
REDRAWS = 20
"""Attempts to draw a different phoneme before one is searched for."""
BABBLE_VOICES = 5
"""Other clips in a babble."""
DECAY_SECONDS = 0.6
"""Reverberation time of a room (RT60)."""

Phoneme = TypeVar("Phoneme")
Score = Callable[[Sequence[PhoneticEmbedding], Sequence[Sequence[str]]], np.ndarray]
"""Embedded clips and sequences of phonemes -> scores [clips, sequences]."""


@dataclass(frozen=True)
class PhoneticScorer:
    """The functions of a phonetic model that the evaluation uses.

    listen: clips, float32 [samples] each -> their embeddings and posteriorgrams. pmi: an embedded clip and sequences of
    phonemes -> nats [sequences]. embed: sequences of phonemes -> unit vectors [sequences, dimension].
    """

    listen: Callable[[Sequence[np.ndarray]], list[PhoneticEmbedding]]
    pmi: Callable[[PhoneticEmbedding, Sequence[Sequence[str]]], np.ndarray]
    embed: Callable[[Sequence[Sequence[str]]], np.ndarray]

    def scores(self) -> dict[str, Score]:
        """Return the scoring functions by suffix of the metrics' names: PMI, and cosine of the embeddings."""
        return {
            "": lambda embedded, sequences: np.stack([self.pmi(spoken, sequences) for spoken in embedded]),
            ", by vectors": lambda embedded, sequences: (
                np.stack([spoken.vector for spoken in embedded]) @ self.embed(sequences).T
            ),
        }


def evaluate_scraps(
    scorer: PhoneticScorer,
    clips: Sequence[np.ndarray],
    embedded: Sequence[PhoneticEmbedding],
    phonemes: Sequence[Sequence[str]],
    seed: int = 0,
) -> list[Metric]:
    """Run tests (a) and (b) with both scores.

    Args:
        scorer: the model.
        clips: float32 [samples] each, mono at 16 kHz.
        embedded: the clips, embedded.
        phonemes: the phonemes of each clip; equal for clips of the same sentence.
        seed: of all random draws.
    """
    rng = np.random.default_rng(seed)
    conditions = {
        "": embedded,
        f" under {NOISE_FRACTION:.0%} white noise": scorer.listen([add_noise(clip, NOISE_FRACTION, rng) for clip in clips]),
        f" under {BABBLE_FRACTION:.0%} babble": scorer.listen(
            [add_babble(clip, clips, BABBLE_FRACTION, rng) for clip in clips]
        ),
        " in a reverberant room": scorer.listen([add_room(clip, ROOM_DIRECT_DB, rng) for clip in clips]),
    }
    metrics = []
    for suffix, score in scorer.scores().items():
        metrics += [replacement_metric(score, embedded, phonemes, fraction, suffix, seed) for fraction in REPLACED_FRACTIONS]
        for condition, degraded in conditions.items():
            metrics += retrieval_metrics(score, degraded, phonemes, condition + suffix, seed)
    return metrics


def replacement_metric(
    score: Score,
    embedded: Sequence[PhoneticEmbedding],
    phonemes: Sequence[Sequence[str]],
    fraction: float,
    suffix: str = "",
    seed: int = 0,
) -> Metric:
    """Run test (a) with a fraction of replaced phonemes, drawn evenly from all phonemes that occur."""
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in phonemes for phoneme in sequence})
    lowered = []
    for spoken, sequence in zip(embedded, phonemes, strict=True):
        wrong = [replace_phonemes(sequence, fraction, inventory, rng) for _ in range(REPLACEMENTS)]
        own, *others = score([spoken], [sequence, *wrong])[0]
        lowered.append(np.mean(np.array(others) < own))
    return _metric(f"falls with {fraction:.0%} of phonemes replaced{suffix}", np.array(lowered), 50.0)


def retrieval_metrics(
    score: Score, embedded: Sequence[PhoneticEmbedding], phonemes: Sequence[Sequence[str]], suffix: str = "", seed: int = 0
) -> list[Metric]:
    """Run test (b): R@1 both ways among SENTENCES different sentences, one clip of each, over DRAWS draws of them."""
    rng = np.random.default_rng(seed)
    clips_of: dict[tuple[str, ...], list[int]] = {}
    for i, sequence in enumerate(phonemes):
        clips_of.setdefault(tuple(sequence), []).append(i)
    groups, scores = [*clips_of.values()], score(embedded, [*clips_of])
    count = min(SENTENCES, len(groups))
    hits: dict[str, list[list[float]]] = {name: [[] for _ in phonemes] for name in ("speech to phonemes", "phonemes to speech")}
    for _ in range(DRAWS):
        sentences = rng.choice(len(groups), count, replace=False)
        clips = [int(rng.choice(groups[sentence])) for sentence in sentences]
        drawn = scores[clips][:, sentences]
        for name, oriented in (("speech to phonemes", drawn), ("phonemes to speech", drawn.T)):
            for clip, is_hit in zip(clips, oriented.argmax(axis=1) == np.arange(count), strict=True):
                hits[name][clip].append(float(is_hit))
    return [
        _metric(f"{name} R@1 of {count}{suffix}", np.array([np.mean(each) for each in of_clips if each]), 100 / count)
        for name, of_clips in hits.items()
    ]


def fit_intelligibility(
    scorer: PhoneticScorer, embedded: Sequence[PhoneticEmbedding], phonemes: Sequence[Sequence[str]], seed: int = 0
) -> list[list[float]]:
    """Fit the intelligibility scale: ascending pairs of PMI per phoneme (nats) and fraction of correct phonemes.

    The PMI is the median over clips, with the other phonemes replaced at random.
    """
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in phonemes for phoneme in sequence})
    per_phoneme: list[np.ndarray] = []
    for spoken, sequence in zip(embedded, phonemes, strict=True):
        variants = [
            replace_phonemes(sequence, 1 - correct, inventory, rng) if correct < 1 else sequence
            for correct in CORRECT_FRACTIONS
        ]
        per_phoneme.append(scorer.pmi(spoken, variants) / len(sequence))
    ascending = np.maximum.accumulate(np.median(per_phoneme, axis=0))
    return [[round(float(nats), 4), correct] for nats, correct in zip(ascending, CORRECT_FRACTIONS, strict=True)]


def _metric(name: str, values: np.ndarray, chance: float) -> Metric:
    value, low, high = (round(100 * float(value), 1) for value in (values.mean(), *mean_interval(values)))
    return Metric(name, "all", len(values), value, low, high, round(chance, 1))


def replace_phonemes(
    sequence: Sequence[Phoneme], fraction: float, inventory: Sequence[Phoneme], rng: random.Random
) -> list[Phoneme]:
    """Replace a fraction of the phonemes, at least one, by random ones of an inventory (SCRAPS).

    Args:
        sequence: one phoneme or more.
        fraction: 0 to 1.
        inventory: at least two different phonemes, drawn as often as they occur in it.
        rng: random generator.
    """
    changed = list(sequence)
    for position in rng.sample(range(len(changed)), max(1, round(fraction * len(changed)))):
        changed[position] = _another(changed[position], inventory, rng)
    return changed


def corrupt(sequence: Sequence[Phoneme], fraction: float, inventory: Sequence[Phoneme], rng: random.Random) -> list[Phoneme]:
    """Substitute, delete, insert or swap phonemes, about a fraction of them; see replace_phonemes."""
    changed = list(sequence)
    for _ in range(max(1, round(fraction * len(changed)))):
        position = rng.randrange(len(changed))
        kind = rng.choice(("substitute", "substitute", "delete", "insert", "swap"))
        if kind == "substitute" or (kind == "delete" and len(changed) == 1):
            changed[position] = _another(changed[position], inventory, rng)
        elif kind == "delete":
            del changed[position]
        elif kind == "insert":
            changed.insert(position, rng.choice(inventory))
        else:
            after = (position + 1) % len(changed)
            changed[position], changed[after] = changed[after], changed[position]
    return changed


def _another(phoneme: Phoneme, inventory: Sequence[Phoneme], rng: random.Random) -> Phoneme:
    """Draw a different phoneme of an inventory; the same one if it has no other."""
    for _ in range(REDRAWS):
        drawn = rng.choice(inventory)
        if drawn != phoneme:
            return drawn
    return next((other for other in inventory if other != phoneme), phoneme)


def mix(speech: np.ndarray, noise: np.ndarray, fraction: float) -> np.ndarray:
    """Return (1 - fraction) x speech + fraction x noise, with the noise scaled to the power of the speech (SCRAPS).

    Args:
        speech, noise: float32 [samples].
        fraction: 0 to 1.
    """
    level = np.sqrt(np.mean(speech**2) / (np.mean(noise**2) + 1e-12))
    return ((1 - fraction) * speech + fraction * level * noise).astype(np.float32)


def add_noise(speech: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Mix in white Gaussian noise; see mix."""
    return mix(speech, rng.standard_normal(len(speech)), fraction)


def add_babble(speech: np.ndarray, others: Sequence[np.ndarray], fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Mix in BABBLE_VOICES other clips of the same level, each repeated from a random start; see mix."""
    babble = np.zeros(len(speech))
    for i in rng.choice(len(others), min(BABBLE_VOICES, len(others)), replace=False):
        voice = others[i] / (np.sqrt(np.mean(others[i] ** 2)) + 1e-9)
        babble += np.resize(np.roll(voice, rng.integers(len(voice))), len(speech))
    return mix(speech, babble, fraction)


def add_room(speech: np.ndarray, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """Convolve with a room response of DECAY_SECONDS whose direct sound is `direct_db` above the reverberant sound."""
    time = np.arange(int(DECAY_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / DECAY_SECONDS)
    tail *= 10 ** (-direct_db / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    size = len(speech) + len(tail)
    return np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)[: len(speech)].astype(np.float32)
