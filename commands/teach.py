"""The commands `teach` and `taught`: labels of one's own, from a few clips."""

import json
from pathlib import Path

import click

from voxdex.commands.console import print_json, print_note, print_rows
from voxdex.commands.hit_table import print_hits
from voxdex.commands.options import FILE, as_json, at_index, check_folder_of, show_licence_once
from voxdex.commands.output import write_text
from voxdex.commands.search import find_sound, remember_hits
from voxdex.encoders.model import open_model
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.taught import TaughtLabel, TeachError, forget_taught, read_taught, write_taught
from voxdex.search.teach import Lesson, as_hits, clip_ids, examples_of
from voxdex.search.teach import teach as teach_label

STILL_GROWING, UNSURE = 0.01, 0.2
"""Gain by the second half of the examples, and width of the interval, from which on more examples help."""


@click.command()
@click.argument("name")
@click.option("--like", multiple=True, metavar="FILE[:START-END] or @HIT", help="A clip that sounds so; repeatable.")
@click.option("--unlike", multiple=True, metavar="FILE[:START-END] or @HIT", help="A clip that does not; repeatable.")
@click.option(
    "--examples", type=FILE, metavar="FILE.csv", help="A table of clips: path, label (yes or no), and start and end in seconds."
)
@click.option("--dry-run", is_flag=True, help="Judge the label, without keeping it.")
@at_index(writes=True)
@as_json
def teach(
    name: str,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    examples: Path | None,
    dry_run: bool,
    location: IndexLocation,
    json_output: bool,
) -> None:
    """Teach an index a word of your own, from a few of its clips.

    The word becomes an attribute with the values yes and no, for all clips and those of later runs, and a word of captions.
    Examples are given anew each time.

    \b
    voxdex teach grumpy --like @1 --like @4 --unlike @7
    voxdex teach grumpy --examples grumpy.csv
    voxdex search "a grumpy old man" --where grumpy=yes
    """
    with location.read() if dry_run else location.open() as store:
        model = open_model(store.model)
        show_licence_once(model.card)
        liked = [id for text in like for id in clip_ids(find_sound(text), store)]
        unliked = [id for text in unlike for id in clip_ids(find_sound(text), store)]
        if examples:
            more_liked, more_unliked = examples_of(examples, store)
            liked, unliked = [*liked, *more_liked], [*unliked, *more_unliked]
        lesson = teach_label(name, store, model, liked=liked, unliked=unliked)
        if not dry_run:
            write_taught(store, lesson.label)
        next_hits = as_hits(lesson, store)
    remember_hits(next_hits)
    if json_output:
        label = lesson.label
        return print_json({"name": label.name, "kept": not dry_run, "quality": vars(label.quality), "next": lesson.next_clips})
    print_note(judgement(lesson))
    if next_hits:
        print_note("Clips whose judgement helps most (--like @1, --unlike @2 ...):")
        print_hits(next_hits)
    return None


@click.group()
def taught() -> None:
    """List the words that an index was taught, forget them, or take them to another index."""


@taught.command(name="list")
@at_index
@as_json
def list_taught(location: IndexLocation, json_output: bool) -> None:
    """List the taught words of an index.

    \b
    voxdex taught list
    """
    with location.read() as store:
        labels = list(read_taught(store).values())
    if json_output:
        return print_json({"taught": [{"name": label.name} | vars(label.quality) for label in labels]})
    if not labels:
        return print_note("The index was taught no words: voxdex teach NAME --like @HIT.")
    rows = []
    for label in labels:
        quality = label.quality
        interval = f"{quality.auc:.0%} ({quality.low:.0%}-{quality.high:.0%})"
        rows.append([label.name, interval, f"{quality.word_auc:.0%}", str(quality.liked), str(quality.unliked)])
    return print_rows(["name", "right pairs", "by the word alone", "liked", "unliked"], rows, text=["name"], paths=[])


@taught.command(name="forget")
@click.argument("name")
@at_index(writes=True)
def forget(name: str, location: IndexLocation) -> None:
    """Remove a taught word from an index.

    \b
    voxdex taught forget grumpy
    """
    with location.open() as store:
        forget_taught(store, name.lower())
    print_note(f"Forgotten: {name.lower()}.")


@taught.command(name="export")
@click.argument("name")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.json")
@at_index
def export_taught(name: str, out: Path, location: IndexLocation) -> None:
    """Write a taught word to a file, for another index of the same model.

    \b
    voxdex taught export grumpy grumpy.json
    """
    check_folder_of(out)
    with location.read() as store:
        label = read_taught(store).get(name.lower())
    if label is None:
        raise TeachError(f"The index has no taught label {name!r}.")
    write_text(out, json.dumps(label.document(), ensure_ascii=False, indent=1))
    print_note(f"{label.name} in {out}.")


@taught.command(name="import")
@click.argument("file", type=FILE, metavar="FILE.json")
@at_index(writes=True)
def import_taught(file: Path, location: IndexLocation) -> None:
    """Take a taught word from a file into an index, and predict it for all clips.

    \b
    voxdex taught import grumpy.json --index other
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TeachError(f"{file} cannot be read as JSON ({error}).") from error
    label = TaughtLabel.of(document)
    with location.open() as store:
        write_taught(store, label)
    print_note(f"{label.name} is taught to {location}.")


def judgement(lesson: Lesson) -> str:
    """Return sentences on how well a label separates its examples, and whether more of them would help."""
    quality = lesson.label.quality
    pairs = f"{quality.auc:.0%} ({quality.low:.0%} to {quality.high:.0%})"
    compared = f"by the word alone {quality.word_auc:.0%}, with half of the examples {quality.half_auc:.0%}, by chance 50 %"
    is_unsure = quality.auc - quality.half_auc > STILL_GROWING or quality.high - quality.low > UNSURE
    advice = "More examples would help." if is_unsure else "More examples would help little."
    return (
        f"Of two clips of recordings that were held back, the one that sounds {lesson.label.name} scores higher in {pairs}; "
        f"{compared}. {advice}"
    )
