"""The manifest of speech with transcripts for the recipe `scraps`: free licences only, speakers and sentences held out.

    python -m voxdex.encoders.training.scripts.transcripts SPEECH --add SYNTHETIC --hold-out kathleen --out spoken.csv

SPEECH and the further folders are in a format of encoders.training.scripts.corpora; clips without a transcript are left out.
"""

import hashlib
import re
from collections import Counter
from pathlib import Path

import click

from voxdex.encoders.tables import write_csv
from voxdex.encoders.training.scripts.corpora import read_corpus

COLUMNS = "path dataset licence speaker language transcript split duration".split()
SHARED_SENTENCES = 0.13
"""Fraction of the sentences spoken by held-out and other speakers that are left out of training."""


def is_open(licence: str) -> bool:
    """Return whether a licence is known and allows commercial use."""
    return licence not in ("", "not stated") and "NC" not in licence and "evaluation" not in licence.lower()


def split_rows(rows: list[dict[str, str]], speakers: set[str]) -> list[dict[str, str]]:
    """Return the rows for training and testing, with a column `split`.

    The test set has clips of held-out speakers whose sentence no other speaker has, or that is drawn by a hash of the sentence.
    These sentences are left out of training, and all other clips of held-out speakers are dropped.
    """
    sentence = {row["path"]: _plain(row["transcript"]) for row in rows}
    trained = {sentence[row["path"]] for row in rows if row["speaker"] not in speakers}
    tested = {sentence[row["path"]] for row in rows if row["speaker"] in speakers}
    drawn = {text for text in tested if text not in trained or _hash(text) < SHARED_SENTENCES}
    found = []
    for row in rows:
        held_out = row["speaker"] in speakers
        if held_out == (sentence[row["path"]] in drawn):
            found.append(row | {"split": "test" if held_out else "train"})
    return found


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _hash(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


@click.command()
@click.argument("speech", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--add",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A further folder of speech; repeatable.",
)
@click.option("--hold-out", multiple=True, metavar="SPEAKER", help="A speaker to hold out; repeatable.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The manifest to write.")
def main(speech: Path, add: tuple[Path, ...], hold_out: tuple[str, ...], out: Path) -> None:
    """Write a manifest of speech with transcripts."""
    rows = [row for folder in (speech, *add) for row in read_corpus(folder)]
    rows = [row for row in rows if row.get("transcript") and is_open(row["licence"])]
    for row in rows:
        row["transcript"] = row["transcript"].lower()
    unknown = set(hold_out) - {row["speaker"] for row in rows}
    if unknown:
        raise click.ClickException(f"There is no speaker {sorted(unknown)[0]!r} in the column `speaker`.")
    rows = split_rows(rows, set(hold_out))
    write_csv(out, rows, COLUMNS)
    for (dataset, split), count in sorted(Counter((row["dataset"], row["split"]) for row in rows).items()):
        click.echo(f"{dataset:24} {split:6} {count}")


if __name__ == "__main__":
    main()
