"""Speech -> the captions that fit it: found in a bank, or put together from what is heard."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.model import Model
from voxdex.encoders.paths import replaced
from voxdex.encoders.zero_shot import AttributeTagger, Prediction
from voxdex.search.caption_parser import has_words
from voxdex.search.embed import embed_recording
from voxdex.search.query import QueryError

BANK = Path(__file__).parent / "captions.txt"
"""The bank that ships, made of our own captions."""
SURE = 0.6
"""Probability from which on a label is put into a composed caption."""
ORDER = ("emotion", "texture", "brightness")
"""Attributes whose adjectives stand before the noun, in this order; those of the others follow it."""


@dataclass(frozen=True)
class CaptionScore:
    """A caption and its cosine with a clip, -1 to 1."""

    caption: str
    score: float


class CaptionBank:
    """Captions that speech is compared with.

    Args:
        model: embeds them; what it said of a bank is kept in the user's cache folder.
        file: a caption a line, in UTF-8; None takes the bank that ships.

    Raises:
        QueryError: the file cannot be read, or holds no captions.
    """

    def __init__(self, model: Model, file: Path | None = None) -> None:
        self._model = model
        self.captions = _read(file or BANK)

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Of the captions, float32 [captions, dimension]."""
        key = hashlib.sha256("\n".join([self._model.card.space, *self.captions]).encode()).hexdigest()[:24]
        kept = Path(platformdirs.user_cache_dir("voxdex")) / "captions" / f"{key}.npy"
        try:
            return np.load(kept)
        except (OSError, ValueError, EOFError):
            vectors = np.stack(list(self._model.embed_text(self.captions)))
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with replaced(kept) as new, new.open("wb") as file:
                np.save(file, vectors)
        except OSError:
            pass  # a cache folder that cannot be written: then they are embedded again
        return vectors

    def find(self, vector: np.ndarray, count: int) -> list[CaptionScore]:
        """The captions that fit a clip, a unit vector [dimension], best first."""
        scores = self._vectors @ vector
        best = np.argsort(-scores, kind="stable")[:count]
        return [CaptionScore(self.captions[place], float(scores[place])) for place in best]


def caption_file(
    model: Model, path: Path, bank: CaptionBank, limit: int, tag: AttributeTagger | None = None
) -> list[dict[str, Any]]:
    """The captions that fit a recording best, clip by clip, as programs are told.

    Args:
        model: embeds the recording.
        path: the recording.
        bank: the captions to choose from.
        limit: how many for each clip.
        tag: puts one together from what is heard, beside them; None does not.

    Raises:
        AudioError: the recording cannot be read.
    """
    recording = embed_recording(model, path)
    heard = tag(recording.vectors) if tag else [{}] * len(recording.spans)
    return [
        {"recording": str(path), "start": start, "end": end, "captions": list(map(asdict, bank.find(vector, limit)))}
        | ({"composed": compose(what)} if tag else {})
        for (start, end), vector, what in zip(recording.spans, recording.vectors, heard, strict=True)
    ]


def _read(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{file} cannot be read as text in UTF-8 ({error}).") from error
    captions = list(dict.fromkeys(filter(has_words, map(str.strip, lines))))
    if not captions:
        raise QueryError(f"{file} holds no captions; write one a line.")
    return captions


def compose(heard: Mapping[str, Prediction]) -> str:
    """A caption of what is heard with some certainty: "An angry woman with a low-pitched voice, fast and loud."

    Args:
        heard: by attribute, as AttributeTagger gives it.
    """
    said = {
        name: load_attributes()[name].find(each.label)
        for name, each in heard.items()
        if each.probability >= SURE and each.label != load_attributes()[name].unremarkable
    }
    gender, age, pitch = (said.pop(name, None) for name in ("gender", "age", "pitch"))
    before = [said.pop(name).adjectives[0] for name in ORDER if name in said]
    before += [age.adjectives[0]] if age else []
    noun = gender.nouns[0].removeprefix("a ") if gender else "speaker"
    caption = _with_article(" ".join([_listed(before), noun]).strip())
    caption += f" with {_with_article(pitch.adjectives[0])} voice" if pitch else ""
    after = [label.adjectives[0] for label in said.values() if label.adjectives]
    caption += f", {_listed(after, ' and ')}" if after else ""
    return f"{caption[0].upper()}{caption[1:]}."


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _listed(words: Sequence[str], last: str = ", ") -> str:
    return last.join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
