"""The tests of SCRAPS (Valles-Perez et al., arXiv 2307.12445): does a model notice wrong phonemes, and find what is said?

(a) A share of an utterance's phonemes is replaced at random by others: in how many pairs does the score with the sound fall?
(b) Which of the phonemes of a hundred sentences fit a clip best, and the other way about: R@1, as it is and with disturbances;
x = 0.25 speech + 0.75 white noise of the same power is the paper's.

The score is the evidence for the phonemes in the frames of the clip, or the cosine of the two vectors.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.metrics import Metric, mean_interval
from voxdex.encoders.phonetic.ctc import PhoneticEmbedding

SHARES = (0.2, 0.1, 0.05)
SENTENCES, DRAWS = 100, 50
"""How many sentences there are to choose from, and how often so many are drawn where there are more."""
RIGHT_SHARES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
REPLACEMENTS = 5
"""Corrupted sequences of each utterance."""
NOISE_SHARE, BABBLE_SHARE, ROOM_DIRECT_DB = 0.75, 0.5, 0.0


@dataclass(frozen=True)
class Listener:
    """A model for what is said.

    hear: clips, float32 [samples] each -> what is heard of them. evidence: of a clip for sequences of phonemes, nats
    [sequences]. embed: sequences -> unit vectors [sequences, dimension].
    """

    hear: Callable[[Sequence[np.ndarray]], list[PhoneticEmbedding]]
    evidence: Callable[[PhoneticEmbedding, Sequence[Sequence[str]]], np.ndarray]
    embed: Callable[[Sequence[Sequence[str]]], np.ndarray]

    def scores(self) -> dict[str, "Score"]:
        """The two ways of scoring, by what questions are called that they answer."""
        return {
            "": lambda heard, sequences: np.stack([self.evidence(spoken, sequences) for spoken in heard]),
            ", by vectors": lambda heard, sequences: np.stack([spoken.vector for spoken in heard]) @ self.embed(sequences).T,
        }


Score = Callable[[Sequence[PhoneticEmbedding], Sequence[Sequence[str]]], np.ndarray]
"""What is heard of clips, and sequences of phonemes -> how well each fits each, [clips, sequences]."""


def run_tests(
    listener: Listener,
    clips: Sequence[np.ndarray],
    clear: Sequence[PhoneticEmbedding],
    said: Sequence[Sequence[str]],
    seed: int = 0,
) -> list[Metric]:
    """All the tests.

    Args:
        listener: the model.
        clips: float32 mono at 16 kHz.
        clear: what is heard of them as they are.
        said: the phonemes of each clip; the same ones of clips that say the same.
        seed: of all chance.
    """
    rng = np.random.default_rng(seed)
    heard = {
        "": clear,
        f" under {NOISE_SHARE:.0%} white noise": listener.hear([add_noise(clip, NOISE_SHARE, rng) for clip in clips]),
        f" under {BABBLE_SHARE:.0%} babble": listener.hear([add_babble(clip, clips, BABBLE_SHARE, rng) for clip in clips]),
        " in a reverberant room": listener.hear([add_room(clip, ROOM_DIRECT_DB, rng) for clip in clips]),
    }
    metrics = []
    for by, score in listener.scores().items():
        metrics += [notice_replacements(score, clear, said, share, by, seed) for share in SHARES]
        for where, spoken in heard.items():
            metrics += find_sentences(score, spoken, said, where + by, seed)
    return metrics


def notice_replacements(
    score: Score, heard: Sequence[PhoneticEmbedding], said: Sequence[Sequence[str]], share: float, how: str = "", seed: int = 0
) -> Metric:
    """Test (a), with replacements drawn evenly from all phonemes that occur."""
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in said for phoneme in sequence})
    fell = []
    for spoken, sequence in zip(heard, said, strict=True):
        wrong = [replace_some(sequence, share, inventory, rng) for _ in range(REPLACEMENTS)]
        own, *others = score([spoken], [sequence, *wrong])[0]
        fell.append(np.mean(np.array(others) < own))
    return _metric(f"falls with {share:.0%} of phonemes replaced{how}", np.array(fell), 50.0)


def find_sentences(
    score: Score, heard: Sequence[PhoneticEmbedding], said: Sequence[Sequence[str]], how: str = "", seed: int = 0
) -> list[Metric]:
    """Test (b): R@1 both ways among SENTENCES different sentences, one clip of each, over DRAWS draws of them."""
    rng = np.random.default_rng(seed)
    sentences: dict[tuple[str, ...], list[int]] = {}
    for i, sequence in enumerate(said):
        sentences.setdefault(tuple(sequence), []).append(i)
    groups, scores = [*sentences.values()], score(heard, [*sentences])
    among = min(SENTENCES, len(groups))
    hits: dict[str, list[list[float]]] = {name: [[] for _ in said] for name in ("speech to phonemes", "phonemes to speech")}
    for _ in range(DRAWS):
        drawn = rng.choice(len(groups), among, replace=False)
        clips = [int(rng.choice(groups[group])) for group in drawn]
        chosen = scores[np.ix_(clips, drawn)]
        for name, turned in (("speech to phonemes", chosen), ("phonemes to speech", chosen.T)):
            for clip, found in zip(clips, turned.argmax(axis=1) == np.arange(among), strict=True):
                hits[name][clip].append(float(found))
    return [
        _metric(f"{name} R@1 of {among}{how}", np.array([np.mean(found) for found in kept if found]), 100 / among)
        for name, kept in hits.items()
    ]


def fit_intelligibility(
    listener: Listener, clear: Sequence[PhoneticEmbedding], said: Sequence[Sequence[str]], seed: int = 0
) -> list[list[float]]:
    """Rising [evidence for each phoneme, share of right ones]: medians over clips, of phonemes so many of which are right."""
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in said for phoneme in sequence})
    found: list[list[float]] = []
    for spoken, sequence in zip(clear, said, strict=True):
        wrong = [replace_some(sequence, 1 - share, inventory, rng) if share < 1 else sequence for share in RIGHT_SHARES]
        found.append(listener.evidence(spoken, wrong) / len(sequence))
    rising = np.maximum.accumulate(np.median(found, axis=0))
    return [[round(float(nats), 4), share] for nats, share in zip(rising, RIGHT_SHARES, strict=True)]


def _metric(name: str, values: np.ndarray, chance: float) -> Metric:
    shown = (round(100 * float(value), 1) for value in (values.mean(), *mean_interval(values)))
    return Metric(name, "all", len(values), *shown, round(chance, 1))


Phoneme = TypeVar("Phoneme")

REDRAWS = 20
"""How often another phoneme is drawn before one is looked for."""


def replace_some(sequence: Sequence[Phoneme], share: float, inventory: Sequence[Phoneme], rng: random.Random) -> list[Phoneme]:
    """A share of the phonemes, one at least, replaced by others of an inventory, drawn at random (SCRAPS).

    Args:
        sequence: one phoneme or more.
        share: 0 to 1.
        inventory: two different phonemes or more; those named often are drawn often.
        rng: source of chance.
    """
    changed = list(sequence)
    for place in rng.sample(range(len(changed)), max(1, round(share * len(changed)))):
        changed[place] = _another(changed[place], inventory, rng)
    return changed


def corrupt(sequence: Sequence[Phoneme], share: float, inventory: Sequence[Phoneme], rng: random.Random) -> list[Phoneme]:
    """About a share of the phonemes substituted, deleted, swapped with the next one, or an odd one put before them."""
    changed = list(sequence)
    for _ in range(max(1, round(share * len(changed)))):
        place = rng.randrange(len(changed))
        kind = rng.choice(("substitute", "substitute", "delete", "insert", "swap"))
        if kind == "substitute" or (kind == "delete" and len(changed) == 1):
            changed[place] = _another(changed[place], inventory, rng)
        elif kind == "delete":
            del changed[place]
        elif kind == "insert":
            changed.insert(place, rng.choice(inventory))
        else:
            after = (place + 1) % len(changed)
            changed[place], changed[after] = changed[after], changed[place]
    return changed


def _another(phoneme: Phoneme, inventory: Sequence[Phoneme], rng: random.Random) -> Phoneme:
    """Another phoneme of an inventory; the same one where it has no other."""
    for _ in range(REDRAWS):
        drawn = rng.choice(inventory)
        if drawn != phoneme:
            return drawn
    return next((other for other in inventory if other != phoneme), phoneme)


VOICES = 5
"""Other clips that make a babble."""
DECAY_SECONDS = 0.6
"""In which a room's sound falls by 60 dB."""


