"""Who speaks: a space of speakers beside an index, the speakers of its recordings, and their names.

The speakers of an index are an index of their own, see IndexLocation.speakers: a point for each turn of a clip with its
speaker vector and the number of its speaker, one for each recording, and one for each speaker with the mean of the vectors and
the name. The index itself only has the name of who speaks longest in each clip, as the attribute `speaker`. Deleting the
speakers leaves nothing of them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from voxdex.encoders.audio.track import SAMPLE_RATE
from voxdex.encoders.errors import VoxdexError, short
from voxdex.encoders.model_card import SpeakerThresholds
from voxdex.encoders.packages import missing_package
from voxdex.encoders.speaker import SpeakerModel, mean_voice, open_speaker_model
from voxdex.indexer.location import IndexLocation, model_reference
from voxdex.indexer.maintenance import copy_index
from voxdex.indexer.pipeline.decoder import RecordingDone, Segmentation, SegmentedClip
from voxdex.indexer.pipeline.embedder import BATCH_CLIPS
from voxdex.indexer.pipeline.local import Reader
from voxdex.indexer.report import SpeakerReport
from voxdex.indexer.scan import is_gone
from voxdex.indexer.store.base import CLIP, KIND, PORTION, RECORDING, Payload, Point, Store, id_in, identity
from voxdex.indexer.store.filters import IsEmpty, Not
from voxdex.indexer.turns import find_turns

FIELD, ATTRIBUTE = "attributes.speaker", "speaker"
"""Field of the index with the names of speakers, and its name among the attributes."""
SPEAKER = "speaker"
"""In a space of speakers: the payload key of a clip's speaker, and the kind of the points of speakers."""
UNKNOWN = "0"
"""Number of the speaker of turns that are given none yet."""
SURE_SECONDS = 1.0
"""Length of turns from which on they make groups; shorter ones belong to the group that they are nearest to."""
CLIP_KEYS = ("recording", "content", "start", "end", "duration", "track", "channel")
"""Payload keys of clips in both indexes."""
NO_SPEAKERS = "The index has no speakers: find out who speaks with voxdex index --speakers."
MOST_CLUSTERED = 6_000
"""Voices that are clustered at a time: their distances take 144 MB."""

Span = tuple[Any, ...]
"""Start, end, track and channel of a clip."""


class SpeakerError(VoxdexError):
    """Speakers that cannot be found, named, merged or split. The message is a sentence for the user."""


@dataclass(frozen=True)
class Speaker:
    """A speaker of an index.

    number: from 1. name: "" for none. seconds, clips, recordings: of their speech. voice: mean speaker vector, float32
    [dimension] of unit length.
    """

    number: int
    name: str
    seconds: float
    clips: int
    recordings: int
    voice: np.ndarray = field(repr=False)

    @property
    def label(self) -> str:
        """The name, or "speaker 12"."""
        return self.name or f"speaker {self.number}"

    def document(self) -> dict[str, Any]:
        """Return the fields but for the voice, as JSON values."""
        return {name: value for name, value in vars(self).items() if name != "voice"}


@dataclass(frozen=True)
class SpeakerSpace:
    """The open speakers of an index, and their model."""

    store: Store
    model: SpeakerModel


