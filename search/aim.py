"""A query -> the one vector that the engine looks around."""

import numpy as np

from encoders import AudioError, Model
from encoders.texts import check_text, in_one_line, short
from indexer.store import Store
from search.background import Background
from search.query import DENIED, Clip, Part, Query, QueryError, Shift, Sound
from search.speech import embed_recording
from search.wording import read_caption

MOST_CAPTION = 2000
"""Characters of a caption; a text tower reads far fewer."""


def aim(query: Query, store: Store, model: Model, background: Background) -> np.ndarray:
    """Where a query points, a unit vector [dimension]: the sum of its parts.

    Captions spread an archive's scores less than sounds do; each part is weighted so that it spreads them as much as any
    other of the same weight.

    Raises:
        QueryError: nothing is asked for, a caption has no words or too many, or a sound cannot be read.
        TextError: a caption is not valid text.
    """
    parts = [(_vector(wish.part, store, model), wish.weight) for wish in query.wishes if wish.weight]
    if not (parts and query.liked and query.disliked):  # else the engine's discovery knows both
        parts += [(_vector(Clip(id), store, model), 1 / len(query.liked)) for id in query.liked]
        parts += [(_vector(Clip(id), store, model), -DENIED / len(query.disliked)) for id in query.disliked]
    total = sum((weight / background.spread(vector) * vector for vector, weight in parts), np.zeros(model.card.dimension))
    length = np.linalg.norm(total)
    if not length > 1e-6:
        raise QueryError("The query is empty: describe a voice, or give a recording with --like.")
    return (total / length).astype(np.float32)


def caption_vector(caption: str, model: Model) -> np.ndarray:
    """Where a caption points, a unit vector [dimension]: to what it says and away from what it denies.

    A text tower hears the word in "not whispered" and hardly the "not"; so what is denied is embedded for itself.

    Raises:
        QueryError: there is no word in it, or it is too long.
        TextError: it is not valid text.
    """
    if not caption.strip():
        raise QueryError("A caption is empty: describe a voice in words.")
    if len(caption) > MOST_CAPTION:
        raise QueryError(f"A caption has {len(caption)} characters; say it in {MOST_CAPTION} at most.")
    wording = read_caption(check_text(caption))
    if not (wording.says or wording.denies):
        raise QueryError(f"The caption {short(caption)} has no words: describe a voice, as in 'a calm woman'.")
    says = list(model.embed_text([wording.says])) if wording.says else []
    denies = [-DENIED * vector for vector in model.embed_text(wording.denies)]
    return _unit(np.sum(says + denies, axis=0))


def sound_vector(sound: Sound, model: Model) -> np.ndarray:
    """The voice in a recording or a part of it, a unit vector [dimension].

    Raises:
        QueryError: it cannot be read.
    """
    try:
        return embed_recording(model, sound.path, sound.start, sound.end).voice
    except AudioError as error:
        raise QueryError(in_one_line(f"{sound.path} cannot be searched by: {error}.")) from error


def _vector(part: Part, store: Store, model: Model) -> np.ndarray:
    match part:
        case Sound():
            return sound_vector(part, model)
        case Clip(id):
            found = store.retrieve([id])
            if not found:
                raise QueryError(f"The index no longer holds the clip {id}; search again.")
            return found[0].vector
        case Shift(away, towards):
            return _unit(caption_vector(towards, model) - caption_vector(away, model))
    return caption_vector(part, model)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
