"""A model folder opened for embedding: clips and captions in, unit vectors out."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from encoders.model_folder import PHONEMES, SPEECH, TEXT, TOKENIZER, ModelCard, ModelError, locate, read_card
from encoders.runtime import Device, open_session, usable_cores

__all__ = ["Model", "ModelError", "open_model"]

EMBEDDING = "embedding"
MOST_AT_ONCE = 4
"""Batches side by side; each needs memory of its own."""


class Model:
    """Embeds speech and text into one space. Each graph is loaded when it is first needed.

    Args:
        folder: a model folder.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads in all; None takes all cores.
        bulk: for many clips rather than a few: batches of speech run side by side on the CPU and share the threads, as
            the threads of one operator never share its work out evenly.

    Raises:
        ModelError: model.json cannot be read; on first use, a graph cannot be opened on the device.
    """

    def __init__(self, folder: Path, device: str = "auto", threads: int | None = None, bulk: bool = False) -> None:
        self.folder = folder
        self.card: ModelCard = read_card(folder)
        self._device, self._threads = device, threads or usable_cores()
        self._at_once = min(MOST_AT_ONCE, self._threads) if bulk else 1

    def start(self) -> Device:
        """Loads the speech graph now rather than at first use; where it runs, and why there.

        Raises:
            ModelError: the graph cannot be opened on the device.
        """
        return self._speech[1]

    @cached_property
    def _speech(self) -> tuple[ort.InferenceSession, Device]:
        return open_session(self.folder / SPEECH, self._device, self._threads // self._at_once)

    @cached_property
    def _text(self) -> ort.InferenceSession:
        return open_session(self.folder / (PHONEMES if self.card.text == "phonemes" else TEXT), "cpu", self._threads)[0]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Captions to token ids."""
        try:
            return Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(f"{self.folder / TOKENIZER} cannot be read ({error}). Export the model again.") from error

    def embed_speech(self, clips: Iterable[np.ndarray], batch_size: int = 4) -> Iterator[np.ndarray]:
        """Embeds a stream of clips, in order.

        Clips are taken some batches at a time and run with clips of like length; a clip's embedding depends neither on
        its neighbours nor on its padding.

        Args:
            clips: float32 [samples] each, mono at 16 kHz in -1..1, not empty, at most `card.max_seconds` long.
            batch_size: most clips in one run of the graph; on a CPU small batches stay in its caches.

        Yields:
            float32 [dimension] of unit length for each clip.

        Raises:
            ValueError: a clip is not as said above.
        """
        session, _ = self._speech
        clips = iter(clips)
        while window := list(islice(clips, 16 * batch_size)):
            for clip in window:
                self.check(clip)
            yield from by_length(window, batch_size, lambda batch: session.run([EMBEDDING], padded(batch))[0], self._at_once)

    def embed_text(self, captions: Iterable[str], batch_size: int = 64) -> Iterator[np.ndarray]:
        """Embeds a stream of captions, in order; what is over the model's longest caption is cut.

        The text of a model for what is said is phonemes (IPA); see PhoneticModel.

        Yields:
            float32 [dimension] of unit length for each caption.
        """
        captions = iter(captions)
        while window := list(islice(captions, 4 * batch_size)):
            yield from by_length(window, batch_size, self._run_text)

    def _run_text(self, captions: list[str]) -> np.ndarray:
        return self._text.run([EMBEDDING], self._tokens(captions))[0]

    def _tokens(self, texts: list[str]) -> dict[str, np.ndarray]:
        encodings = self.tokenizer.encode_batch(texts)
        longest = max(len(encoding.ids) for encoding in encodings)
        for encoding in encodings:
            encoding.pad(longest)
        return {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        }

    def check(self, clip: np.ndarray) -> None:
        """Raises ValueError for what is no clip of at most `card.max_seconds`."""
        if clip.ndim != 1 or len(clip) == 0 or not np.isfinite(clip).all():
            raise ValueError(f"A clip is a non-empty row of finite samples, not an array of shape {clip.shape}.")
        seconds = len(clip) / self.card.sample_rate
        if seconds > self.card.max_seconds:
            raise ValueError(f"A clip of {seconds:.2f} s is over this model's {self.card.max_seconds:g} s: split it first.")


def open_model(
    name_or_folder: str | Path = "mini", device: str = "auto", threads: int | None = None, bulk: bool = False
) -> Model:
    """Opens a model by name (see find_models) or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or its text side eats no captions.
    """
    model = Model(locate(name_or_folder), device, threads, bulk)
    if model.card.text != "captions":
        raise ModelError(f"The model {str(name_or_folder)!r} is for what is said (--says), not for captions. Use another.")
    return model


def by_length(items: list, batch_size: int, run: Callable[[list], Iterable], at_once: int = 1) -> Iterator:
    """What `run` makes of each item, in order; it is given batches of items of like length, some at once."""
    order = sorted(range(len(items)), key=lambda i: len(items[i]))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda rows: run([items[i] for i in rows]), batches))
    vectors = {row: vector for rows, part in zip(batches, found, strict=True) for row, vector in zip(rows, part, strict=True)}
    yield from (vectors[row] for row in range(len(items)))


def padded(clips: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of a speech graph: clips of several lengths, with silence after them."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    waveform = np.zeros((len(clips), lengths.max()), dtype=np.float32)
    for row, clip in enumerate(clips):
        waveform[row, : len(clip)] = clip
    return {"waveform": waveform, "lengths": lengths}
