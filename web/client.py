"""The interface of search/ over HTTP, for programs on other machines or in other environments.

with Client("http://127.0.0.1:8765") as voices:
    for hit in voices.find(Query(ask("a whispering old man"))):
        print(hit.score, hit.recording, hit.start, hit.end)
"""

import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.audio.remote import on_disk
from voxdex.encoders.errors import VoxdexError
from voxdex.indexer.store.filter_parser import write_filter
from voxdex.indexer.store.filters import And, Filter
from voxdex.search.classify import ClipPrediction
from voxdex.search.query import NEGATIVE_WEIGHT, ClipId, Direction, Hit, Query, QueryTerm, Sound, SpokenMatch

Audio = np.ndarray | Path | str
"""float32 [samples], mono at 16 kHz in -1..1, or the path of a recording."""


class ServerError(VoxdexError):
    """A request that the server refused or did not answer. The message is a sentence for the user."""


class Client:
    """Asks a Voxdex server; see search for what it answers.

    Every method raises ServerError where the server refuses or cannot be reached.

    Args:
        address: of the server, as `voxdex serve` prints it.
        token: what it asks for, if anything.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, address: str, token: str | None = None, timeout: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ServerError(f"{address!r} is no address of a server, or the token is none ({error}).") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the server."""
        self._http.close()

    def find(self, query: Query) -> list[Hit]:
        """Answers a query, best first; sounds of it are sent."""
        parts: dict[str, list[str]] = {name: [] for name in ("captions", "not", "like", "unlike", "move")}
        for wish in filter(lambda wish: wish.weight, query.wishes):
            name, text = self._written(wish)
            parts[name].append(text)
        ranking = query.ranking
        page, rest = divmod(query.skip, query.limit)
        if rest:
            raise ValueError("Over HTTP, hits are skipped in whole pages: a multiple of the limit.")
        request = parts | {
            "says": f"/{query.says}/" if query.says else "",
            "where": _conditions(query.where),
            "liked": list(query.liked),
            "disliked": list(query.disliked),
            "group_by": ranking.group,
            "per_group": ranking.per_group,
            "fold": ranking.fold,
            "diverse": ranking.diversity,
            "min_score": ranking.least if np.isfinite(ranking.least) else None,
            "limit": query.limit,
            "page": page + 1,
        }
        found = self._ask("POST", "/api/search", json=request)["hits"]
        return [Hit(**hit | {"said": SpokenMatch(**hit["said"]) if hit["said"] else None}) for hit in found]

    def embed(self, captions: Sequence[str] = (), audios: Sequence[Audio] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of captions, and of recordings clip by clip: float32 [captions, dimension], [clips, dimension]."""
        found = self._ask("POST", "/api/embed", data={"captions": list(captions)}, files=_files(audios))
        return tuple(np.array(found[name], dtype=np.float32) for name in ("captions", "speech"))

    def classify(
        self, audio: Audio, attributes: Sequence[str] = (), labels: Sequence[str] = (), templates: Sequence[str] = ()
    ) -> list[ClipPrediction]:
        """What each clip of a recording sounds like; see search.question for attributes, labels and templates."""
        data = {"attributes": list(attributes), "labels": list(labels), "templates": list(templates)}
        found = self._ask("POST", "/api/classify", data=data, files=_files([audio]))["results"]
        return [
            ClipPrediction(
                clip.pop("recording"), clip.pop("start"), clip.pop("end"), {name: each["scores"] for name, each in clip.items()}
            )
            for clip in found
        ]

    def caption(self, audio: Audio, limit: int = 5) -> list[dict[str, Any]]:
        """The captions that fit a recording best, clip by clip; see search.caption_file."""
        return self._ask("POST", "/api/caption", data={"limit": limit}, files=_files([audio]))["results"]

    def rewards(self, audios: Sequence[Audio], captions: Sequence[str]) -> np.ndarray:
        """How well takes follow their captions, float32 [takes], -1 to 1; see search.Reward."""
        found = self._ask("POST", "/api/rerank", data={"captions": list(captions)}, files=_files(audios))
        return np.array(found["rewards"], dtype=np.float32)

    def status(self) -> dict[str, Any]:
        """What is in the index, and how far a run is that writes it."""
        return self._ask("GET", "/api/status")

    def _written(self, wish: QueryTerm) -> tuple[str, str]:
        """Which part of a request a wish is, and its text."""
        part, weight = wish.part, wish.weight
        if isinstance(part, Direction):
            away, towards = (part.away, part.towards) if weight > 0 else (part.towards, part.away)
            return "move", f"{away} -> {towards}::{abs(weight):g}"
        count = f"::{weight if weight > 0 else -weight / NEGATIVE_WEIGHT:g}"
        match part:
            case ClipId(id):
                return "like" if weight > 0 else "unlike", id + count
            case Sound():
                return "like" if weight > 0 else "unlike", self._sent(part) + count
        return "captions" if weight > 0 else "not", part + count

    def _sent(self, sound: Sound) -> str:
        name = self._ask("POST", "/api/sounds", files=[("file", _file(sound.path))])["name"]
        if sound.start is None and sound.end is None:
            return name
        return f"{name}:{'' if sound.start is None else sound.start}-{'' if sound.end is None else sound.end}"

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ServerError(f"The server at {self._http.base_url} does not answer as Voxdex does ({error}).") from error
        if answer.is_error:
            raise ServerError(found.get("error", f"The server refused with status {answer.status_code}."))
        return found


def _conditions(where: Filter) -> list[str]:
    return [write_filter(part) for part in (where.parts if isinstance(where, And) else (where,))]


def _files(audios: Sequence[Audio]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", _file(audio)) for audio in audios]


def _file(audio: Audio) -> tuple[str, bytes]:
    if not isinstance(audio, np.ndarray):
        try:
            with on_disk(audio) as file:
                return file.name, file.read_bytes()
        except OSError as error:
            raise ServerError(f"{audio} cannot be read ({error.strerror or error}).") from error
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((audio.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    return "sound.wav", out.getvalue()
