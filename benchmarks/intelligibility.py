"""Accuracy of `intelligibility`: rank correlation with the true fraction of wrong phonemes, and with noise.

    python -m benchmarks.intelligibility MANIFEST.csv

Three kinds of errors of a known amount:

- misspoken: espeak-ng speaks sentences with replaced letters, which are scored by the original text (synthetic speech); the
  truth is the fraction of phonemes that differ, by edit distance;
- misread: recordings are scored by phonemes some of which were replaced;
- noisy: recordings are mixed with white noise, at fractions of 0 to 0.9.

The manifest has a row for each recording: path, transcript, language; rows whose `split` is "train" are left out. Needs the
bench extra.
"""

import json
import random
import string
from pathlib import Path

import click
import numpy as np
import soxr
from rapidfuzz.distance import Levenshtein
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.phonetic.evaluation import add_noise, replace_phonemes
from voxdex.encoders.phonetic.g2p import Espeak, Voice, to_phonemes
from voxdex.encoders.phonetic.model import PhoneticModel, open_phonetic_model
from voxdex.encoders.tables import read_manifest
from voxdex.search.evaluation import read_transcribed

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
VOICES = ("en-us+f2", "en-us+m3", "en+f4", "en+m1")
MOST = 100
"""Sentences."""


def judge(model: PhoneticModel, clips: list[np.ndarray], phonemes: list[str]) -> np.ndarray:
    """The intelligibility of each clip, 0 to 1."""
    scores = [model.pmi(spoken, [said])[0] for spoken, said in zip(model.listen(clips), phonemes, strict=True)]
    return np.array([model.intelligibility(float(score), said) for score, said in zip(scores, phonemes, strict=True)])


def misspoken(model: PhoneticModel, sentences: list[str], rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """(share of wrong phonemes, intelligibility) of sentences that espeak-ng says wrongly."""
    espeak, clips, right, said = Espeak(), [], [], []
    for number, sentence in enumerate(sentences):
        for share in SHARES:
            letters = [place for place, letter in enumerate(sentence) if letter.isalpha()]
            wrong = list(sentence)
            for place in rng.sample(letters, round(share * len(letters))):
                wrong[place] = rng.choice(string.ascii_lowercase)
            voice = VOICES[number % len(VOICES)]
            samples = espeak.say("".join(wrong), Voice(voice, voice, 150)).astype(np.float32) / 32768
            clip = soxr.resample(samples, espeak.sample_rate, SAMPLE_RATE)
            if len(clip) <= model.card.max_seconds * SAMPLE_RATE:
                clips.append(clip)
                right.append(sentence)
                said.append("".join(wrong))
    truth, heard = to_phonemes(right), to_phonemes(said)
    parts = [[model.tokenizer.encode(text).tokens for text in texts] for texts in (truth, heard)]
    shares = [Levenshtein.distance(*pair) / len(pair[0]) for pair in zip(*parts, strict=True)]
    return np.array(shares), judge(model, clips, truth)


def misread(
    model: PhoneticModel, clips: list[np.ndarray], phonemes: list[str], rng: random.Random
) -> tuple[np.ndarray, np.ndarray]:
    """(share of wrong phonemes, intelligibility) of real clips with wrong phonemes."""
    spoken = [model.tokenizer.encode(text).tokens for text in phonemes]
    inventory = sorted({phoneme for sequence in spoken for phoneme in sequence})
    shares, wrong = [], []
    for sequence in spoken:
        for share in SHARES:
            wrong.append(" ".join(replace_phonemes(sequence, share, inventory, rng) if share else sequence))
            shares.append(share)
    return np.array(shares), judge(model, [clip for clip in clips for _ in SHARES], wrong)


def noisy(model: PhoneticModel, clips: list[np.ndarray], phonemes: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(share of noise, intelligibility) of real clips under white noise."""
    rng = np.random.default_rng(seed)
    disturbed = [add_noise(clip, share, rng) for clip in clips for share in SHARES]
    return np.tile(SHARES, len(clips)), judge(model, disturbed, [text for text in phonemes for _ in SHARES])


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="phonetic", show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(manifest: Path, model: str, seed: int) -> None:
    """Correlate intelligibility with what is wrong."""
    listener, rng = open_phonetic_model(model), random.Random(seed)
    spoken = read_transcribed(read_manifest(manifest, "transcript"), manifest.parent, listener.card.max_seconds)
    chosen = rng.sample(range(len(spoken.rows)), min(MOST, len(spoken.rows)))
    clips, texts = [spoken.clips[i] for i in chosen], [spoken.rows[i]["transcript"] for i in chosen]
    phonemes = to_phonemes(texts, spoken.rows[0].get("language") or "en-us")
    found = {
        "misspoken": misspoken(listener, texts, rng),
        "misread": misread(listener, clips, phonemes, rng),
        "noisy": noisy(listener, clips, phonemes, seed),
    }
    shares = [f"{share:.0%}" for share in SHARES]
    table = Table("speech", "clips", "Spearman", *shares, title="median intelligibility at a share of", box=None)
    metrics = {}
    for name, (truth, scores) in found.items():
        correlation = float(spearmanr(truth, scores).statistic)
        nearest = np.abs(truth[:, None] - np.array(SHARES)).argmin(axis=1)
        medians = [float(np.median(scores[nearest == i])) if (nearest == i).any() else float("nan") for i in range(len(SHARES))]
        metrics[name] = {"clips": len(scores), "spearman": round(correlation, 3)}
        table.add_row(name, str(len(scores)), f"{correlation:.3f}", *(f"{median:.2f}" for median in medians))
    Console().print(table)
    print(json.dumps({"model": listener.card.space, "metrics": metrics}))


if __name__ == "__main__":
    main()
