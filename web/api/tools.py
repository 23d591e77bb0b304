"""Routes that take recordings: uploads, embeddings, classification, captions and rewards."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, HTTPException, UploadFile

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.machine import usable_cores
from voxdex.encoders.zero_shot import AttributeTagger
from voxdex.search.caption import CaptionBank, caption_file
from voxdex.search.classify import classify_file, label_sets
from voxdex.search.embed import embed_recording
from voxdex.search.rerank import RankedTakes, Reward, TakeSet
from voxdex.search.scoring import caption_vectors
from voxdex.web.schemas import Embeddings, Rewards
from voxdex.web.state import AppState
from voxdex.web.uploads import Upload, duration

MAX_FILES = 256
"""Recordings in one request."""
Files = Annotated[list[UploadFile], File(description="Recordings, in any format that FFmpeg reads.", max_length=MAX_FILES)]


def routes(state: AppState) -> APIRouter:
    """Return the routes that take recordings."""
    decoders = asyncio.Semaphore(usable_cores())

    async def wait_for_decoder() -> AsyncIterator[None]:
        """Wait for a free decoder without blocking a thread."""
        async with decoders:
            yield

    router = APIRouter(dependencies=[Depends(wait_for_decoder)])

    @router.post("/sounds")
    def upload(file: UploadFile) -> Upload:
        """Store a sound for the fields `like` and `unlike` of searches. A span in seconds may follow its name: ":1.5-3"."""
        return state.uploads.keep(file.file)

    @router.post("/embed", response_model=Embeddings)
    def embed(captions: Annotated[list[str], Form(description="Captions.")] = [], files: Files = []) -> Embeddings:  # noqa: B006
        """Embed captions, and recordings clip by clip."""
        with state.index.opened() as index, received(files, state) as paths:
            recordings = [(path, embed_recording(index.model, path)) for path in paths]
            return Embeddings(
                space=index.model.card.space,
                captions=caption_vectors(captions, index.model).tolist(),
                speech=[vector.tolist() for _, recording in recordings for vector in recording.vectors],
                clips=[
                    f"{original_name(files, path)}#{start}-{end}"
                    for path, recording in recordings
                    for start, end in recording.spans
                ],
            )

    @router.post("/classify")
    def classify(
        *,
        files: Files,
        attributes: Annotated[list[str], Form(description="Attributes; none for all that the model hears.")] = [],  # noqa: B006
        labels: Annotated[list[str], Form(description="Labels to choose from; none for those of the attribute.")] = [],  # noqa: B006
        templates: Annotated[list[str], Form(description="Prompt templates with {} for the label.")] = [],  # noqa: B006
        min_probability: Annotated[float, Form(ge=0, le=1, description="Probability below which the label is `unsure`.")] = 0.0,
        anyway: Annotated[bool, Form(description="Accept attributes and labels that the model does not hear.")] = False,
    ) -> dict[str, Any]:
        """Predict labels of clips, for attributes or for labels of your own."""
        if len(labels) == 1:
            raise HTTPException(400, "One label leaves nothing to choose; give two or more.")
        with state.index.opened() as index, received(files, state) as paths:
            chosen = label_sets(index.model, attributes, labels, templates, anyway=anyway)
            clips = [clip for path in paths for clip in classify_file(index.model, path, chosen)]
            return {
                "results": [
                    clip.document(min_probability) | {"recording": original_name(files, clip.recording)} for clip in clips
                ]
            }

    @router.post("/caption")
    def caption(
        *,
        files: Files,
        captions: Annotated[str, Form(description="Captions to choose from, one a line; empty for those that ship.")] = "",
        limit: Annotated[int, Form(ge=1, le=1000, description="Number of captions for each clip.")] = 5,
        compose: Annotated[bool, Form(description="Also compose a caption from the predicted labels.")] = False,
    ) -> dict[str, Any]:
        """Find the captions that fit recordings best, clip by clip."""
        with state.index.opened() as index, received(files, state) as paths, tempfile.NamedTemporaryFile() as bank_file:
            Path(bank_file.name).write_text(captions, encoding="utf-8")
            bank = CaptionBank(index.model, Path(bank_file.name) if captions.strip() else None)
            tagger = AttributeTagger(index.model) if compose else None
            clips = [clip for path in paths for clip in caption_file(index.model, path, bank, limit, tagger)]
            return {"results": [clip | {"recording": original_name(files, clip["recording"])} for clip in clips]}

    @router.post("/rerank", response_model=Rewards)
    def rerank(
        files: Files,
        captions: Annotated[list[str], Form(description="One caption for all takes, or one for each.")] = [],  # noqa: B006
        reference: Annotated[UploadFile | None, File(description="A recording that the takes should sound like.")] = None,
        reference_weight: Annotated[float, Form(ge=0, le=1, description="Weight of the reference against the caption.")] = 0.5,
    ) -> Rewards:
        """Score takes by a caption, a reference or both, for best of N and as the reward of a training loop."""
        wanted = captions * len(files) if len(captions) == 1 else captions or [""] * len(files)
        if len(wanted) != len(files):
            raise HTTPException(400, f"There are {len(files)} takes but {len(wanted)} captions: give one, or one for each.")
        sent = [*files, *([reference] if reference else [])]
        with state.index.opened() as index, received(sent, state) as paths:
            takes, like = paths[: len(files)], paths[-1] if reference else None
            rewards = Reward(index.model, reference_weight).many(takes, wanted, [like] * len(takes)).tolist()
        names = [Path(original_name(sent, take)) for take in takes]
        like_name = Path(original_name(sent, like)) if like else None
        results = []
        for text in dict.fromkeys(wanted):
            scored = [(name, reward) for name, reward, caption in zip(names, rewards, wanted, strict=True) if caption == text]
            scored.sort(key=lambda pair: -pair[1])
            take_set = TakeSet("best", text, tuple(name for name, _ in scored), like_name)
            results.append(RankedTakes(take_set, scored, []).document())
        return Rewards(rewards=rewards, results=results)

    return router


@contextmanager
def received(files: Sequence[UploadFile], state: AppState) -> Iterator[list[Path]]:
    """Store uploaded files in order, named by their number, until the context ends.

    Raises:
        HTTPException: a file cannot be read, or is too long; the message has its original name.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, upload in enumerate(files):
            path = Path(folder) / str(number)
            with path.open("wb") as file:
                shutil.copyfileobj(upload.file, file)
            try:
                duration(path, state.settings.max_audio_seconds)
            except AudioError as error:
                raise HTTPException(400, f"{original_name(files, path)} cannot be used: {error}.") from error
            paths.append(path)
        yield paths


def original_name(files: Sequence[UploadFile], path: Path | str) -> str:
    """Return the name under which a file of received() was uploaded; "sound" for a file without a name."""
    return Path(files[int(Path(path).name)].filename or "").name or "sound"
