"""Speech with transcripts -> one manifest for the recipe `scraps`: free licences alone, speakers and sentences held out.

    python -m voxdex.encoders.training.transcripts SPEECH --add SYNTHETIC --hold-out kathleen --out spoken.csv

SPEECH and every further FOLDER are as encoders.training.corpora knows them; clips without a transcript are left aside.
"""

import hashlib
import re
from collections import Counter
from pathlib import Path

import click

from voxdex.encoders.tables import write_csv
from voxdex.encoders.training.corpora import read_corpus

COLUMNS = "path dataset licence speaker language transcript split duration".split()
SHARED_SENTENCES = 0.13
"""Share of the sentences said by held-out speakers and others that nobody is trained on."""


def is_open(licence: str) -> bool:
    """Whether a licence lets anybody use what is learned: not one for non-commercial use, nor an unknown one."""
    return licence not in ("", "not stated") and "NC" not in licence and "evaluation" not in licence.lower()


def split_rows(rows: list[dict[str, str]], speakers: set[str]) -> list[dict[str, str]]:
    """The rows to train on and to test on, with a `split`.

    Tested are clips of the held-out speakers whose sentence nobody else says, or that was drawn by a hash of it; those
    sentences are left out of training, and all else that held-out speakers say is left aside.
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
@click.option("--add", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="More speech.")
@click.option("--hold-out", multiple=True, metavar="SPEAKER", help="Never trained on; repeatable.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The manifest to write.")
def main(speech: Path, add: tuple[Path, ...], hold_out: tuple[str, ...], out: Path) -> None:
    """Write a manifest of speech with transcripts."""
    rows = [row for folder in (speech, *add) for row in read_corpus(folder)]
    rows = [row for row in rows if row.get("transcript") and is_open(row["licence"])]
    for row in rows:
        row["transcript"] = row["transcript"].lower()
    unknown = set(hold_out) - {row["speaker"] for row in rows}
    if unknown:
        raise click.ClickException(f"Nobody is called {sorted(unknown)[0]!r} in the column `speaker`.")
    rows = split_rows(rows, set(hold_out))
    write_csv(out, rows, COLUMNS)
    for (dataset, split), count in sorted(Counter((row["dataset"], row["split"]) for row in rows).items()):
        click.echo(f"{dataset:24} {split:6} {count}")


if __name__ == "__main__":
    main()
