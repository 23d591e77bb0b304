"""Captioning: captions of a bank that fit speech, and captions composed from predicted labels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.model import Model
from voxdex.encoders.paths import replaced
from voxdex.encoders.zero_shot import AttributeTagger, Prediction
from voxdex.search.caption_parser import has_words
from voxdex.search.embed import embed_recording
from voxdex.search.query import QueryError
from voxdex.search.understanding import is_understood

BANK = Path(__file__).parent / "captions.txt"
"""The built-in bank."""
MIN_PROBABILITY = 0.6
"""Probability from which on a label is in a composed caption."""
OF_VOICE = ("texture", "brightness", "pitch")
"""Attributes whose adjectives stand before "voice", in this order; those of other attributes than emotion and age follow it."""


@dataclass(frozen=True)
class CaptionScore:
    """A caption and its cosine with a clip, -1 to 1."""

    caption: str
    score: float


class CaptionBank:
    """Captions to choose from.

    Args:
        model: embeds them; the embeddings are kept in the user's cache folder.
        file: a caption a line, in UTF-8; None for those of the built-in bank that are about what the model hears.

    Raises:
        QueryError: the file cannot be read, or has no captions.
    """

    def __init__(self, model: Model, file: Path | None = None) -> None:
        self._model = model
        self.captions = _read(file) if file else [each for each in _read(BANK) if is_understood(each, model.card)]

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Embeddings of the captions, float32 [captions, dimension]."""
        key = hashlib.sha256("\n".join([self._model.card.space, *self.captions]).encode()).hexdigest()[:24]
        cached = Path(platformdirs.user_cache_dir("voxdex")) / "captions" / f"{key}.npy"
        try:
            return np.load(cached)
        except (OSError, ValueError, EOFError):
            vectors = np.stack(list(self._model.embed_text(self.captions)))
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with replaced(cached) as new, new.open("wb") as file:
                np.save(file, vectors)
        except OSError:
            pass  # a cache folder that cannot be written: the captions are embedded again next time
        return vectors

    def find(self, vector: np.ndarray, count: int) -> list[CaptionScore]:
        """Return the best captions for a clip's embedding [dimension], best first."""
        scores = self._vectors @ vector
        best = np.argsort(-scores, kind="stable")[:count]
        return [CaptionScore(self.captions[row], float(scores[row])) for row in best]


def caption_file(
    model: Model, path: Location, bank: CaptionBank, limit: int, tagger: AttributeTagger | None = None, *, vad: bool = True
) -> list[dict[str, Any]]:
    """Find the captions that fit a recording best; a JSON document for each clip.

    Args:
        model: embeds the recording.
        path: the recording.
        bank: the captions to choose from.
        limit: captions for each clip.
        tagger: predicts the labels of a composed caption; None for none.
        vad: use speech only, else all sound.

    Raises:
        AudioError: the recording cannot be read, or nobody speaks in it.
    """
    recording = embed_recording(model, path, vad=vad)
    predictions = tagger(recording.vectors) if tagger else [{}] * len(recording.spans)
    return [
        {"recording": str(path), "start": start, "end": end, "captions": list(map(asdict, bank.find(vector, limit)))}
        | ({"composed": compose(labels)} if tagger else {})
        for (start, end), vector, labels in zip(recording.spans, recording.vectors, predictions, strict=True)
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


def compose(predictions: Mapping[str, Prediction]) -> str:
    """Compose a caption from probable labels: "An angry woman with a dark, low-pitched voice, fast and loud."

    Args:
        predictions: by attribute, as from AttributeTagger.
    """
    attributes = load_attributes()
    labels = {
        name: label
        for name, each in predictions.items()
        if each.probability >= MIN_PROBABILITY and each.label != attributes[name].unremarkable
        if (label := attributes[name].find(each.label))
    }
    gender = labels.pop("gender", None)
    person, of_voice = (
        [label.adjectives[0] for name in names if (label := labels.pop(name, None))] for names in (("emotion", "age"), OF_VOICE)
    )
    noun = gender.nouns[0].removeprefix("a ") if gender else "speaker"
    caption = _with_article(" ".join([_listed(person), noun]).strip())
    caption += f" with {_with_article(_listed(of_voice))} voice" if of_voice else ""
    after = [label.adjectives[0] for label in labels.values() if label.adjectives]
    caption += f", {_listed(after, ' and ')}" if after else ""
    return f"{caption[0].upper()}{caption[1:]}."


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _listed(words: Sequence[str], last: str = ", ") -> str:
    return last.join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
