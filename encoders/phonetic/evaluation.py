"""The tests of SCRAPS (Valles-Perez et al., arXiv 2307.12445): does a model notice wrong phonemes, and find what is said?

(a) A share of an utterance's phonemes is replaced at random by others: in how many pairs does the score with the sound fall?
(b) Which of the phonemes of a hundred sentences fit a clip best, and the other way about: R@1, as it is and with disturbances;
x = 0.25 speech + 0.75 white noise of the same power is the paper's.

The score is the evidence for the phonemes in the frames of the clip, or the cosine of the two vectors.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.metrics import mean_interval
from voxdex.encoders.phonetic.corruption import replace_some
from voxdex.encoders.phonetic.degradation import add_babble, add_noise, add_room
from voxdex.encoders.phonetic.pmi import PhoneticEmbedding

SHARES = (0.2, 0.1, 0.05)
SENTENCES, DRAWS = 100, 50
"""How many sentences there are to choose from, and how often so many are drawn where there are more."""
RIGHT_SHARES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
REPLACEMENTS = 5
"""Corrupted sequences of each utterance."""
NOISE_SHARE, BABBLE_SHARE, ROOM_DIRECT_DB = 0.75, 0.5, 0.0


@dataclass(frozen=True)
class Outcome:
    """A figure in percent with its 95 % interval, over so many clips. chance: what guessing would give."""

    question: str
    clips: int
    figure: float
    low: float
    high: float
    chance: float


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
) -> list[Outcome]:
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
    outcomes = []
    for by, score in listener.scores().items():
        outcomes += [notice_replacements(score, clear, said, share, by, seed) for share in SHARES]
        for where, spoken in heard.items():
            outcomes += find_sentences(score, spoken, said, where + by, seed)
    return outcomes


def notice_replacements(
    score: Score, heard: Sequence[PhoneticEmbedding], said: Sequence[Sequence[str]], share: float, how: str = "", seed: int = 0
) -> Outcome:
    """Test (a), with replacements drawn evenly from all phonemes that occur."""
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in said for phoneme in sequence})
    fell = []
    for spoken, sequence in zip(heard, said, strict=True):
        wrong = [replace_some(sequence, share, inventory, rng) for _ in range(REPLACEMENTS)]
        own, *others = score([spoken], [sequence, *wrong])[0]
        fell.append(np.mean(np.array(others) < own))
    return _outcome(f"falls with {share:.0%} of phonemes replaced{how}", np.array(fell), 50.0)


def find_sentences(
    score: Score, heard: Sequence[PhoneticEmbedding], said: Sequence[Sequence[str]], how: str = "", seed: int = 0
) -> list[Outcome]:
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
        _outcome(f"{name} R@1 of {among}{how}", np.array([np.mean(found) for found in kept if found]), 100 / among)
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


def _outcome(question: str, values: np.ndarray, chance: float) -> Outcome:
    shown = (round(100 * float(value), 1) for value in (values.mean(), *mean_interval(values)))
    return Outcome(question, len(values), *shown, round(chance, 1))
