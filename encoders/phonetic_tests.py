"""The tests of SCRAPS (Valles-Perez et al., arXiv 2307.12445): does a model notice wrong phonemes, and find what is said?

(a) A share of an utterance's phonemes is replaced at random by others: in how many pairs does the cosine with the sound fall?
(b) Among the phonemes of a hundred sentences, which are nearest to a clip, and the other way about: R@1, as it is and with
disturbances; x = 0.25 speech + 0.75 white noise of the same power is the paper's.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.corruption import replace_some
from encoders.disturbances import add_babble, add_noise, add_room
from encoders.metrics import mean_interval

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
class Embedders:
    """How clips (float32 [samples] each) and sequences of phonemes become unit vectors, [clips, dimension]."""

    speech: Callable[[Sequence[np.ndarray]], np.ndarray]
    phonemes: Callable[[Sequence[Sequence[str]]], np.ndarray]


def run_tests(embed: Embedders, clips: Sequence[np.ndarray], spoken: Sequence[Sequence[str]], seed: int = 0) -> list[Outcome]:
    """All the tests.

    Args:
        embed: the model.
        clips: float32 mono at 16 kHz.
        spoken: the phonemes of each clip; the same ones of clips that say the same.
        seed: of all chance.
    """
    speech, text = embed.speech(clips), embed.phonemes(spoken)
    outcomes = [notice_replacements(embed, speech, text, spoken, share, seed) for share in SHARES]
    rng = np.random.default_rng(seed)
    disturbed = {
        "": speech,
        f" under {NOISE_SHARE:.0%} white noise": embed.speech([add_noise(clip, NOISE_SHARE, rng) for clip in clips]),
        f" under {BABBLE_SHARE:.0%} babble": embed.speech([add_babble(clip, clips, BABBLE_SHARE, rng) for clip in clips]),
        " in a reverberant room": embed.speech([add_room(clip, ROOM_DIRECT_DB, rng) for clip in clips]),
    }
    for name, heard in disturbed.items():
        outcomes += find_sentences(heard, text, spoken, name, seed)
    return outcomes


def notice_replacements(
    embed: Embedders, speech: np.ndarray, text: np.ndarray, spoken: Sequence[Sequence[str]], share: float, seed: int
) -> Outcome:
    """Test (a), with replacements drawn evenly from all phonemes that occur."""
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in spoken for phoneme in sequence})
    wrong = [replace_some(sequence, share, inventory, rng) for sequence in spoken for _ in range(REPLACEMENTS)]
    own = (speech * text).sum(axis=1)
    scores = (embed.phonemes(wrong).reshape(len(spoken), REPLACEMENTS, -1) * speech[:, None]).sum(axis=2)
    fell = (scores < own[:, None]).mean(axis=1)
    return _outcome(f"falls with {share:.0%} of phonemes replaced", fell, 50.0)


def find_sentences(
    speech: np.ndarray, text: np.ndarray, spoken: Sequence[Sequence[str]], how: str = "", seed: int = 0
) -> list[Outcome]:
    """Test (b): R@1 both ways among SENTENCES different sentences, one clip of each, over DRAWS draws of them."""
    rng = np.random.default_rng(seed)
    sentences: dict[tuple[str, ...], list[int]] = {}
    for i, sequence in enumerate(spoken):
        sentences.setdefault(tuple(sequence), []).append(i)
    groups = [*sentences.values()]
    among = min(SENTENCES, len(groups))
    hits: dict[str, list[list[float]]] = {"speech to phonemes": [], "phonemes to speech": []}
    hits = {name: [[] for _ in spoken] for name in hits}
    for _ in range(DRAWS):
        chosen = [int(rng.choice(groups[group])) for group in rng.choice(len(groups), among, replace=False)]
        scores = speech[chosen] @ text[chosen].T
        for name, turned in (("speech to phonemes", scores), ("phonemes to speech", scores.T)):
            for row, found in zip(chosen, turned.argmax(axis=1) == np.arange(among), strict=True):
                hits[name][row].append(float(found))
    return [
        _outcome(f"{name} R@1 of {among}{how}", np.array([np.mean(found) for found in kept if found]), 100 / among)
        for name, kept in hits.items()
    ]


def fit_intelligibility(
    embed: Embedders, clips: Sequence[np.ndarray], spoken: Sequence[Sequence[str]], seed: int = 0
) -> list[list[float]]:
    """Rising [cosine, share of right phonemes]: the median cosine of clear clips with phonemes of which so many are right."""
    rng = random.Random(seed)
    inventory = sorted({phoneme for sequence in spoken for phoneme in sequence})
    speech = embed.speech(clips)
    medians = []
    for share in RIGHT_SHARES:
        wrong = [replace_some(sequence, 1 - share, inventory, rng) if share < 1 else sequence for sequence in spoken]
        medians.append(float(np.median((embed.phonemes(wrong) * speech).sum(axis=1))))
    rising = np.maximum.accumulate(medians)
    return [[round(float(cosine), 4), share] for cosine, share in zip(rising, RIGHT_SHARES, strict=True)]


def _outcome(question: str, values: np.ndarray, chance: float) -> Outcome:
    shown = (round(100 * float(value), 1) for value in (values.mean(), *mean_interval(values)))
    return Outcome(question, len(values), *shown, round(chance, 1))
