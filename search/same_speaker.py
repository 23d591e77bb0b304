"""Clips of one person, whatever the style: the answer to `--voice`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.errors import in_one_line
from voxdex.encoders.speaker import mean_voice
from voxdex.indexer.speakers import SpeakerSpace, cluster_voices, id_in
from voxdex.indexer.store.base import ScoredPoint, Store
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
        return cls({id_in(index.space, clip.payload): clip.score for clip in found}, space.model.thresholds.clip)

    def filter(self, where: Filter) -> Filter:
        """Return a filter for the clips of the same person that another one lets through."""
        same = tuple(id for id, cosine in self.cosines.items() if cosine >= self.threshold)
        return And((where, HasId(same)))

    def candidates(self, where: Filter, index: Store) -> list[ScoredPoint]:
        """Return the clips that a filter lets through, with their vectors, those nearest to the voice first."""
        [any_vector, *_] = index.sample_vectors(1)
        clips = index.query(any_vector, MAX_CLIPS, And((where, HasId(tuple(self.cosines)))), vectors=True)
        return sorted((replace(clip, score=self.cosines[clip.id]) for clip in clips), key=lambda clip: -clip.score)


def _voice_of(voice: ClipId | Sound, index: Store, space: SpeakerSpace) -> np.ndarray:
    """Return the speaker vector of a clip, or of who speaks longest in a recording, [dimension] of unit length."""
    if isinstance(voice, ClipId):
        ids = [id_in(space.store.space, clip.payload) for clip in index.retrieve([voice.id])]
        vectors = [point.vector for point in space.store.retrieve(ids) if point.vector is not None]
        if not vectors:
            raise QueryError(f"The clip {voice.id} has no speaker vector: bring the index up to date with voxdex index.")
        return vectors[0]
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
