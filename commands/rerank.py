"""The command that ranks the takes of a speech synthesiser."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import new_table, print_json, print_note, print_table, short_path
from voxdex.commands.options import (
    Fraction,
    as_json,
    device_option,
    exit_with_failures,
    language_option,
    model_option,
    open_encoder,
)
from voxdex.commands.output import make, write
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.search.intelligibility import IntelligibilityReward
from voxdex.search.rerank import RankedTakes, Reward, TakeSet, keep_best, rank, read_take_sets


@click.command()
@click.argument("caption")
@click.argument("takes", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--like", type=click.Path(path_type=Path), metavar="FILE", help="A reference: the takes should sound like it.")
@click.option(
    "--likeness", default=0.5, show_default=True, type=Fraction(),
    help="How much the reference counts beside the caption.",
)  # fmt: skip
@click.option("--says", default="", metavar="TEXT", help="What the takes should say: those that say it clearly come first.")
@language_option
@click.option(
    "--clarity", default=0.5, show_default=True, type=Fraction(),
    help="How much that counts beside how they sound.",
)  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Put the best take of each prompt there.")
@click.option("--link", is_flag=True, help="With --out: link the takes instead of copying them.")
@model_option
@device_option
@as_json
def rerank(
    caption: str,
    takes: tuple[Path, ...],
    like: Path | None,
    likeness: float,
    says: str,
    language: str,
    clarity: float,
    out: Path | None,
    link: bool,
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Rank takes by how well they follow a caption, a reference, or both: best of N.

    With no FILE, the first argument is a batch: a table with the columns caption and takes ("a.wav | b.wav"), and perhaps
    reference, text (what they should say) and name; or a folder with iter_1/input_descriptions.txt and
    iter_1/audios/0.wav, iter_2/audios/0.wav ... An empty caption ranks by the rest alone.

    \b
    voxdex rerank "a tired old man" take1.wav take2.wav take3.wav
    voxdex rerank "" take*.wav --like reference.wav
    voxdex rerank "whispering" take*.wav --says "kids are talking by the door"
    voxdex rerank tts_outputs --out best
    """
    prompts = [TakeSet("best", caption, takes, like, says)] if takes else read_batch(caption, like, says)
    encoder = open_encoder(model, device)
    reward = Reward(encoder, likeness)
    spoken = any(prompt.text for prompt in prompts)
    second = IntelligibilityReward(open_phonetic_model(device=device), clarity, language) if spoken else None
    ranked = [rank(prompt, reward, second) for prompt in tqdm(prompts, unit=" prompts", disable=True if takes else None)]
    if out:
        make(out)
        kept = keep_best(ranked, out, link_to if link else shutil.copy2)
        summary = [each.document() for each in ranked]
        write(out / "summary.json", json.dumps(summary, ensure_ascii=False, indent=2) + "\n")
        print_note(f"{len(kept)} takes and summary.json in {out}.")
    failed = [{"path": failure.path, "reason": failure.reason} for each in ranked for failure in each.failed]
    if json_output:
        print_json({"results": [each.document() for each in ranked], "failed": failed})
    else:
        print_ranked(ranked)
    exit_with_failures(any(each.takes for each in ranked), failed)


def read_batch(place: str, like: Path | None, says: str) -> list[TakeSet]:
    if not os.path.exists(place):
        raise click.UsageError(f"There are no takes to rank; give recordings, or a table or folder that exists, not {place!r}.")
    prompts = read_take_sets(Path(place))
    return [replace(each, reference=each.reference or like, text=each.text or says) for each in prompts]


def link_to(take: Path, to: Path) -> None:
    to.symlink_to(os.path.relpath(take, to.parent))


def print_ranked(ranked: Sequence[RankedTakes]) -> None:
    several = len(ranked) > 1
    clear = any(each.intelligibility for each in ranked)
    extra = [*(["intelligibility"] if clear else []), *(["runner-up"] if several else [])]
    table = new_table(*(["prompt"] if several else []), "#", "score", *extra, "recording")
    for each in ranked:
        for place, (take, score) in enumerate(each.takes[: 1 if several else None], 1):
            cells = [str(place), f"{score:.3f}"]
            if clear:
                cells.append(f"{each.intelligibility[take]:.2f}" if take in each.intelligibility else "")
            if several:
                cells = [each.take_set.caption, *cells, f"{each.takes[1][1]:.3f}" if len(each.takes) > 1 else ""]
            table.add_row(*cells, short_path(str(take)))
    print_table(table)