def update_speakers(
    index: Store,
    location: IndexLocation,
    model: SpeakerModel,
    *,
    vad: bool = True,
    on_clips: Callable[[int], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SpeakerReport:
    """Embed the voices of an index's clips that have none yet, and find out who speaks in them.

    In each recording the turns of the clips are grouped by their voices; the groups are then given to the speakers that the
    index has, or else clustered into new ones. Names, and what was merged or split, stay. An interrupted call is continued by
    the next one.

    Args:
        index: the index, open for writing.
        location: of its speakers; they are created if there are none.
        model: of speakers.
        vad: as the index was made.
        on_clips: called with the number of clips of each recording.
        should_stop: called at the same times; True ends the run with KeyboardInterrupt.

    Raises:
        StoreError: the engine fails.
        SpeakerError: the speakers are of another model, or a package is missing.
    """
    check_packages()
    space = model.card.space
    with (
        location.open() if location.exists() else location.create(space, model_reference(model), model.card.dimension) as store
    ):
        if store.space != space:
            raise SpeakerError(_other_model(store.space, space))
        gone, todo = _changes(index, store)
        for content in gone:
            store.delete({"content": content})
        embedded = 0
        for content, points in _embedded_recordings(index, model, todo, vad=vad):
            store.upsert(points)
            embedded += todo[content].clips
            on_clips(todo[content].clips)
            if should_stop():
                raise KeyboardInterrupt
        is_changed = bool(gone or embedded or next(store.points({SPEAKER: UNKNOWN}), None))
        before = {speaker.number for speaker in list_speakers(store)}
        if is_changed:
            _assign(store, model.thresholds)
            store.optimise()
        labelled = sum(payload["labelled"] for payload in store.payloads(RECORDING, ("labelled",)))
        if is_changed or index.count(where=Not(IsEmpty(FIELD))) != labelled:
            _label_clips(index, store)
        numbers = {speaker.number for speaker in list_speakers(store)}
        return SpeakerReport(embedded, len(numbers), len(numbers - before))


@contextmanager
def open_speakers(location: IndexLocation, device: str = "auto") -> Iterator[SpeakerSpace]:
    """Open the speakers of an index for reading. location: of the index.

    Raises:
        SpeakerError: it has none, or they are of another version of the model.
    """
    if not location.speakers.exists():
        raise SpeakerError(NO_SPEAKERS)
    with location.speakers.read(for_long=True) as store:
        model = open_speaker_model(store.model, device)
        if model.card.space != store.space:
            raise SpeakerError(_other_model(store.space, model.card.space))
        yield SpeakerSpace(store, model)


def list_speakers(store: Store) -> list[Speaker]:
    """Return the speakers of a space, those who speak longest first."""
    keys = ("number", "name", "seconds", "clips", "recordings")
    speakers = [
        Speaker(**{key: payload[key] for key in keys}, voice=np.array(payload["voice"], np.float32))
        for payload in store.payloads(SPEAKER, (*keys, "voice"))
    ]
    return sorted(speakers, key=lambda speaker: (-speaker.seconds, speaker.number))


def find_speaker(store: Store, name_or_number: str) -> Speaker:
    """Return the speaker of a name, or of a number as in "12" and "speaker 12".

    Raises:
        SpeakerError: there is none.
    """
    wanted = name_or_number.strip().lower().removeprefix("speaker ")
    for speaker in list_speakers(store):
        if wanted in (str(speaker.number), speaker.name.lower()):
            return speaker
    raise SpeakerError(f"The index has no speaker {short(name_or_number)}: `voxdex speakers list` names them.")


def name_speaker(index: Store, store: Store, who: str, name: str) -> Speaker:
    """Give a speaker a name; the same voice has it in later runs.

    Raises:
        SpeakerError: there is no such speaker, the name is empty or a number, or another speaker's.
    """
    speaker, name = find_speaker(store, who), " ".join(name.split())
    if not name or name.lower().removeprefix("speaker ").isdecimal():
        raise SpeakerError(f"{short(name)} is no name of a speaker: give one with letters.")
    others = [each for each in list_speakers(store) if each.number != speaker.number and each.name.lower() == name.lower()]
    if others:
        raise SpeakerError(
            f"Speaker {others[0].number} is {others[0].name} already. If they are the same person: voxdex speakers merge "
            f"{others[0].number} {speaker.number}."
        )
    _store_speakers(store, {speaker.number: name})
    _label_clips(index, store)
    return find_speaker(store, str(speaker.number))


def merge_speakers(index: Store, store: Store, who: Sequence[str]) -> Speaker:
    """Make one speaker of several, with the number of the first, and the first name that any of them has.

    Raises:
        SpeakerError: there is no such speaker, or fewer than two were given.
    """
    speakers = {speaker.number: speaker for speaker in (find_speaker(store, each) for each in who)}
    if len(speakers) < 2:
        raise SpeakerError("Give two speakers or more to merge.")
    first, *others = speakers
    for number in others:
        store.set_payload({KIND: CLIP, SPEAKER: str(number)}, {SPEAKER: str(first)})
    _store_speakers(store, {first: next((speaker.name for speaker in speakers.values() if speaker.name), "")})
    _label_clips(index, store)
    return find_speaker(store, str(first))


def split_speaker(index: Store, store: Store, who: str) -> list[Speaker]:
    """Make two speakers of one, by their voices; the one who speaks longer keeps the number and the name.

    Raises:
        SpeakerError: there is no such speaker, or only one clip of it.
    """
    speaker = find_speaker(store, who)
    clips = list(store.points({KIND: CLIP, SPEAKER: str(speaker.number)}))
    parts = _clustered(clips, count=2) if len(clips) > 1 else [clips]
    if len(parts) < 2:
        raise SpeakerError(f"{speaker.label} cannot be split: there is one clip.")
    lesser = min(parts, key=_seconds)
    number = 1 + max(each.number for each in list_speakers(store))
    store.upsert([_with(clip, {SPEAKER: str(number)}) for clip in lesser])
    _store_speakers(store)
    _label_clips(index, store)
    return [find_speaker(store, str(each)) for each in (speaker.number, number)]


def copy_speakers(source: IndexLocation, target: IndexLocation, *, mirror: bool = False) -> bool:
    """Copy the speakers of an index to a copy of it, unless that has other speakers; return whether they were copied.

    Args:
        source: of the index.
        target: of its copy.
        mirror: replace the speakers of the copy.
    """
    with source.speakers.read(for_long=True) as former:
        if target.speakers.exists():
            with target.speakers.open() as store:
                known = {speaker.number: speaker.name for speaker in list_speakers(store)}
            if known and not mirror and known != {speaker.number: speaker.name for speaker in list_speakers(former)}:
                return False
        copy_index(former, target.speakers, mirror=mirror)
        names = {speaker.number: speaker.name for speaker in list_speakers(former)}
    with target.open() as index, target.speakers.open() as store:
        _store_speakers(store, names)
        _label_clips(index, store)
    return True


def remove_speakers(index: Store, location: IndexLocation) -> None:
    """Delete all speaker vectors, speakers and names of an index."""
    if location.exists():
        location.delete()
    index.remove_fields([FIELD])
    index.delete_values(FIELD)
    index.flush()


# Embedding and grouping


class _Recording(NamedTuple):
    """A recording whose voices are to be embedded. clips: that the index has of it."""

    path: str
    clips: int


def _changes(index: Store, store: Store) -> tuple[set[str], dict[str, _Recording]]:
    """Return the contents whose voices are to be deleted, and the recordings whose voices are to be embedded, by content."""
    wanted = {payload["content"]: payload for payload in index.payloads(RECORDING, ("content", "files", "clips"))}
    stored = {payload["content"]: payload["clips"] for payload in store.payloads(RECORDING, ("content", "clips"))}
    gone = {content for content, clips in stored.items() if content not in wanted or (wanted[content]["clips"] or 0) != clips}
    todo = {}
    for content, payload in wanted.items():
        if payload["clips"] and (content not in stored or content in gone):
            files = (path for path, *_ in payload["files"] or ())
            if (path := next((path for path in files if not is_gone(path)), None)) is not None:
                todo[content] = _Recording(path, payload["clips"])
    return gone, todo


class _Turn(NamedTuple):
    """A turn of a clip. span: of the clip. start, end: seconds in the recording."""

    path: str
    span: Span
    start: float
    end: float
    samples: np.ndarray


def _embedded_recordings(
    index: Store, model: SpeakerModel, todo: Mapping[str, _Recording], *, vad: bool
) -> Iterator[tuple[str, list[Point]]]:
    """Yield the contents, and the turns of each in the clips that the index has, with their voices."""
    paths = [recording.path for recording in todo.values()]
    events = Reader((), Segmentation(model.card.max_seconds, vad)).read(paths)
    voices: dict[str, list[tuple[_Turn, np.ndarray]]] = defaultdict(list)
    while batch := list(islice(events, BATCH_CLIPS)):
        turns = [turn for event in batch if isinstance(event, SegmentedClip) for turn in _turns(event)]
        for turn, voice in zip(turns, model.embed_speech(turn.samples for turn in turns), strict=True):
            voices[turn.path].append((turn._replace(samples=turn.samples[:0]), voice))
        for event in batch:
            if isinstance(event, RecordingDone):
                found = voices.pop(event.path, [])
                if event.content in todo and todo[event.content].path == event.path:  # else it has changed since
                    yield event.content, _points(index, event.content, found, model)


def _turns(event: SegmentedClip) -> list[_Turn]:
    """Return the turns of a clip."""
    clip = event.clip
    span = clip.start, clip.end, clip.track, clip.channel
    return [
        _Turn(
            event.path,
            span,
            round(clip.start + begin / SAMPLE_RATE, 3),
            round(clip.start + end / SAMPLE_RATE, 3),
            clip.samples[begin:end],
        )
        for begin, end in find_turns(clip.samples)
    ]


def _points(index: Store, content: str, voices: Sequence[tuple[_Turn, np.ndarray]], model: SpeakerModel) -> list[Point]:
    """Return the points of the turns of a recording, each with the number of its group, and that of the recording."""
    clips = [clip.payload for clip in index.points({KIND: CLIP, "content": content})]
    by_span = {tuple(clip.get(key) for key in ("start", "end", "track", "channel")): clip for clip in clips}
    space, points = model.card.space, []
    for turn, voice in voices:
        if turn.span in by_span:
            payload = {key: by_span[turn.span].get(key) for key in CLIP_KEYS} | {"turn": [turn.start, turn.end]}
            payload |= {KIND: CLIP, "duration": round(turn.end - turn.start, 3), SPEAKER: UNKNOWN, "space": space}
            of_turn = payload | {"start": turn.start, "end": turn.end}
            points.append(Point(id_in(f"turn@{space}", of_turn), voice, payload))
    groups = _clustered(points, threshold=model.thresholds.recording)
    recording = {KIND: RECORDING, "content": content, "space": space, "clips": len(clips)}
    recording |= {"labelled": len({id_in(space, point.payload) for point in points})}
    return [
        *(_with(turn, {"group": str(number)}) for number, group in enumerate(groups) for turn in group),
        Point(identity(f"{content}@{space}"), None, recording),
    ]


def _clustered(clips: Sequence[Point], *, threshold: float = 0.0, count: int | None = None) -> list[list[Point]]:
    """Group clips by their voices: into `count` groups, or so that groups that are alike by a threshold are one.

    Voices of short clips are unsure, so those of longer ones make the groups, if there are any.
    """
    if len(clips) < 2:
        return [list(clips)] if clips else []
    sure = [clip for clip in clips if clip.payload["duration"] >= SURE_SECONDS]
    if len(sure) < (count or 1):
        sure = list(clips)
    voices, durations = _voices(sure), _durations(sure)
    labels = cluster_voices(voices, threshold=threshold, count=count)
    means = np.stack([mean_voice(voices[labels == label], durations[labels == label]) for label in range(max(labels) + 1)])
    groups: list[list[Point]] = [[] for _ in means]
    by_id = {clip.id: label for clip, label in zip(sure, labels.tolist(), strict=True)}
    for clip, voice in zip(clips, _voices(clips), strict=True):
        groups[by_id[clip.id] if clip.id in by_id else int((means @ voice).argmax())].append(clip)
    return groups


def cluster_voices(voices: np.ndarray, *, threshold: float = 0.0, count: int | None = None) -> np.ndarray:
    """Cluster speaker vectors by average linkage of their cosines.

    Args:
        voices: float32 [voices, dimension] of unit length.
        threshold: mean cosine from which on two clusters are one.
        count: number of clusters instead; there may be fewer.

    Returns:
        The number of the cluster of each voice, from 0, int [voices].
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(voices) < 2:
        return np.zeros(len(voices), int)
    if len(voices) > MOST_CLUSTERED:
        return _clustered_in_parts(voices, threshold)
    cosines = (voices @ voices.T)[np.triu_indices(len(voices), 1)]
    tree = linkage(np.clip(1 - cosines, 0, 2), "average")
    labels = fcluster(tree, count, "maxclust") if count else fcluster(tree, 1 - threshold, "distance")
    return np.unique(labels, return_inverse=True)[1]


def _clustered_in_parts(voices: np.ndarray, threshold: float) -> np.ndarray:
    """Cluster more voices than fit into memory at once: in parts, and then the means of their clusters."""
    labels = np.zeros(len(voices), int)
    means: list[np.ndarray] = []
    for start in range(0, len(voices), MOST_CLUSTERED):
        part = slice(start, start + MOST_CLUSTERED)
        found = cluster_voices(voices[part], threshold=threshold)
        labels[part] = found + len(means)
        means += [mean_voice(voices[part][found == number]) for number in range(found.max() + 1)]
    if len(means) > len(voices) // 2 or len(means) > MOST_CLUSTERED:
        return labels  # nearly all are different people
    return cluster_voices(np.stack(means), threshold=threshold)[labels]


# Speakers


def _assign(store: Store, thresholds: SpeakerThresholds) -> None:
    """Give the clips without a speaker to the speakers that their groups sound like, or to new ones."""
    groups: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for clip in store.points({KIND: CLIP, SPEAKER: UNKNOWN}):
        groups[clip.payload["content"], clip.payload["group"]].append(clip)
    speakers = list_speakers(store)
    keys = list(groups)
    voices = np.array([mean_voice(_voices(groups[key]), _durations(groups[key])) for key in keys], np.float32)
    numbers = np.zeros(len(keys), int)
    if speakers and keys:
        cosines = voices @ np.stack([speaker.voice for speaker in speakers]).T
        known = np.array([speaker.number for speaker in speakers])
        numbers = np.where(cosines.max(axis=1) >= thresholds.archive, known[cosines.argmax(axis=1)], 0)
    new = np.flatnonzero(numbers == 0)
    first = 1 + max((speaker.number for speaker in speakers), default=0)
    if len(new):
        labels = cluster_voices(voices[new], threshold=thresholds.archive)
        seconds = np.bincount(labels, [_seconds(groups[keys[group]]) for group in new])
        ranks = np.argsort(np.argsort(-seconds, kind="stable"), kind="stable")  # who speaks longest comes first
        numbers[new] = first + ranks[labels]
    for (content, group), number in zip(keys, numbers.tolist(), strict=True):
        store.set_payload({KIND: CLIP, "content": content, "group": group, SPEAKER: UNKNOWN}, {SPEAKER: str(number)})
    _store_speakers(store)


def _store_speakers(store: Store, names: Mapping[int, str] | None = None) -> None:
    """Store the speakers of all clips again, with their former names, or those given; speakers without clips go."""
    former = {speaker.number: speaker for speaker in list_speakers(store)}
    names = {number: speaker.name for number, speaker in former.items()} | dict(names or {})
    sums: dict[int, np.ndarray] = {}
    seconds: Counter[int] = Counter()
    clips: dict[int, set[str]] = defaultdict(set)
    contents: dict[int, set[str]] = defaultdict(set)
    for clip in store.points({KIND: CLIP}):
        number, duration = int(clip.payload[SPEAKER]), clip.payload["duration"]
        if number and clip.vector is not None:
            sums[number] = sums.get(number, np.float32(0)) + duration * clip.vector
            seconds[number] += duration
            clips[number].add(id_in(store.space, clip.payload))
            contents[number].add(clip.payload["content"])
    for number in former.keys() - sums.keys():
        store.delete({KIND: SPEAKER, "id": str(number)})
    points = []
    for number, total in sorted(sums.items()):
        payload = {KIND: SPEAKER, "id": str(number), "number": number, "name": names.get(number, ""), "space": store.space}
        payload |= {"seconds": round(seconds[number], 3), "clips": len(clips[number]), "recordings": len(contents[number])}
        payload |= {"voice": mean_voice(total[None]).tolist()}
        points.append(Point(identity(f"{SPEAKER}/{number}@{store.space}"), None, payload))
    store.upsert(points)
    store.flush()


def _label_clips(index: Store, store: Store) -> None:
    """Give the clips of the index the names of who speaks longest in them, where they have others or none."""
    labels = {str(speaker.number): speaker.label for speaker in list_speakers(store)}
    seconds: dict[str, Counter[str]] = defaultdict(Counter)
    for turn in store.payloads(CLIP, (*CLIP_KEYS, SPEAKER)):
        if turn[SPEAKER] in labels:
            seconds[id_in(index.space, turn)][labels[turn[SPEAKER]]] += turn["duration"]
    wanted = {id: by_label.most_common(1)[0][0] for id, by_label in seconds.items()}
    changes: dict[str, list[str]] = defaultdict(list)
    for clip in index.payloads(CLIP, (*CLIP_KEYS, "attributes")):
        label = wanted.get(id := id_in(index.space, clip))
        if label and clip["attributes"].get(ATTRIBUTE) != label:
            changes[label].append(id)
    index.ensure_fields({FIELD: "text"})
    for label, ids in changes.items():
        for start in range(0, len(ids), PORTION):
            index.update_payload(ids[start : start + PORTION], "attributes", {ATTRIBUTE: label})
    index.flush()


def _with(clip: Point, changes: Payload) -> Point:
    return replace(clip, payload=clip.payload | changes)


def _voices(clips: Sequence[Point]) -> np.ndarray:
    return np.array([clip.vector for clip in clips], np.float32)


def _durations(clips: Sequence[Point]) -> np.ndarray:
    return np.array([clip.payload["duration"] for clip in clips])


def _seconds(clips: Iterable[Point]) -> float:
    return sum(clip.payload["duration"] for clip in clips)


def _other_model(stored: str, space: str) -> str:
    return (
        f"The speakers of the index are of {stored}, not of {space}. Remove them (voxdex speakers remove), and find them again "
        "(voxdex index --speakers)."
    )


def check_packages() -> None:
    """Raise SpeakerError where the package that clusters is missing."""
    try:
        import scipy.cluster.hierarchy  # noqa: F401
    except ModuleNotFoundError as error:
        raise SpeakerError(f"{missing_package('Finding speakers', error.name, 'speakers')}.") from error