def mix(speech: np.ndarray, noise: np.ndarray, share: float) -> np.ndarray:
    """(1 - share) x speech + share x noise of the same power (SCRAPS); both float32 [samples], share from 0 to 1."""
    level = np.sqrt(np.mean(speech**2) / (np.mean(noise**2) + 1e-12))
    return ((1 - share) * speech + share * level * noise).astype(np.float32)


def add_noise(speech: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise; see mix."""
    return mix(speech, rng.standard_normal(len(speech)), share)


def add_babble(speech: np.ndarray, others: Sequence[np.ndarray], share: float, rng: np.random.Generator) -> np.ndarray:
    """Five of the other clips at once, at one level, each from a random place on and over again; see mix."""
    babble = np.zeros(len(speech))
    for i in rng.choice(len(others), min(VOICES, len(others)), replace=False):
        voice = others[i] / (np.sqrt(np.mean(others[i] ** 2)) + 1e-9)
        babble += np.resize(np.roll(voice, rng.integers(len(voice))), len(speech))
    return mix(speech, babble, share)


def add_room(speech: np.ndarray, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """A room of 0.6 s in which the direct sound is `direct_db` above the reverberant."""
    time = np.arange(int(DECAY_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / DECAY_SECONDS)
    tail *= 10 ** (-direct_db / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    size = len(speech) + len(tail)
    return np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)[: len(speech)].astype(np.float32)
