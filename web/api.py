"""The HTTP API: JSON of the same shape as the commands print with --json."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, File, Form, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse, Response

from encoders import AudioError
from encoders.machine import usable_cores
from encoders.zero_shot import AttributeTagger
from search import CaptionBank, FoundClip, Reward, caption_file, caption_vector, classify_file, questions
from search.finding import count_fields
from search.rendering import as_csv, as_playlist, clip_name
from search.reranking import Prompt, Ranked
from search.speech import embed_recording
from web.listening import MOST_AROUND, TYPES, is_played, recording_of
from web.packing import packed
from web.schemas import Embeddings, PlaylistRequest, Refusal, Rewards, SearchAnswer, SearchRequest
from web.services import Services, known_models
from web.sounds import Kept, length_of

MOST_FILES = 256
Files = Annotated[list[UploadFile], File(description="Recordings, in any format that FFmpeg reads.", max_length=MOST_FILES)]


def routes(services: Services) -> APIRouter:
    """All of /api."""
    api = APIRouter(prefix="/api", tags=["api"], responses={400: {"model": Refusal}, 503: {"model": Refusal}})
    opened = services.library.opened
    decoders = asyncio.Semaphore(usable_cores())

    async def in_turn() -> AsyncIterator[None]:
        """Waits for a free decoder without holding one of the threads that answer everything else."""
        async with decoders:
            yield

    takes_sounds = {"dependencies": [Depends(in_turn)]}

    def answer(request: SearchRequest) -> dict[str, Any]:
        with opened() as index:
            asked, hits = services.search(index, request)
            where = asked.filter()
            counted = count_fields(request.facets, hits, index.store, where)
            return asked.document(hits, counted)

    @api.post("/search", response_model=SearchAnswer)
    def search(request: SearchRequest) -> dict[str, Any]:
        """Find clips by captions, by example, or both."""
        return answer(request)

    @api.get("/search", response_model=SearchAnswer)
    def search_by_address(request: Annotated[SearchRequest, Query()]) -> dict[str, Any]:
        """The same, all in the address."""
        return answer(request)

    @api.post("/sounds", **takes_sounds)
    def send_sound(file: UploadFile) -> Kept:
        """Keeps a sound, so that searches can name it under `like` and `unlike`; ":1.5-3" behind its name takes a part."""
        return services.sounds.keep(file.file)

    @api.post("/embed", response_model=Embeddings, **takes_sounds)
    def embed(captions: Annotated[list[str], Form()] = [], files: Files = []) -> Embeddings:  # noqa: B006
        """Embeddings of captions, and of recordings clip by clip."""
        with opened() as index, received(files, services) as paths:
            recordings = [(path, embed_recording(index.model, path)) for path in paths]
            return Embeddings(
                space=index.model.card.space,
                captions=[caption_vector(text, index.model).tolist() for text in captions],
                speech=[vector.tolist() for _, recording in recordings for vector in recording.vectors],
                clips=[
                    f"{sent_name(files, path)}#{start}-{end}"
                    for path, recording in recordings
                    for start, end in recording.spans
                ],
            )

    @api.post("/classify", **takes_sounds)
    def classify(
        files: Files,
        attributes: Annotated[list[str], Form(description="None asks all that the model hears.")] = [],  # noqa: B006
        labels: Annotated[list[str], Form(description="Instead of the attribute's own.")] = [],  # noqa: B006
        templates: Annotated[list[str], Form(description="Prompts with {} for the label.")] = [],  # noqa: B006
        unsure_below: Annotated[float, Form(ge=0, le=1)] = 0.0,
    ) -> dict[str, Any]:
        """What a voice sounds like, attribute by attribute, or in labels of your own."""
        if len(labels) == 1:
            raise HTTPException(400, "One label leaves nothing to choose; give two or more.")
        with opened() as index, received(files, services) as paths:
            asked = questions(index.model, attributes, labels, templates)
            heard = [clip for path in paths for clip in classify_file(index.model, path, asked)]
            return {
                "results": [clip.document(unsure_below) | {"recording": sent_name(files, clip.recording)} for clip in heard]
            }

    @api.post("/caption", **takes_sounds)
    def caption(
        files: Files,
        captions: Annotated[str, Form(description="To choose from, one a line; none takes a bank that ships.")] = "",
        limit: Annotated[int, Form(ge=1, le=1000)] = 5,
        compose: Annotated[bool, Form()] = False,
    ) -> dict[str, Any]:
        """The captions that fit recordings best, clip by clip."""
        with opened() as index, received(files, services) as paths, tempfile.NamedTemporaryFile("w", encoding="utf-8") as own:
            own.write(captions)
            own.flush()
            bank = CaptionBank(index.model, Path(own.name) if captions.strip() else None)
            tag = AttributeTagger(index.model) if compose else None
            found = [clip for path in paths for clip in caption_file(index.model, path, bank, limit, tag)]
            return {"results": [clip | {"recording": sent_name(files, clip["recording"])} for clip in found]}

    @api.post("/rerank", response_model=Rewards, **takes_sounds)
    def rerank(
        files: Files,
        captions: Annotated[list[str], Form(description="One for all takes, or one for each.")] = [],  # noqa: B006
        reference: Annotated[UploadFile | None, File(description="A recording that they should sound like.")] = None,
        likeness: Annotated[float, Form(ge=0, le=1, description="How much that counts over the caption.")] = 0.5,
    ) -> Rewards:
        """How well takes follow a caption, a reference or both: best of N, and the reward of a training loop."""
        wanted = captions * len(files) if len(captions) == 1 else captions or [""] * len(files)
        if len(wanted) != len(files):
            raise HTTPException(400, f"There are {len(files)} takes but {len(wanted)} captions: give one, or one for each.")
        sent = [*files, *([reference] if reference else [])]
        with opened() as index, received(sent, services) as paths:
            takes, like = paths[: len(files)], paths[-1] if reference else None
            rewards = Reward(index.model, likeness).many(takes, wanted, [like] * len(takes)).tolist()
        results = []
        for text in dict.fromkeys(wanted):
            rewarded = zip(takes, rewards, wanted, strict=True)
            ranked = [(Path(sent_name(sent, take)), reward) for take, reward, asked in rewarded if asked == text]
            ranked.sort(key=lambda pair: -pair[1])
            reference_name = Path(sent_name(sent, like)) if like else None
            prompt = Prompt("best", text, tuple(take for take, _ in ranked), reference_name)
            results.append(Ranked(prompt, ranked, []).document())
        return Rewards(rewards=rewards, results=results)

    @api.get("/clips/{id}", response_model=FoundClip)
    def clip(id: str) -> FoundClip:
        """What the index knows of a clip."""
        with opened() as index:
            return services.clip(index, id)

    @api.get("/clips/{id}/audio", response_class=FileResponse)
    def clip_audio(
        id: str, around: Annotated[float, Query(ge=0, le=MOST_AROUND, description="Seconds before and after.")] = 0.0
    ) -> Response:
        """A clip's sound, cut out without loss where that can be; range requests work."""
        with opened() as index:
            file = services.clips.sound(services.clip(index, id), around)
        return FileResponse(file, media_type=TYPES[file.suffix], headers={"Cache-Control": "private, max-age=86400"})

    @api.get("/clips/{id}/peaks")
    def clip_peaks(id: str) -> Response:
        """A clip's waveform: the loudest samples of equal parts of it, 0 to 1."""
        with opened() as index:
            peaks = services.clips.peaks(services.clip(index, id))
        return Response(json.dumps(peaks), media_type="application/json", headers={"Cache-Control": "private, max-age=86400"})

    @api.get("/clips/{id}/recording", response_class=FileResponse)
    def whole_recording(id: str) -> Response:
        """The recording that a clip is from, as it lies on disk, where browsers play its format."""
        with opened() as index:
            clip = services.clip(index, id)
        path = recording_of(clip)
        if not is_played(clip):
            raise HTTPException(415, f"Browsers do not play {clip.recording} as it is; they play its clips.")
        return FileResponse(path, media_type=TYPES[path.suffix.lower()])

    @api.post("/playlist.{form}")
    def playlist(form: str, request: PlaylistRequest) -> Response:
        """Clips to take away: playlist.zip (their sounds), playlist.m3u8 or playlist.csv."""
        return taken(form, request.clips)

    @api.get("/playlist.{form}")
    def playlist_by_address(form: str, clips: Annotated[list[str], Query(min_length=1, max_length=1000)]) -> Response:
        """The same, all in the address."""
        return taken(form, clips)

    def taken(form: str, ids: list[str]) -> Response:
        with opened() as index:
            chosen = services.chosen(index, ids)
        if form == "zip":
            return packed([(clip_name(number, clip), services.clips.sound(clip)) for number, clip in enumerate(chosen, 1)])
        if form not in ("m3u8", "csv"):
            raise HTTPException(404, f"There is no playlist.{form}: ask for zip, m3u8 or csv.")
        headers = {"Content-Disposition": f'attachment; filename="voxdex.{form}"'}
        if form == "m3u8":
            return Response(as_playlist(chosen), media_type="audio/mpegurl", headers=headers)
        return Response(as_csv(list(map(asdict, chosen))), media_type="text/csv", headers=headers)

    @api.get("/map")
    def map_of_all() -> dict[str, Any]:
        """Every clip in two dimensions: x and y from 0 to 65535, and which label of each attribute it has."""
        drawn = services.atlas.map()
        if drawn is None:
            return {"ready": False, "failure": services.atlas.failure}
        x, y = (drawn.places.T * 65535).round().astype(np.uint16).tolist()
        attributes = {name: {"labels": of.labels, "codes": of.codes.tolist()} for name, of in drawn.attributes.items()}
        return {"ready": True, "how": drawn.how, "x": x, "y": y, "attributes": attributes}

    @api.get("/map/{number}", response_model=FoundClip)
    def clip_on_map(number: int) -> FoundClip:
        """A clip of the map, by its place in the lists."""
        drawn = services.atlas.map()
        if drawn is None or not 0 <= number < len(drawn.ids):
            raise HTTPException(404, "The map has no such clip.")
        with opened() as index:
            return services.clip(index, drawn.ids[number])

    @api.get("/status")
    def status() -> dict[str, Any]:
        """What is in the index, what could not be read, the models there are, and how far a run is that writes it."""
        progress = services.library.progress()
        running = {"running": asdict(progress) if progress else None}
        models = [asdict(card) | {"name": name} for name, card in known_models().items()]
        with opened() as index:
            return services.status(index) | running | {"models": models}

    return api


@contextmanager
def received(files: Sequence[UploadFile], services: Services) -> Iterator[list[Path]]:
    """Sent files as files on disk, in order, under names of our own; gone afterwards. sent_name() tells what each was called.

    Raises:
        HTTPException: names one that cannot be read, or is too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, sent in enumerate(files):
            path = Path(folder) / str(number)
            with path.open("wb") as file:
                shutil.copyfileobj(sent.file, file)
            try:
                length_of(path, services.settings.longest_seconds)
            except AudioError as error:
                raise HTTPException(400, f"{sent_name(files, path)} cannot be used: {error}.") from error
            paths.append(path)
        yield paths


def sent_name(files: Sequence[UploadFile], path: Path | str) -> str:
    """The name under which a file was sent that received() wrote; "sound" for one without."""
    return Path(files[int(Path(path).name)].filename or "").name or "sound"
