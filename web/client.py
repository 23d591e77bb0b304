"""Python client of the HTTP API, for programs on other machines or in other environments.

with Client("http://127.0.0.1:8765") as voices:
    for hit in voices.search(QuerySpec(captions=["a whispering old man"])):
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
from voxdex.encoders.audio.remote import Location, as_location, on_disk
from voxdex.encoders.errors import VoxdexError
from voxdex.search.classify import ClipPrediction
from voxdex.search.query import Hit, QuerySpec, SpokenMatch
from voxdex.search.query_parser import split_span, split_weight
from voxdex.web.uploads import PREFIX, is_clip_id

Audio = np.ndarray | Path | str
"""float32 [samples], mono at 16 kHz in -1..1, or the path of a recording."""


class ServerError(VoxdexError):
    """A request that the server refused or did not answer. The message is a sentence for the user."""


class Client:
    """A connection to a Voxdex server.

    Every method raises ServerError if the server refuses or cannot be reached.

    Args:
        address: the URL that `voxdex serve` prints.
        token: the server's token, if it needs one.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, address: str, token: str | None = None, timeout: float = 60.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ServerError(f"{address!r} is no address of a server, or the token is invalid ({error}).") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def search(self, query: QuerySpec) -> list[Hit]:
        """Answer a query, best first. Recordings in `like` and `unlike` are uploaded; clip ids are sent as they are."""
        sounds = {name: list(map(self._uploaded, getattr(query, name))) for name in ("like", "unlike", "voice")}
        body = query.document() | sounds
        hits = self._ask("POST", "/api/search", json=body)["hits"]
        return [Hit(**hit | {"spoken": SpokenMatch(**hit["spoken"]) if hit["spoken"] else None}) for hit in hits]

    def embed(self, captions: Sequence[str] = (), audios: Sequence[Audio] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Embed captions, and recordings clip by clip: unit vectors, float32 [captions, dimension] and [clips, dimension]."""
        answer = self._ask("POST", "/api/embed", data={"captions": list(captions)}, files=_files(audios))
        return np.array(answer["captions"], dtype=np.float32), np.array(answer["speech"], dtype=np.float32)

    def classify(
        self, audio: Audio, attributes: Sequence[str] = (), labels: Sequence[str] = (), templates: Sequence[str] = ()
    ) -> list[ClipPrediction]:
        """Classify each clip of a recording; see search.classify.label_set for attributes, labels and templates."""
        data = {"attributes": list(attributes), "labels": list(labels), "templates": list(templates)}
        results = self._ask("POST", "/api/classify", data=data, files=_files([audio]))["results"]
        return [
            ClipPrediction(
                recording=clip.pop("recording"),
                start=clip.pop("start"),
                end=clip.pop("end"),
                probabilities={name: prediction["scores"] for name, prediction in clip.items()},
            )
            for clip in results
        ]

    def caption(self, audio: Audio, limit: int = 5) -> list[dict[str, Any]]:
        """Find the captions that fit a recording best, clip by clip; see search.caption.caption_file."""
        return self._ask("POST", "/api/caption", data={"limit": limit}, files=_files([audio]))["results"]

    def rewards(self, audios: Sequence[Audio], captions: Sequence[str]) -> np.ndarray:
        """Score takes by their captions, float32 [takes], -1 to 1; see search.rerank.Reward."""
        answer = self._ask("POST", "/api/rerank", data={"captions": list(captions)}, files=_files(audios))
        return np.array(answer["rewards"], dtype=np.float32)

    def teach(self, name: str, liked: Sequence[str], unliked: Sequence[str] = (), *, keep: bool = True) -> dict[str, Any]:
        """Teach the index a word with clip ids, or only judge it; see search.teach.teach. The server must allow it."""
        body = {"name": name, "liked": list(liked), "unliked": list(unliked), "keep": keep}
        return self._ask("POST", "/api/teach", json=body)

    def speakers(self) -> list[dict[str, Any]]:
        """Return who speaks in the index: number, name, seconds, clips and recordings of each, who speaks longest first."""
        return self._ask("GET", "/api/speakers")["speakers"]

    def status(self) -> dict[str, Any]:
        """Return the statistics of the index, and the progress of a run that writes it."""
        return self._ask("GET", "/api/status")

    def _uploaded(self, text: str) -> str:
        """Upload the recording in an item of `like`, and return the item with the name of the upload in its place."""
        sound, _ = split_weight(text)
        if sound.startswith(PREFIX) or is_clip_id(sound):
            return text
        path = sound if Path(sound).exists() else split_span(sound)[0]
        upload = self._ask("POST", "/api/sounds", files=[("file", _file(as_location(path)))])
        return upload["name"] + text.removeprefix(path)

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
            document = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ServerError(f"The server at {self._http.base_url} does not answer as Voxdex does ({error}).") from error
        if answer.is_error:
            raise ServerError(document.get("error", f"The server refused with status {answer.status_code}."))
        return document


def _files(audios: Sequence[Audio]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", _file(audio)) for audio in audios]


def _file(audio: np.ndarray | Location) -> tuple[str, bytes]:
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
