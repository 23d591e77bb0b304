"""The command that searches an index."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from commands.asking import caption_wish, move_wish, sound_wish
from commands.common import as_json, at_index, finish, tell_licence
from commands.hits import copy_hits, play_hits, save_hits, save_labels
from commands.lately import remember_hits, resolve_hits
from commands.rows import RowsFile
from commands.terminal import clip_name, heard_as, new_table, note, print_json, print_table
from encoders import open_model
from indexer import Place
from search import Facet, Hit, Query, Ranking, Wish, count_values, find, parse_filter
from search.query import DENIED

MOST_VALUES = 20
SOUND = "FILE[:START-END] or @HIT"


@click.command()
@click.argument("captions", nargs=-1, metavar="[CAPTION]...")
@click.option("--like", multiple=True, metavar=SOUND, help="Voices like this one; repeatable, as all that may be several.")
@click.option("--not", "without", multiple=True, metavar="CAPTION", help="Voices that are not like that.")
@click.option("--unlike", multiple=True, metavar=SOUND, help="Voices unlike this one.")
@click.option("--move", "moves", multiple=True, metavar="'CAPTION -> CAPTION'", help="But moved, as in 'calm -> angry'.")
@click.option("--liked", multiple=True, metavar="@HIT", help="More like this hit of the last search.")
@click.option("--disliked", multiple=True, metavar="@HIT", help="Less like this hit of the last search.")
@click.option("--where", multiple=True, metavar="EXPR", help="gender=female, age>=60, path~'tapes/*' or not whispered ...")
@click.option("--facet", "facets", multiple=True, metavar="FIELD", help="Count the values of a field, in the hits and in all.")
@click.option("--group-by", "group", metavar="FIELD", help="At most --per-group hits of each recording, speaker ...")
@click.option("--per-group", default=1, show_default=True, type=click.IntRange(1), help="With --group-by.")
@click.option("--diverse", "diversity", default=0.0, type=click.FloatRange(0, 1), help="0 for fit alone, to 1 for variety.")
@click.option(
    "--fold", default=Ranking.fold, show_default=True, type=click.FloatRange(0, 1),
    help="Clips as like each other as that are shown once; 1 shows all.",
)  # fmt: skip
@click.option("--min-score", "least", default=Ranking.least, type=float, help="Leave out what scores less.")
@click.option("-n", "limit", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many hits.")
@click.option("--page", default=1, show_default=True, type=click.IntRange(1, 10_000), help="The next hits are on page 2.")
@click.option("--save", type=RowsFile(".m3u8"), help="Write the hits to a .csv, .jsonl or .m3u8 file.")
@click.option("--labels-to", type=click.Path(file_okay=False, path_type=Path), help="A label file for Audacity a recording.")
@click.option("--copy-to", type=click.Path(file_okay=False, path_type=Path), help="Cut the clips out, into a folder.")
@click.option("--play", is_flag=True, help="Play the clips, one after another.")
@at_index
@as_json
def search(
    captions: tuple[str, ...],
    like: tuple[str, ...],
    without: tuple[str, ...],
    unlike: tuple[str, ...],
    moves: tuple[str, ...],
    liked: tuple[str, ...],
    disliked: tuple[str, ...],
    where: tuple[str, ...],
    facets: tuple[str, ...],
    group: str | None,
    per_group: int,
    diversity: float,
    fold: float,
    least: float,
    limit: int,
    page: int,
    save: Path | None,
    labels_to: Path | None,
    copy_to: Path | None,
    play: bool,
    place: Place,
    json_output: bool,
) -> None:
    """Find clips by captions, by example, or both.

    A caption or a sound counts for more with ::2 behind it, for less with ::0.5. @3 is the third hit of the last search.

    \b
    voxdex search "breathy, sad female voice"
    voxdex search "an angry man" --not "shouting" --where "duration>2" --group-by recording
    voxdex search --like reference.wav:3.5-7 --move "calm -> angry"
    voxdex search "an old woman" --liked @1 --disliked @4
    """
    unwanted = [*map(caption_wish, without), *map(sound_wish, unlike)]
    wishes = [
        *map(caption_wish, captions),
        *map(sound_wish, like),
        *map(move_wish, moves),
        *(Wish(wish.part, -DENIED * wish.weight) for wish in unwanted),
    ]
    ranking = Ranking(group, per_group, fold, diversity, least)
    ids = [resolve_hits(places) for places in (liked, disliked)]
    query = Query(wishes, parse_filter(*where), *ids, ranking, limit, (page - 1) * limit)
    with place.open() as store:
        encoder = open_model(store.model)
        tell_licence(encoder.card)
        hits = find(query, store, encoder)
        counted = [count_values(field, hits, store, query.where) for field in facets]
    remember_hits(hits)
    if json_output:
        asked = {
            "caption": captions[0] if len(captions) == 1 else None, "captions": list(captions), "like": list(like),
            "not": list(without), "unlike": list(unlike), "move": list(moves), "liked": list(liked),
            "disliked": list(disliked), "where": list(where),
        }  # fmt: skip
        found = {"query": asked, "hits": [asdict(hit) for hit in hits]}
        print_json(
            found | ({"facets": {facet.field: {"hits": facet.hits, "all": facet.all} for facet in counted}} if facets else {})
        )
    else:
        print_hits(hits)
        for facet in counted:
            print_facet(facet)
    if save:
        save_hits(hits, save)
    if labels_to:
        save_labels(hits, labels_to)
    failed = copy_hits(hits, copy_to) if copy_to else []
    failed += play_hits(hits) if play else []
    finish(True, failed)


def print_hits(hits: Sequence[Hit]) -> None:
    if not hits:
        return note("No clip meets these conditions.")
    says = any(hit.meets for hit in hits)
    table = new_table("#", "score", "above", *(["says"] if says else []), "heard as", "clip")
    for hit in hits:
        words = ", ".join(f"{word} {'✓' if met else '✗'}" for word, met in hit.meets.items())
        copies = f" (+{hit.copies} alike)" if hit.copies else ""
        clip = clip_name(hit.recording, hit.start, hit.end) + copies
        fit = (str(hit.rank), f"{hit.score:.3f}", f"{hit.percentile:.1f} %", *([words] if says else []))
        table.add_row(*fit, heard_as(hit.attributes), clip)
    print_table(table)


def print_facet(facet: Facet) -> None:
    table = new_table(facet.field, "hits", "all")
    values = sorted(facet.all, key=lambda value: (-facet.hits.get(value, 0), -facet.all[value], value))
    for value in values[:MOST_VALUES]:
        table.add_row(value, str(facet.hits.get(value, 0)), str(facet.all[value]))
    print_table(table)
    if len(values) > MOST_VALUES:
        note(f"{len(values) - MOST_VALUES} more values of {facet.field}; --json has all.")
