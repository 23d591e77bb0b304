"""How surely `search --says` finds what is said: whole sentences, and phrases inside of clips.

    python -m benchmarks.saying MANIFEST.csv

The manifest has a row a recording: path, transcript, language; rows whose `split` is "train" are left out. Each phrase is a run
of words that only one sentence has. "whole clips" is the baseline: the same search over the vectors of whole clips alone,
without those of their windows.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.espeak import to_phonemes
from encoders.manifest import read_manifest
from encoders.phonetic_model import open_phonetic_model
from search.phonetic_evaluation import read_spoken

LENGTHS = (1, 2, 4, 6)
"""Words of a phrase."""
QUERIES = 200
"""Of each length, at most."""


@dataclass(frozen=True)
class Asked:
    """A phrase and the sentence that it is from."""

    phrase: str
    sentence: str


def phrases(sentences: Sequence[str], words: int, rng: random.Random) -> list[Asked]:
    """Runs of so many words that only one sentence has, one of each sentence; of 0 words, the sentences themselves."""
    found = []
    for sentence in sentences:
        spoken = sentence.split()
        if not words:
            found.append(Asked(sentence, sentence))
            continue
        runs = [" ".join(spoken[i : i + words]) for i in range(len(spoken) - words + 1)]
        own = [run for run in runs if sum(f" {run} " in f" {other} " for other in sentences) == 1]
        if own and words < len(spoken):
            found.append(Asked(rng.choice(own), sentence))
    return rng.sample(found, min(QUERIES, len(found)))


def ranks(asked: Sequence[Asked], queries: Sequence[np.ndarray], said: Sequence[str], heard: list[np.ndarray]) -> np.ndarray:
    """The rank, from 1, of the first clip that says each phrase."""
    found = []
    for each, query in zip(asked, queries, strict=True):
        scores = np.array([(vectors @ query).max() for vectors in heard])
        right = np.array([sentence == each.sentence for sentence in said])
        found.append(1 + int((scores > scores[right].max()).sum()))
    return np.array(found)


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="phonetic", show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(manifest: Path, model: str, seed: int) -> None:
    """Search the recordings of a manifest by what they say."""
    listener, rng = open_phonetic_model(model), random.Random(seed)
    spoken = read_spoken(read_manifest(manifest, "transcript"), manifest.parent, listener.card.max_seconds)
    said = [" ".join(re.findall(r"[\w']+", row["transcript"])) for row in spoken.rows]
    language = spoken.rows[0].get("language") or "en-us"
    windows = [heard.vectors for heard in listener.embed_windows(spoken.clips)]
    table = Table("asked", "queries", "R@1", "R@10", "whole clips: R@1", "R@10", title=f"{len(said)} clips")
    figures = {}
    for words in (0, *reversed(LENGTHS)):
        asked = phrases(sorted(set(said)), words, rng)
        name = f"{words} words" if words else "sentences"
        queries = list(listener.embed_text(to_phonemes([each.phrase for each in asked], language)))
        found = [ranks(asked, queries, said, heard) for heard in (windows, [vectors[:1] for vectors in windows])]
        shares = [100 * float(np.mean(places <= first)) for places in found for first in (1, 10)]
        figures[name] = dict(zip(("R@1", "R@10", "whole R@1", "whole R@10"), shares, strict=True)) | {"queries": len(asked)}
        table.add_row(name, str(len(asked)), *(f"{share:.1f}" for share in shares))
    Console().print(table)
    print(json.dumps({"clips": len(said), "model": listener.card.space, "figures": figures}))


if __name__ == "__main__":
    main()
