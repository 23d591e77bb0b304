"""Clips of one person, whatever the style: the answer to `--voice`."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.errors import in_one_line
from voxdex.encoders.speaker import mean_voice
from voxdex.indexer.speakers import SPEAKER, SpeakerSpace, cluster_voices
from voxdex.indexer.store.base import CLIP, KIND, ScoredPoint, Store, id_in
from voxdex.indexer.store.filters import And, Filter, HasId
from voxdex.search.embed import embed_recording
from voxdex.search.query import ClipId, QueryError, Sound
from voxdex.search.spoken import MAX_CLIPS

log = logging.getLogger("voxdex")


@dataclass(frozen=True)
class SameSpeaker:
    """The clips of an index that are nearest to a voice.

    cosines: with the voice, by clip id of the index, at most MAX_CLIPS. threshold: cosine from which on a clip is taken for the
    same person's.
    """

    cosines: dict[str, float]
    threshold: float

    @classmethod
    def of(cls, voices: Sequence[ClipId | Sound], index: Store, space: SpeakerSpace) -> "SameSpeaker":
        """Search the speakers of an index for the person who speaks in some clips and recordings.

        Raises:
            QueryError: a clip has no speaker vector, a recording cannot be read, or nobody speaks in it.
        """
        voice = mean_voice(np.stack([_voice_of(each, index, space) for each in voices]))
        found = space.store.query(voice, MAX_CLIPS)
        cosines: dict[str, float] = {}
        for turn in reversed(found):  # the nearest turn of a clip counts
            cosines[id_in(index.space, turn.payload)] = turn.score
        return cls(cosines, space.model.thresholds.clip)

    def filter(self, where: Filter) -> Filter:
        """Return a filter for the clips of the same person that another one lets through."""
        same = tuple(id for id, cosine in self.cosines.items() if cosine >= self.threshold)
        return And((where, HasId(same)))

    def candidates(self, where: Filter, index: Store) -> list[ScoredPoint]:
        """Return the clips that a filter lets through, with their vectors, those nearest to the voice first."""
        [any_vector, *_] = index.sample_vectors(1)
        clips = index.query(any_vector, MAX_CLIPS, And((where, HasId(tuple(self.cosines)))), vectors=True)
        return sorted((replace(clip, score=self.cosines[clip.id]) for clip in clips), key=lambda clip: -clip.score)


def _voice_of_clip(id: str, index: Store, speakers: Store) -> np.ndarray:
    """Return the speaker vector of who speaks longest in a clip, [dimension] of unit length."""
    contents = [clip.payload["content"] for clip in index.retrieve([id])]
    points = [point for content in contents for point in speakers.points({KIND: CLIP, "content": content})]
    turns = [turn for turn in points if id_in(index.space, turn.payload) == id]
    if not turns:
        raise QueryError(f"The clip {id} has no speaker vector: bring the index up to date with voxdex index.")
    seconds: Counter[str] = Counter()
    for turn in turns:
        seconds[turn.payload[SPEAKER]] += turn.payload["duration"]
    [(longest, _)] = seconds.most_common(1)
    mine = [turn for turn in turns if turn.payload[SPEAKER] == longest]
    vectors = np.array([turn.vector for turn in mine], np.float32)
    return mean_voice(vectors, [turn.payload["duration"] for turn in mine])


def _voice_of(voice: ClipId | Sound, index: Store, space: SpeakerSpace) -> np.ndarray:
    """Return the speaker vector of who speaks longest in a clip or a recording, [dimension] of unit length."""
    if isinstance(voice, ClipId):
        return _voice_of_clip(voice.id, index, space.store)
    try:
        recording = embed_recording(space.model, voice.path, voice.start, voice.end)
    except AudioError as error:
        raise QueryError(in_one_line(f"{voice.path} cannot be searched by: {error}.")) from error
    seconds = np.array([end - start for start, end in recording.spans])
    labels = cluster_voices(recording.vectors, threshold=space.model.thresholds.recording)
    by_speaker = np.bincount(labels, seconds)
    if len(by_speaker) > 1:
        log.warning(
            "%d people speak in %s, it seems: the one who speaks longest counts. Give a part for another, as in FILE:12-20.",
            len(by_speaker), voice.path,
        )  # fmt: skip
    mine = labels == by_speaker.argmax()
    return mean_voice(recording.vectors[mine], seconds[mine])
