"""A model folder opened for embedding: clips and captions in, unit vectors out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from tokenizers import Encoding, Tokenizer

from voxdex.encoders.batching import by_length, padded
from voxdex.encoders.errors import check_text
from voxdex.encoders.model_card import PHONEMES, SPEECH, TEXT, TOKENIZER, ModelCard, ModelError, locate, read_card
from voxdex.encoders.onnx_session import Device, DeviceSpec, OnnxSession, parse_device

__all__ = ["Model", "ModelError", "open_model"]

Heard = TypeVar("Heard")

EMBEDDING = "embedding"
CPU_SECONDS, GPU_SECONDS = 5.0, 320.0
"""Of sound in a batch: as much as stays in a CPU's caches, and as keeps a GPU at work."""
CPU_WINDOW, GPU_WINDOW = 64, 1024
"""Clips that are taken from a stream at a time, to go with others of like length."""
CAPTIONS = 64
"""In a batch."""


class Model:
    """Embeds speech and text into one space. Each graph is loaded when it is first needed.

    Args:
        folder: a model folder.
        device: "auto", "cpu" ("cpu:4" for four threads; else there is one for each core), or "cuda" ("cuda:0,1" for two GPUs).
        bulk: for many clips rather than a few: several batches of speech run side by side.

    Raises:
        ModelError: model.json cannot be read, or there is no such device; on first use, a graph cannot be opened on it.
    """

    def __init__(self, folder: Path, device: str = "auto", bulk: bool = False) -> None:
        self.folder = folder
        self.card: ModelCard = read_card(folder)
        self._wanted, self._bulk = parse_device(device), bulk

    def start(self) -> Device:
        """Loads the speech graph now rather than at first use; where it runs, and why there.

        Raises:
            ModelError: the graph cannot be opened on the device.
        """
        return self._speech.device

    @cached_property
    def _speech(self) -> OnnxSession:
        return OnnxSession(self.folder / SPEECH, self._wanted, self._bulk)

    @cached_property
    def _text(self) -> OnnxSession:
        graph = PHONEMES if self.card.text == "phonemes" else TEXT
        return OnnxSession(self.folder / graph, DeviceSpec("cpu", self._wanted.threads))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Captions to token ids."""
        try:
            return Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(f"{self.folder / TOKENIZER} cannot be read ({error}). Export the model again.") from error

    def embed_speech(self, clips: Iterable[np.ndarray], batch_seconds: float | None = None) -> Iterator[np.ndarray]:
        """Embeds a stream of clips, in order.

        Clips are taken many at a time and run with clips of like length; a clip's embedding depends neither on its neighbours
        nor on its padding.

        Args:
            clips: float32 [samples] each, mono at 16 kHz in -1..1, not empty, at most `card.max_seconds` long.
            batch_seconds: of sound in one run of the graph, padding included; None for what suits the device.

        Yields:
            float32 [dimension] of unit length for each clip.

        Raises:
            ValueError: a clip is not as said above.
        """
        yield from self._hear(clips, lambda batch: self._speech.run([EMBEDDING], padded(batch))[0], batch_seconds)

    def _hear(
        self, clips: Iterable[np.ndarray], run: Callable[[list[np.ndarray]], Iterable[Heard]], batch_seconds: float | None
    ) -> Iterator[Heard]:
        """What `run` makes of each clip of a stream, in order."""
        clips, on_gpu = iter(clips), self._speech.on_gpu
        size = (batch_seconds or (GPU_SECONDS if on_gpu else CPU_SECONDS)) * self.card.sample_rate
        while window := list(islice(clips, GPU_WINDOW if on_gpu else CPU_WINDOW)):
            for clip in window:
                self.check(clip)
            yield from by_length(window, run, size=size, spread=self._speech.spread)

    def embed_text(self, captions: Iterable[str]) -> Iterator[np.ndarray]:
        """Embeds a stream of captions, in order; what is over the model's longest caption is cut.

        The text of a model for what is said is phonemes (IPA); see PhoneticModel.

        Yields:
            float32 [dimension] of unit length for each caption.

        Raises:
            TextError: a caption is not valid text.
        """
        captions = map(check_text, captions)
        while window := list(islice(captions, 4 * CAPTIONS)):
            yield from by_length(window, self._run_text, most=CAPTIONS)

    def _run_text(self, captions: list[str]) -> np.ndarray:
        return self._text.run([EMBEDDING], inputs_of(self.tokenizer.encode_batch(captions)))[0]

    def check(self, clip: np.ndarray) -> None:
        """Raises ValueError for what is no clip of at most `card.max_seconds`."""
        if clip.ndim != 1 or len(clip) == 0 or not np.isfinite(clip).all():
            raise ValueError(f"A clip is a non-empty row of finite samples, not an array of shape {clip.shape}.")
        seconds = len(clip) / self.card.sample_rate
        if seconds > self.card.max_seconds:
            raise ValueError(f"A clip of {seconds:.2f} s is over this model's {self.card.max_seconds:g} s: split it first.")


def open_model(name_or_folder: str | Path = "mini", device: str = "auto", bulk: bool = False) -> Model:
    """Opens a model by name (see find_models) or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or its text side eats no captions.
    """
    model = Model(locate(name_or_folder), device, bulk)
    if model.card.text != "captions":
        raise ModelError(f"The model {str(name_or_folder)!r} is for what is said (--says), not for captions. Use another.")
    return model


def inputs_of(encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
    """The inputs of a text graph; shorter encodings are padded, in place."""
    longest = max(len(encoding.ids) for encoding in encodings)
    for encoding in encodings:
        encoding.pad(longest)
    return {
        "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
    }
