"""The command `rerank`: the best takes of a speech synthesiser."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import print_json, print_note, print_rows, short_path
from voxdex.commands.options import (
    Fraction,
    as_json,
    device_option,
    exit_with_failures,
    language_option,
    model_option,
    open_encoder,
    width_option,
)
from voxdex.commands.output import make_folder, write_text
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.search.intelligibility import IntelligibilityReward
from voxdex.search.rerank import RankedTakes, Reward, TakeSet, keep_best, rank, read_take_sets


@click.command()
@click.argument("caption")
@click.argument("takes", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option(
    "--like", type=click.Path(path_type=Path), metavar="FILE", help="A reference recording that the takes should sound like."
)
@click.option(
    "--reference-weight",
    default=0.5,
    show_default=True,
    type=Fraction(),
    help="Weight of the reference against the caption, if both are given.",
)
@click.option("--text", default="", metavar="TEXT", help="The text of the takes, to rank by intelligibility as well.")
@language_option
@click.option(
    "--intelligibility-weight",
    default=0.5,
    show_default=True,
    type=Fraction(),
    help="Weight of the intelligibility of --text against the voice.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Copy the best take of each caption into this folder."
)
@click.option("--link", is_flag=True, help="With --out, link the takes instead of copying them.")
@model_option
@device_option
@as_json
@width_option
def rerank(
    caption: str,
    takes: tuple[Path, ...],
    like: Path | None,
    reference_weight: float,
    text: str,
    language: str,
    intelligibility_weight: float,
    out: Path | None,
    link: bool,
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Rank takes by a caption, a reference, or both: best of N.

    Without FILE, the first argument is a batch: a table with the columns caption and takes ("a.wav | b.wav"), and optionally
    reference, text and name; or a folder with iter_1/input_descriptions.txt and iter_1/audios/0.wav, iter_2/audios/0.wav ...
    With an empty caption, takes are ranked by the reference and the text alone.

    \b
    voxdex rerank "a tired old man" take1.wav take2.wav take3.wav
    voxdex rerank "" take*.wav --like reference.wav
    voxdex rerank "whispering" take*.wav --text "kids are talking by the door"
    voxdex rerank tts_outputs --out best
    """
    sets = [TakeSet("best", caption, takes, like, text)] if takes else read_batch(caption, like, text)
    reward = Reward(open_encoder(model, device), reference_weight)
    intelligibility = None
    if any(each.text for each in sets):
        intelligibility = IntelligibilityReward(open_phonetic_model(device=device), intelligibility_weight, language)
    progress = tqdm(sets, unit=" captions", disable=True if takes else None)
    ranked = [rank(each, reward, intelligibility) for each in progress]
    results = [each.document() for each in ranked]
    failed = [asdict(failure) for each in ranked for failure in each.failed]
    if out:
        make_folder(out)
        kept = keep_best(ranked, out, link_to if link else shutil.copy2)
        write_text(out / "summary.json", json.dumps(results, ensure_ascii=False, indent=2) + "\n")
        print_note(f"{len(kept)} takes and summary.json in {out}.")
    if json_output:
        print_json({"results": results, "failed": failed})
    else:
        print_ranked(ranked)
    exit_with_failures(any(each.takes for each in ranked), failed)


def read_batch(source: str, like: Path | None, text: str) -> list[TakeSet]:
    """Read the take sets of a table or folder; `like` and `text` are the defaults of their reference and text."""
    if not os.path.exists(source):
        raise click.UsageError(
            f"There are no takes to rank: give recordings, or a table or folder that exists, not {source!r}."
        )
    return [replace(each, reference=each.reference or like, text=each.text or text) for each in read_take_sets(Path(source))]


def link_to(take: Path, to: Path) -> None:
    """Create a relative link to a take."""
    to.symlink_to(os.path.relpath(take, to.parent))


def print_ranked(ranked: Sequence[RankedTakes]) -> None:
    """Print all takes of a single set, or the best take of each of several sets."""
    several = len(ranked) > 1
    has_text = any(each.intelligibility for each in ranked)
    extra = [*(["intelligibility"] if has_text else []), *(["runner-up"] if several else [])]
    columns = [*(["caption"] if several else []), "#", "score", *extra, "recording"]
    rows = []
    for each in ranked:
        for position, (take, score) in enumerate(each.takes[: 1 if several else None], 1):
            cells = [str(position), f"{score:.3f}"]
            if has_text:
                cells.append(f"{each.intelligibility[take]:.2f}" if take in each.intelligibility else "")
            if several:
                cells = [each.take_set.caption, *cells, f"{each.takes[1][1]:.3f}" if len(each.takes) > 1 else ""]
            rows.append([*cells, short_path(str(take))])
    print_rows(columns, rows, text=["caption"], paths=["recording"], optional=["runner-up"])
