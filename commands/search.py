"""The command `search`, and the hits of the last search that the next one may name."""

import json
import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from voxdex.commands.console import print_json, print_note
from voxdex.commands.hit_table import (
    CUES,
    copy_hits,
    play_hits,
    print_facet,
    print_hits,
    print_recordings,
    save_hits,
    save_labels,
)
from voxdex.commands.options import (
    RECORDING,
    Fraction,
    as_json,
    at_index,
    check_used,
    exit_with_failures,
    language_option,
    show_licence_once,
    width_option,
)
from voxdex.commands.output import RowsFile
from voxdex.encoders.errors import short
from voxdex.encoders.model import open_model
from voxdex.encoders.paths import read_json, replace_file, voxdex_home
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.scan import absolute
from voxdex.indexer.speakers import open_speakers
from voxdex.search.editor_formats import MARKERS, TIMELINES, check_packages, with_handles
from voxdex.search.engine import count_facets, search_index
from voxdex.search.formats import search_document
from voxdex.search.query import ClipId, Hit, QuerySpec, Sound
from voxdex.search.query_parser import parse_query, parse_sound
from voxdex.search.recordings import RecordingHit, rank_recordings
from voxdex.search.understanding import search_notes

LAST_SEARCH = "last-search.json"
"""File in the user's data folder: clip ids of the last search's hits, by rank."""
CLIPS_ONLY = (
    "liked",
    "disliked",
    "spoken_text",
    "text",
    "voice",
    "facets",
    "group_by",
    "diverse",
    "fold",
    "save",
    "labels_to",
    "copy_to",
    "play",
)
"""Parameters that do nothing with --recordings."""
SOUND = "FILE[:START-END] or @HIT"
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("captions", nargs=-1, metavar="[CAPTION]...")
@click.option("--like", multiple=True, metavar=SOUND, help="Find voices like this recording or hit; repeatable.")
@click.option("--not", "without", multiple=True, metavar="CAPTION", help="Avoid voices that fit this caption; repeatable.")
@click.option("--unlike", multiple=True, metavar=SOUND, help="Avoid voices like this recording or hit; repeatable.")
@click.option(
    "--move",
    multiple=True,
    metavar="'CAPTION -> CAPTION'",
    help="Move the query from one caption towards another: 'calm -> angry'; repeatable.",
)
@click.option("--more", "liked", multiple=True, metavar="@HIT", help="Find more like a hit of the last search; repeatable.")
@click.option("--less", "disliked", multiple=True, metavar="@HIT", help="Find less like a hit of the last search; repeatable.")
@click.option(
    "--says", "spoken_text", default="", metavar="TEXT",
    help="Find clips with this spoken text; phonemes (IPA) go between slashes.",
)  # fmt: skip
@language_option
@click.option("--text", default="", metavar="WORDS", help="Find clips with these words in the transcripts beside recordings.")
@click.option(
    "--voice", multiple=True, metavar=SOUND, help="Find clips of the person who speaks in this recording or hit; repeatable."
)
@click.option(
    "--where", multiple=True, metavar="EXPR",
    help="Filter the clips: gender=female, duration>2, path~'tapes/*', not whispered ...; repeatable.",
)  # fmt: skip
@click.option(
    "--within", multiple=True, type=RECORDING, metavar="FILE", help="Find clips of this recording only; repeatable.",
    callback=lambda _context, _option, files: tuple(map(absolute, files)),
)  # fmt: skip
@click.option(
    "--facet", "facets", multiple=True, metavar="FIELD",
    help="Count the values of a field among the hits and in the whole index; repeatable.",
)  # fmt: skip
@click.option("--group-by", metavar="FIELD", help="Group the hits by a field, such as recording or speaker.")
@click.option("--per-group", default=1, show_default=True, type=click.IntRange(1), help="Number of hits of each group.")
@click.option("--diverse", default=0.0, type=Fraction(), help="Weight of diversity against score, from 0 to 1.")
@click.option(
    "--fold", default=QuerySpec.fold, show_default=True, type=Fraction(),
    help="Cosine similarity from which on clips are shown once; 1 shows all.",
)  # fmt: skip
@click.option("--min-score", type=float, help="Leave out hits with a lower score.")
@click.option("--recordings", is_flag=True, help="Rank whole recordings, by the mean score of their speech, instead of clips.")
@click.option("-n", "limit", default=10, show_default=True, type=click.IntRange(1, 10_000), help="Number of hits.")
@click.option("--page", default=1, show_default=True, type=click.IntRange(1, 10_000), help="Page of hits to show.")
@click.option(
    "--save",
    type=RowsFile(".m3u8", *TIMELINES),
    help="Write the hits to a .csv, .jsonl or .m3u8 file, or as a timeline: .otio, .edl, .fcpxml or .xml (Premiere).",
)
@click.option("--labels-to", type=FOLDER, help="Write the hits of each recording as labels or markers into this folder.")
@click.option(
    "--labels-as",
    default="audacity",
    show_default=True,
    type=click.Choice(sorted([*MARKERS, CUES])),
    help="The form of --labels-to; bwf copies wave files with cue points.",
)
@click.option(
    "--handles", default=0.0, metavar="SECONDS", type=click.FloatRange(0, 60),
    help="Time that clips are longer at both ends, in files and copies and when played.",
)  # fmt: skip
@click.option(
    "--frame-rate", metavar="FPS", type=click.FloatRange(1, 120),
    help="Frame rate of a timeline.  [default: that of the recordings, or 25]",
)  # fmt: skip
@click.option("--copy-to", type=FOLDER, help="Cut the clips out of their recordings into this folder.")
@click.option("--play", is_flag=True, help="Play the clips one after another.")
@at_index
@as_json
@width_option
def search(
    save: Path | None,
    labels_to: Path | None,
    labels_as: str,
    handles: float,
    frame_rate: float | None,
    copy_to: Path | None,
    play: bool,
    recordings: bool,
    location: IndexLocation,
    json_output: bool,
    **fields: Any,
) -> None:
    """Find clips by captions, by example, or both.

    A weight may follow a caption or a sound: ::2 doubles its influence. @3 is the third hit of the last search.

    \b
    voxdex search "breathy, sad female voice"
    voxdex search "an angry man" --not "shouting" --where "duration>2"
    voxdex search --like reference.wav:3.5-7 --move "calm -> angry"
    voxdex search "an old woman" --more @1 --less @4
    voxdex search "whispering" --says "kids are talking by the door"
    voxdex search --text "by the door"
    voxdex search "angry" --voice @1
    """
    spec = QuerySpec(**fields)
    check_used("per_group", "--group-by", used=spec.group_by is not None)
    check_used("language", "--says", used=bool(spec.spoken_text))
    if recordings:
        for parameter in CLIPS_ONLY:
            check_used(parameter, "single clips: leave out --recordings", used=False)
    check_used("labels_as", "--labels-to", used=labels_to is not None)
    check_used("handles", "--save, --labels-to, --copy-to or --play", used=bool(save or labels_to or copy_to or play))
    check_used("frame_rate", "--save and a timeline", used=save is not None and save.suffix.lower() in TIMELINES)
    check_packages(save.suffix.lower() if save else "")
    query = parse_query(spec, find_sound, find_hit)
    with location.read() as store, open_speakers(location) if query.voice else nullcontext() as speakers:
        model = open_model(store.model)
        show_licence_once(model.card)
        if recordings:
            return show_recordings(rank_recordings(query, store, model), spec, json_output=json_output)
        hits = search_index(query, store, model, speakers=speakers)
        facets = count_facets(spec.facets, hits, store, query.where)
        notes = search_notes(query, hits, card=model.card, store=store, speakers=speakers)
        clips = store.count(where=query.where)
    remember_hits(hits)
    if json_output:
        print_json(search_document(spec, hits, clips=clips, facets=facets, notes=notes))
    else:
        for note in notes:
            print_note(note)
        if not hits:
            print_note(no_hits(spec))
        print_hits(hits)
        if hits:
            print_note(hits_shown(hits, clips, spec))
        for facet in facets:
            print_facet(facet)
    longer = with_handles(hits, handles)
    if save:
        save_hits(longer, save, frame_rate=frame_rate)
    failed = save_labels(longer, labels_to, labels_as) if labels_to else []
    failed += copy_hits(longer, copy_to) if copy_to else []
    failed += play_hits(longer) if play else []
    return exit_with_failures(something_done=True, failed=failed)


