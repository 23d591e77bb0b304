"""The command that searches an index."""

from collections.abc import Sequence
from pathlib import Path

import click

from commands.asking import find_sound
from commands.common import Fraction, as_json, at_index, finish, language_option, tell_licence
from commands.hits import copy_hits, play_hits, save_hits, save_labels
from commands.lately import remember_hits, resolve_hit
from commands.rows import RowsFile
from commands.terminal import can_print, clip_place, new_table, note, print_json, print_table
from encoders import open_model
from indexer import Place, open_listener
from search import Asked, Facet, Hit, Ranking, find, find_said
from search.finding import count_fields
from search.rendering import heard_as, span

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
@click.option("--says", default="", metavar="TEXT", help="Clips that say this, or IPA between slashes; see `index --says`.")
@language_option
@click.option("--where", multiple=True, metavar="EXPR", help="gender=female, age>=60, path~'tapes/*' or not whispered ...")
@click.option("--facet", "facets", multiple=True, metavar="FIELD", help="Count the values of a field, in the hits and in all.")
@click.option("--group-by", "group", metavar="FIELD", help="At most --per-group hits of each recording, speaker ...")
@click.option("--per-group", default=1, show_default=True, type=click.IntRange(1), help="With --group-by.")
@click.option("--diverse", "diversity", default=0.0, type=Fraction(), help="0 for fit alone, to 1 for variety.")
@click.option(
    "--fold", default=Ranking.fold, show_default=True, type=Fraction(),
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
    says: str,
    language: str,
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
    voxdex search "whispering" --says "kids are talking by the door"
    """
    asked = Asked(captions, like, without, unlike, moves, liked, disliked, where, says, language)
    ranking = Ranking(group, per_group, fold, diversity, least)
    query = asked.query(find_sound, resolve_hit, ranking, limit, (page - 1) * limit)
    with place.open() as store:
        encoder = open_model(store.model)
        tell_licence(encoder.card)
        hits = find_said(query, store, encoder, open_listener(store)) if query.says else find(query, store, encoder)
        counted = count_fields(facets, hits, store, query.where)
    remember_hits(hits)
    if json_output:
        print_json(asked.document(hits, counted))
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
    meets, said = (any(getattr(hit, name) for hit in hits) for name in ("meets", "said"))
    table = new_table("#", "score", "above", *(["says"] if meets else []), *(["said"] if said else []), "heard as", "clip")
    yes, no = ("✓", "✗") if can_print("✓✗") else ("yes", "no")
    for hit in hits:
        words = ", ".join(f"{word} {yes if met else no}" for word, met in hit.meets.items())
        copies = f" (+{hit.copies} alike)" if hit.copies else ""
        clip = clip_place(hit.recording, hit.start, hit.end) + copies
        above = "" if hit.percentile is None else f"{hit.percentile:.1f} %"
        place = f"{span(hit.said.start, hit.said.end)} s ({hit.said.match:.2f})" if hit.said else ""
        fit = (str(hit.rank), f"{hit.score:.3f}", above, *([words] if meets else []), *([place] if said else []))
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
