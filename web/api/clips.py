"""Routes of clips: their description, audio and waveform, and playlists of them."""

import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from voxdex.encoders.audio.container import AudioError
from voxdex.search.editor_formats import TIMELINES, as_timeline
from voxdex.search.formats import as_csv, as_playlist, clip_name
from voxdex.search.query import ClipRecord
from voxdex.web.clip_audio import MAX_CONTEXT_SECONDS, MEDIA_TYPES, cut_out, is_playable, recording_of
from voxdex.web.schemas import PlaylistRequest
from voxdex.web.state import AppState

CACHED = {"Cache-Control": "private, max-age=86400"}
"""Header of answers that never change: browsers keep them for a day."""


def routes(state: AppState) -> APIRouter:
    """Return the routes of clips and playlists."""
    router = APIRouter()

    @router.get("/clips/{id}", response_model=ClipRecord)
    def clip(id: str) -> ClipRecord:
        """The stored description of a clip."""
        with state.index.opened() as index:
            return state.clip(index, id)

    @router.get("/clips/{id}/audio", response_class=FileResponse)
    def clip_audio(
        id: str,
        around: Annotated[float, Query(ge=0, le=MAX_CONTEXT_SECONDS, description="Seconds before and after the clip.")] = 0.0,
    ) -> Response:
        """The audio of a clip, cut out without loss where its codec allows; range requests work."""
        with state.index.opened() as index:
            file = state.clip_audio.file(state.clip(index, id), around)
        return FileResponse(file, media_type=MEDIA_TYPES[file.suffix], headers=CACHED)

    @router.get("/clips/{id}/peaks", response_model=list[float])
    def clip_peaks(id: str) -> Response:
        """The waveform of a clip: the peak level of each of its equal parts, 0 to 1."""
        with state.index.opened() as index:
            peaks = state.clip_audio.peaks(state.clip(index, id))
        return Response(json.dumps(peaks), media_type="application/json", headers=CACHED)

    @router.get("/clips/{id}/recording", response_class=FileResponse)
    def recording(id: str) -> Response:
        """The recording of a clip, unchanged. Status 415 if browsers do not play its format."""
        with state.index.opened() as index:
            clip = state.clip(index, id)
            path = recording_of(clip)
            state.check_unchanged(index, clip)
        if not isinstance(path, Path) or not is_playable(clip):
            raise HTTPException(415, f"Browsers do not play {clip.recording} as it is; they play its clips.")
        return FileResponse(path, media_type=MEDIA_TYPES[path.suffix.lower()])

    @router.post("/playlist.{form}", response_class=FileResponse)
    def playlist(form: str, request: PlaylistRequest) -> Response:
        """Download clips: playlist.zip has their audio, .m3u8 and .csv list them, the rest are timelines (.otio, .edl ...)."""
        return download(form, request.clips)

    @router.get("/playlist.{form}", response_class=FileResponse)
    def playlist_by_address(form: str, clips: Annotated[list[str], Query(min_length=1, max_length=1000)]) -> Response:
        """Download clips; the same as POST, with the clip ids in the address."""
        return download(form, clips)

    def download(form: str, ids: list[str]) -> Response:
        with state.index.opened() as index:
            clips = state.clips(index, ids)
        if form == "zip":
            return zip_of(clips)
        headers = {"Content-Disposition": f'attachment; filename="voxdex.{form}"'}
        if form == "m3u8":
            return Response(as_playlist(clips), media_type="audio/mpegurl", headers=headers)
        if form == "csv":
            return Response(as_csv(list(map(asdict, clips))), media_type="text/csv", headers=headers)
        if f".{form}" in TIMELINES:
            return Response(as_timeline(clips, f".{form}"), media_type="application/octet-stream", headers=headers)
        forms = ", ".join(("zip", "m3u8", "csv", *(suffix[1:] for suffix in TIMELINES)))
        raise HTTPException(404, f"There is no playlist.{form}: ask for one of {forms}.")

    return router


def zip_of(clips: Sequence[ClipRecord]) -> FileResponse:
    """Return the audio of clips as one .zip; audio does not shrink, so it is stored as it is.

    Clips that cannot be cut out are named in a text file of it.

    Raises:
        AudioError: none of them can.
    """
    failed: list[str] = []
    with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
        delete = BackgroundTask(Path(file.name).unlink, missing_ok=True)
        try:
            with zipfile.ZipFile(file, "w") as archive, tempfile.TemporaryDirectory(prefix="voxdex-zip-") as folder:
                for number, clip in enumerate(clips, 1):
                    try:
                        audio = cut_out(clip, Path(folder), str(number))
                    except AudioError as error:
                        failed.append(f"{clip_name(number, clip)}: {error}.")
                        if len(failed) == len(clips):
                            raise
                        continue
                    archive.write(audio, f"{clip_name(number, clip)}{audio.suffix}")
                    audio.unlink()
                if failed:
                    archive.writestr("left out.txt", "\n".join(failed) + "\n")
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return FileResponse(file.name, media_type="application/zip", filename="voxdex.zip", background=delete)
