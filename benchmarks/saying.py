"""How surely `search --says` finds what is said: whole sentences, and phrases inside of clips.

    python -m benchmarks.saying MANIFEST.csv

The manifest has a row a recording: path, transcript, language; rows whose `split` is "train" are left out. Each phrase is a run
of words that only one sentence has. "whole clips" is the baseline: the nearest vectors of whole clips, without looking for the
phonemes in what was heard of them.
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

from voxdex.encoders.phonetic.g2p import to_phonemes
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.phonetic.spotting import pack
from voxdex.encoders.tables import read_manifest
from voxdex.search.evaluation import read_transcribed

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


def rank_of(asked: Asked, said: Sequence[str], scores: np.ndarray) -> int:
    """The rank, from 1, of the first clip that says a phrase."""
    right = np.array([sentence == asked.sentence for sentence in said])
    return 1 + int((scores > scores[right].max()).sum())


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="phonetic", show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(manifest: Path, model: str, seed: int) -> None:
    """Search the recordings of a manifest by what they say."""
    listener, rng = open_phonetic_model(model), random.Random(seed)
    spoken = read_transcribed(read_manifest(manifest, "transcript"), manifest.parent, listener.card.max_seconds)
    said = [" ".join(re.findall(r"[\w']+", row["transcript"])) for row in spoken.rows]
    language = spoken.rows[0].get("language") or "en-us"
    heard = list(listener.listen(spoken.clips))
    vectors, frames = np.stack([each.vector for each in heard]), [pack(each.log_shares) for each in heard]
    table = Table("asked", "queries", "R@1", "R@10", "ms", "whole clips: R@1", "R@10", title=f"{len(said)} clips")
    figures = {}
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
        figures[name] = dict(zip(("R@1", "R@10", "whole R@1", "whole R@10"), shares, strict=True))
        figures[name] |= {"queries": len(asked), "milliseconds": milliseconds}
        cells = [f"{share:.1f}" for share in shares]
        table.add_row(name, str(len(asked)), *cells[:2], f"{milliseconds:.0f}", *cells[2:])
    Console().print(table)
    print(json.dumps({"clips": len(said), "model": listener.card.space, "figures": figures}))


if __name__ == "__main__":
    main()