def show_recordings(hits: Sequence[RecordingHit], spec: QuerySpec, *, json_output: bool) -> None:
    """Print whole recordings, as a table or as JSON."""
    if json_output:
        return print_json({"query": spec.document(), "recordings": [asdict(hit) for hit in hits]})
    if not hits:
        return print_note(no_hits(spec))
    return print_recordings(hits)


def hits_shown(hits: Sequence[Hit], clips: int, spec: QuerySpec) -> str:
    """Return a sentence on which of the clips are shown, and how to see more."""
    among = "clips that meet the conditions" if spec.where or spec.within else "clips"
    more = f"; --page {spec.page + 1} shows more" if len(hits) == spec.limit and hits[-1].rank < clips else ""
    return f"Hits {hits[0].rank} to {hits[-1].rank} of {clips} {among}{more}."


def no_hits(spec: QuerySpec) -> str:
    """Return a sentence on why there are no hits."""
    if spec.page > 1:
        return f"There is no page {spec.page}: the clips end before it."
    if spec.within and not spec.where:
        return f"The index holds no clip of {' or '.join(spec.within)}."
    reasons = [f"has all words of {short(spec.text)} in its transcript"] if spec.text and not spec.spoken_text else []
    reasons += ["meets these conditions"] if spec.where else []
    reasons += [f"scores {spec.min_score:g} or more"] if spec.min_score is not None else []
    return f"No clip {' and '.join(reasons)}." if reasons else "The index holds no clip to show."


def find_sound(text: str) -> ClipId | Sound:
    """Read "take.wav", "take.wav:3.5-7" for a part of it in seconds, or "@3" for a hit of the last search."""
    return ClipId(find_hit(text)) if re.fullmatch(r"@\d+", text) else parse_sound(text)


def find_hit(text: str) -> str:
    """Return the clip id of a hit of the last search, as in "@3"."""
    ids, rank = _last_hits(), text.removeprefix("@")
    if not text.startswith("@") or rank not in ids:
        known = f"it had {len(ids)} hits, @1 to @{len(ids)}" if ids else "there was none"
        raise click.UsageError(f"{text!r} is no hit of the last search: {known}.")
    return ids[rank]


def remember_hits(hits: Sequence[Hit]) -> None:
    """Store the hits as those of the last search; hits of a later page are added."""
    ids = {str(hit.rank): hit.id for hit in hits}
    if hits and hits[0].rank > 1:
        ids = _last_hits() | ids
    with suppress(OSError):  # a data folder that cannot be written: the next search cannot name these hits
        file = voxdex_home() / LAST_SEARCH
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(ids))


def _last_hits() -> dict[str, str]:
    """Clip ids by rank."""
    ids = read_json(voxdex_home() / LAST_SEARCH)
    return {rank: id for rank, id in ids.items() if isinstance(id, str)} if isinstance(ids, dict) else {}
