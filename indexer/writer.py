"""The writer of an index: stores each recording once all of its clips are embedded, as the catalog decides."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from voxdex.encoders.audio.acoustics import AcousticMeasures
from voxdex.encoders.audio.timecode import timecode_at
from voxdex.encoders.errors import Failure
from voxdex.encoders.phonetic.ctc import pack_posteriorgram
from voxdex.indexer.catalog import BROKEN, TRANSCRIPTS, Catalog
from voxdex.indexer.metadata import Metadata
from voxdex.indexer.pipeline.decoder import DecodeSummary, RecordingDone
from voxdex.indexer.pipeline.embedder import EmbeddedClip, EmbeddingFailure, EmbedEvent
from voxdex.indexer.report import RunStatistics
from voxdex.indexer.scan import FileState
from voxdex.indexer.store.base import (
    CLIP,
    KIND,
    PHONETIC,
    POSTERIORGRAM,
    RECORDING,
    Payload,
    Point,
    PointError,
    Store,
    id_in,
    identity,
)
from voxdex.indexer.store.filters import key_in
from voxdex.indexer.store.patterns import COPIES
from voxdex.indexer.transcripts import TRANSCRIPT, TRANSCRIPT_TEXT, Transcript, read_transcript

NO_TRANSCRIPT = Transcript(())
NO_LINES = NO_TRANSCRIPT.payload(0.0, 0.0)
log = logging.getLogger("voxdex")


class Writer:
    """Stores recordings, and the catalog's changes.

    Args:
        store: the index.
        catalog: of the store.
        metadata: the user's metadata, None for none; what is stored of other recordings is kept.
        transcripts: states of the transcripts beside the recordings of the run.
        statistics: of the run.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        metadata: Metadata | None,
        transcripts: Mapping[str, list[FileState]],
        statistics: RunStatistics,
    ) -> None:
        self._store, self._catalog, self._metadata, self._statistics = store, catalog, metadata, statistics
        self._transcripts = transcripts
        self._pending: dict[str, list[EmbeddedClip]] = defaultdict(list)
        self._embedding_failures: dict[str, str] = {}
        self._unstored: dict[str, DecodeSummary] = {}
        self._has_clip_fields = False
        if metadata:
            self._take_kinds(metadata)

    def write(self, batch: Iterable[EmbedEvent]) -> None:
        """Take the next events; the events of a recording end with its RecordingDone."""
        for event in batch:
            if isinstance(event, EmbeddedClip):
                self._pending[event.path].append(event)
                self._statistics.embedded_seconds += event.end - event.start
                self._statistics.stages.embed += event.work_seconds
                self._statistics.add_position(event.path, event.end)
            elif isinstance(event, EmbeddingFailure):
                self._embedding_failures[event.path] = event.reason
            else:
                self._statistics.add_decoded(event.path, event.file.size, event.summary.audio_seconds if event.summary else 0.0)
                with self._statistics.storing():
                    self._finish(event, self._pending.pop(event.path, []), self._embedding_failures.pop(event.path, ""))
        with self._statistics.storing():
            self.store_changes()

    def keep(self, path: str) -> None:
        """Count a recording that is indexed already, and update its metadata and its transcripts."""
        if self._metadata:
            self._catalog.set_metadata(path, self._metadata.of(path) or {})
        if self._catalog.transcripts_of(path) != (files := self._transcripts.get(path, [])):
            transcript = _read(files)
            self._catalog.set_transcripts(path, len(transcript.lines), files)
            self._statistics.transcripts += bool(transcript.lines)
        self._statistics.add_known(path, self._catalog.failure_of(path))

    def store_changes(self) -> None:
        """Store the changes of the catalog; those of clips first, so that an interrupted run is made up for by the next."""
        for content, files in self._catalog.take_retranscribed():
            self._store_lines(content, _read(files))
        todo = self._catalog.take_changes()
        if any(changes.get(COPIES) for _, changes in todo):
            self._store.ensure_fields({COPIES: "text"})
        has_copies = bool(todo) and COPIES in self._store.schema()
        for where, changes in todo:
            self._store.set_payload(where, {key: value for key, value in changes.items() if key != COPIES or has_copies})

    def _store_lines(self, content: str, transcript: Transcript) -> None:
        """Give the clips of a content the lines of a transcript."""
        if transcript.lines:
            self._store.ensure_fields({TRANSCRIPT_TEXT: "words"})
        for clip in list(self._store.points({KIND: CLIP, "content": content})):
            lines = transcript.payload(clip.payload["start"], clip.payload["end"])
            if lines != clip.payload.get(TRANSCRIPT, NO_LINES):
                self._store.update_payload([clip.id], TRANSCRIPT, lines)

    def drop_empty_fields(self) -> None:
        """Remove the fields of metadata that no recording has any more."""
        if self._metadata:
            held = {key_in("metadata", column) for column in self._catalog.columns}
            self._store.remove_fields([key for key in self._store.schema() if key.startswith("metadata.") and key not in held])

    def _take_kinds(self, metadata: Metadata) -> None:
        """Give the fields of the metadata the kinds of its columns."""
        kinds = {key_in("metadata", name): kind for name, kind in metadata.kinds.items()}
        schema = self._store.schema()
        self._store.remove_fields([key for key, kind in kinds.items() if schema.get(key, kind) != kind])
        self._store.ensure_fields(kinds)

    def delete_broken(self) -> None:
        """Delete the contents that lack clips, or have too many: those that still have a file are embedded again."""
        for content in sorted(self._catalog.broken):
            self._store.delete({"content": content})
        if self._catalog.broken:
            log.warning("%d recordings had lost some of their clips, and are embedded again.", len(self._catalog.broken))

    def delete_orphans(self) -> None:
        """Delete the contents that no file has any more."""
        for content in self._catalog.orphans:
            self._store.delete({"content": content})
            self._catalog.forget(content)

    def _finish(self, done: RecordingDone, clips: list[EmbeddedClip], embedding_failure: str) -> None:
        """Store a recording whose events are complete."""
        summary = done.summary or self._unstored.get(done.content)
        if self._catalog.holds(done.content):
            failure = self._catalog.failure_of_content(done.content)
            if failure and self._catalog.has_clips(done.path):  # those of its former content are kept
                self._statistics.failed.append(Failure(done.path, failure))
            else:
                self._catalog.add_path(done.file, done.content)
                self.keep(done.path)
        elif summary is None:
            raise AssertionError(f"{done.path} was not decoded, and its content {done.content} is not indexed")
        elif done.summary is None:
            self._fail(done, summary)
        elif embedding_failure and not summary.failure:
            self._fail(done, replace(summary, failure=embedding_failure, is_passing=True))
        else:
            self._statistics.stages.decode += summary.work_seconds
            self._statistics.decoder_bytes = max(self._statistics.decoder_bytes, summary.peak_bytes or 0)
            self._store_decoded(done, summary, clips)

    def _store_decoded(self, done: RecordingDone, summary: DecodeSummary, clips: list[EmbeddedClip]) -> None:
        """Store a recording that was decoded in this run."""
        if summary.damage:
            self._statistics.damaged.append(Failure(done.path, summary.damage))
        if summary.failure:
            return self._fail(done, summary)
        transcript = _read(self._transcripts.get(done.path, []))
        self._ensure_fields(summary, clips, transcript)
        recording = self._recording_point(done, summary, clips, transcript)
        try:
            if self._catalog.has_content(done.content):  # its former clips may have other times
                self._store.delete({"content": done.content})
            self._store.upsert([*(self._clip_point(done, summary, clip, transcript) for clip in clips), recording])
        except PointError as error:
            return self._fail(done, replace(summary, failure=str(error), is_passing=True))
        self._catalog.put(done.file, done.content, recording.payload)
        self._statistics.transcripts += bool(transcript.lines)
        self._statistics.add_indexed(summary, [clip.end - clip.start for clip in clips])
        return None

    def _fail(self, done: RecordingDone, summary: DecodeSummary) -> None:
        """Count a failed recording; store that, unless it may pass or the file still has the clips of its former content."""
        self._statistics.failed.append(Failure(done.path, summary.failure))
        self._unstored[done.content] = summary
        if summary.is_passing:
            return
        if self._catalog.has_clips(done.path):
            return self._catalog.add_broken(done.file, summary.failure)
        recording = self._recording_point(done, summary, [], NO_TRANSCRIPT)
        with suppress(PointError):
            self._store.upsert([recording])
            self._catalog.put(done.file, done.content, recording.payload)

    def _ensure_fields(self, summary: DecodeSummary, clips: Sequence[EmbeddedClip], transcript: Transcript) -> None:
        """Make the fields of a recording available to filters."""
        if transcript.lines:
            self._store.ensure_fields({TRANSCRIPT_TEXT: "words"})
        if summary.origin:
            self._store.ensure_fields({key_in("tags", name): "text" for name in summary.origin.tags})
        if any(clip.track or clip.channel for clip in clips):
            self._store.ensure_fields({"track": "number", "channel": "number"})
        if clips and not self._has_clip_fields:
            names = clips[0].predictions
            measured = (f"measured.{field.name}" for field in fields(AcousticMeasures))
            fields_by_use = {"recording": "text"} | dict.fromkeys(("start", "end", "duration"), "number")
            fields_by_use |= {f"attributes.{name}": "text" for name in names}
            fields_by_use |= dict.fromkeys((*measured, *(f"probabilities.{name}" for name in names)), "number")
            self._store.ensure_fields(fields_by_use)  # a server may allow only the first of them
            self._has_clip_fields = True

    def _clip_point(self, done: RecordingDone, summary: DecodeSummary, clip: EmbeddedClip, transcript: Transcript) -> Point:
        payload = self._common_payload(done, summary, CLIP) | {
            "start": clip.start,
            "end": clip.end,
            "duration": round(clip.end - clip.start, 3),
            "attributes": {name: prediction.label for name, prediction in clip.predictions.items()},
            "probabilities": {name: prediction.probability for name, prediction in clip.predictions.items()},
            "measured": {name: value for name, value in vars(clip.measures).items() if value is not None},
        }
        payload |= {name: number for name in ("track", "channel") if (number := getattr(clip, name)) is not None}
        if transcript.lines:
            payload[TRANSCRIPT] = transcript.payload(clip.start, clip.end)
        if summary.origin and summary.origin.timecode:
            start, rate = summary.origin.timecode, summary.origin.timecode_rate
            payload |= {"timecode": timecode_at(clip.start, start, rate), "timecode_rate": rate}
        id = id_in(self._store.space, payload)
        if clip.phonetic is None:
            return Point(id, clip.vector, payload)
        return Point(
            id, clip.vector, payload | {POSTERIORGRAM: pack_posteriorgram(clip.phonetic.log_probs)}, clip.phonetic.vector
        )

    def _recording_point(
        self, done: RecordingDone, summary: DecodeSummary, clips: Sequence[EmbeddedClip], transcript: Transcript
    ) -> Point:
        """Return the point of a recording, from which the catalog is read."""
        origin, files = vars(summary.origin) if summary.origin else {}, self._transcripts.get(done.path, [])
        payload = self._common_payload(done, summary, RECORDING) | {
            "files": [[*done.file]],
            "file_metadata": {done.path: self._metadata_of(done.path)},
            "audio_seconds": round(summary.audio_seconds, 3),
            "speech_seconds": round(sum(clip.end - clip.start for clip in clips), 3),
            "non_speech_seconds": round(summary.non_speech_seconds, 3),
            "clips": len(clips),
            "repeated_clips": summary.repeated_clips,
            "unused_tracks": summary.unused_tracks,
            "origin": {key: value for key, value in origin.items() if key != "tags"},
            "failure": summary.failure,
            "damage": summary.damage or "",
            BROKEN: {},
            TRANSCRIPTS: {done.path: [len(transcript.lines), *([*file] for file in files)]} if files else {},
            PHONETIC: self._store.phonetic.space if self._store.phonetic else "",
        }
        return Point(identity(f"{done.content}@{self._store.space}"), None, payload)

    def _common_payload(self, done: RecordingDone, summary: DecodeSummary, kind: str) -> Payload:
        return {
            KIND: kind,
            "recording": done.path,
            "metadata": self._metadata_of(done.path),
            "tags": summary.origin.tags if summary.origin else {},
            "content": done.content,
            "space": self._store.space,
        }

    def _metadata_of(self, path: str) -> dict[str, Any]:
        return (self._metadata.of(path) or {}) if self._metadata else self._catalog.metadata_of(path)


def _read(files: Sequence[FileState]) -> Transcript:
    return read_transcript([file.path for file in files])
