"""Accuracy and speed of spoken search: whole sentences, and phrases inside clips.

    python -m benchmarks.spoken_search MANIFEST.csv

The manifest has a row for each recording: path, transcript, language; rows of the split "train" are left out. Each phrase is a
run of words that only one sentence has. The baseline "whole" is the nearest embeddings of whole clips, without spotting
phonemes in their posteriorgrams.
"""

import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from voxdex.encoders.phonetic.ctc import pack_posteriorgram
from voxdex.encoders.phonetic.g2p import to_phonemes
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.tables import read_manifest
from voxdex.search.evaluation import read_transcribed

LENGTHS = (1, 2, 4, 6)
"""Numbers of words of the phrases."""
QUERIES = 200
"""Maximum number of phrases of each length."""


@dataclass(frozen=True)
class Asked:
    """A phrase and its sentence."""

    phrase: str
    sentence: str


def phrases(sentences: Sequence[str], words: int, rng: random.Random) -> list[Asked]:
    """Return runs of words that only one sentence has, one of each sentence; for 0 words, whole sentences."""
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


def rank_of(asked: Asked, said: Sequence[str], scores: np.ndarray) -> int:
    """Return the rank, from 1, of the first clip that contains a phrase."""
    right = np.array([sentence == asked.sentence for sentence in said])
    return 1 + int((scores > scores[right].max()).sum())


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="phonetic", show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(manifest: Path, model: str, seed: int) -> None:
    """Search the recordings of a manifest by spoken text."""
    listener, rng = open_phonetic_model(model), random.Random(seed)
    spoken = read_transcribed(read_manifest(manifest, "transcript"), manifest.parent, listener.card.max_seconds)
    said = [" ".join(re.findall(r"[\w']+", row["transcript"])) for row in spoken.rows]
    language = spoken.rows[0].get("language") or "en-us"
    heard = list(listener.listen(spoken.clips))
    vectors, frames = np.stack([each.vector for each in heard]), [pack_posteriorgram(each.log_probs) for each in heard]
    table = Table("asked", "queries", "R@1", "R@10", "ms", "whole clips: R@1", "R@10", title=f"{len(said)} clips")
    metrics = {}
    for words in (0, *reversed(LENGTHS)):
        asked = phrases(sorted(set(said)), words, rng)
        name = f"{words} words" if words else "sentences"
        queries = to_phonemes([each.phrase for each in asked], language)
        started = time.perf_counter()
        spotted = [listener.match(query, frames) for query in queries]
        milliseconds = 1000 * (time.perf_counter() - started) / len(queries)
        whole = [vectors @ query for query in listener.embed_text(queries)]
        ranks = [[rank_of(each, said, one) for each, one in zip(asked, way, strict=True)] for way in (spotted, whole)]
        shares = [100 * float(np.mean(np.array(places) <= first)) for places in ranks for first in (1, 10)]
        metrics[name] = dict(zip(("R@1", "R@10", "whole R@1", "whole R@10"), shares, strict=True))
        metrics[name] |= {"queries": len(asked), "milliseconds": milliseconds}
        cells = [f"{share:.1f}" for share in shares]
        table.add_row(name, str(len(asked)), *cells[:2], f"{milliseconds:.0f}", *cells[2:])
    Console().print(table)
    print(json.dumps({"clips": len(said), "model": listener.card.space, "metrics": metrics}))


if __name__ == "__main__":
    main()
