"""Synthetic speech with transcripts for phonetic models: espeak-ng in many voices, and flite if it is installed.

    python -m voxdex.encoders.training.scripts.tts_corpus --wordnet /usr/share/wordnet --out SYNTHETIC

English sentences are the examples of WordNet; other languages are strings of words from Debian's word lists (wngerman, wdutch,
wpolish). OUT gets a clips.csv in the format of encoders.training.scripts.corpora, and a FLAC file for each clip.
"""

import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.phonetic.g2p import Espeak, Voice
from voxdex.encoders.tables import write_csv
from voxdex.encoders.training.scripts.corpora import TABLE

COLUMNS = "path dataset licence speaker language transcript duration".split()
VARIANTS = "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 klatt2 klatt3 linda steph Alex Annie anika".split()
ACCENTS = {"en-us": "en-us", "en-gb": "en", "en-gb-scotland": "en-gb-scotland"}
"""English languages and voices of espeak-ng."""
FLITE = {"rms": 3.0, "awb": 3.0, "slt": 1.5, "kal16": 1.0}
"""Voices of flite, and the weight of each."""
WORDS = {"de": "ngerman", "nl": "dutch", "pl": "polish"}
EXAMPLE = re.compile(r'"(\w[^"]{12,90})"')


@dataclass(frozen=True)
class Line:
    """A text to synthesise, its espeak-ng language, and the engine and voice."""

    text: str
    language: str
    engine: str
    voice: str


def example_sentences(wordnet: Path) -> list[str]:
    """Return WordNet's example sentences of three words or more."""
    found: set[str] = set()
    for name in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"data.{name}").read_text(encoding="utf-8").splitlines():
            found.update(example for example in EXAMPLE.findall(line) if len(example.split()) >= 3)
    return sorted(found)


def word_strings(words: Path, count: int, rng: random.Random) -> Iterator[str]:
    """Yield three to nine random words of a word list at a time."""
    known = [word for word in words.read_text(encoding="utf-8").split() if word.isalpha() and 2 < len(word) < 14]
    for _ in range(count):
        yield " ".join(rng.sample(known, rng.randint(3, 9)))


def draw_lines(wordnet: Path, dictionaries: Path, flite: int, english: int, others: int, rng: random.Random) -> list[Line]:
    """Draw `flite` sentences for flite, `english` for espeak-ng, and `others` strings of words in each other language."""
    sentences = rng.sample(example_sentences(wordnet), flite + english)
    voices = rng.choices([*FLITE], [*FLITE.values()], k=flite)
    lines = [Line(text, "en-us", "flite", voice) for text, voice in zip(sentences, voices, strict=False)]
    for text in sentences[flite:]:
        language, voice = rng.choice([*ACCENTS.items()])
        lines.append(Line(text, language, "espeak-ng", f"{voice}+{rng.choice(VARIANTS)}"))
    for language, name in WORDS.items():
        lines += [
            Line(text, language, "espeak-ng", f"{language}+{rng.choice(VARIANTS)}")
            for text in word_strings(dictionaries / name, others, rng)
        ]
    return lines


def speak(line: Line, espeak: Espeak, rng: random.Random) -> np.ndarray:
    """Synthesise a line: float32 samples at 16 kHz."""
    if line.engine == "flite":
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            subprocess.run(["flite", "-voice", line.voice, "-t", line.text, "-o", file.name], check=True, capture_output=True)
            samples, rate = soundfile.read(file.name, dtype="float32")
    else:
        voice = Voice(line.voice, line.voice, rng.randint(120, 210), rng.randint(25, 75), rng.randint(20, 80))
        samples, rate = espeak.say(line.text, voice).astype(np.float32) / 32768, espeak.sample_rate
    return soxr.resample(samples, rate, SAMPLE_RATE)


@click.command()
@click.option("--wordnet", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of WordNet's data files.")
@click.option("--dictionaries", type=click.Path(exists=True, path_type=Path), default="/usr/share/dict", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@click.option("--flite", default=3400, show_default=True, help="English sentences by flite.")
@click.option("--english", default=1600, show_default=True, help="English sentences by espeak-ng.")
@click.option("--others", default=800, show_default=True, help="Strings of words in each of German, Dutch and Polish.")
@click.option("--seed", default=1, show_default=True)
def main(wordnet: Path, dictionaries: Path, out: Path, flite: int, english: int, others: int, seed: int) -> None:
    """Synthesise a corpus with transcripts."""
    if flite and not shutil.which("flite"):
        raise click.ClickException("There is no flite here: install Debian's package flite, or give --flite 0.")
    rng, espeak = random.Random(seed), Espeak()
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, line in enumerate(tqdm(draw_lines(wordnet, dictionaries, flite, english, others, rng), unit="line")):
        samples = speak(line, espeak, rng)
        path = f"{line.engine}/{number:05d}.flac"
        (out / path).parent.mkdir(exist_ok=True)
        soundfile.write(out / path, samples, SAMPLE_RATE)
        known = {"path": path, "dataset": f"synthetic-{line.engine}", "licence": "free software's output"}
        known |= {"speaker": line.voice, "language": line.language, "transcript": line.text}
        rows.append(known | {"duration": round(len(samples) / SAMPLE_RATE, 3)})
    write_csv(out / TABLE, rows, COLUMNS)


if __name__ == "__main__":
    main()
