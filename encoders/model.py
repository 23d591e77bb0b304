"""An open model: clips and captions in, unit vectors of one embedding space out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from tokenizers import Encoding, Tokenizer

from voxdex.encoders.errors import check_text
from voxdex.encoders.model_card import PHONEMES, SPEECH, TEXT, TOKENIZER, ModelCard, ModelError, locate, read_card
from voxdex.encoders.onnx_session import Device, DeviceSpec, OnnxSession, map_by_length, pad_clips, parse_device

__all__ = ["Model", "ModelError", "open_model"]

Output = TypeVar("Output")

EMBEDDING = "embedding"
"""Name of the first output of every graph."""
CPU_BATCH_SECONDS, GPU_BATCH_SECONDS = 5.0, 320.0
"""Seconds of sound in a batch, padding included: what fits a CPU's caches, and what keeps a GPU busy."""
CPU_WINDOW, GPU_WINDOW = 64, 1024
"""Clips taken from a stream at a time, to be batched by length."""
CAPTIONS_AT_ONCE = 64
"""Captions in a batch."""


class Model:
    """A speech and a text encoder of one embedding space. Each graph is loaded when it is first needed.

    Args:
        folder: a model folder.
        device: "auto", "cpu" (one thread for each core), "cpu:4" (four threads), "cuda", or "cuda:0,1" (two GPUs).
        bulk: run several batches of speech concurrently, for archives rather than single clips.

    Raises:
        ModelError: model.json cannot be read, or there is no such device; on first use, a graph cannot be opened on it.
    """

    def __init__(self, folder: Path, device: str = "auto", *, bulk: bool = False) -> None:
        self.folder = folder
        self.card: ModelCard = read_card(folder)
        self._device, self._bulk = parse_device(device), bulk

    def start(self) -> Device:
        """Load the speech graph now rather than at first use, and return the device it runs on.

        Raises:
            ModelError: the graph cannot be opened on the device.
        """
        return self._speech.device

    @cached_property
    def _speech(self) -> OnnxSession:
        return OnnxSession(self.folder / SPEECH, self._device, bulk=self._bulk)

    @cached_property
    def _text(self) -> OnnxSession:
        graph = PHONEMES if self.card.text == "phonemes" else TEXT
        return OnnxSession(self.folder / graph, DeviceSpec("cpu", self._device.threads))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the text side."""
        try:
            return Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelError(f"{self.folder / TOKENIZER} cannot be read ({error}). Export the model again.") from error

    def embed_speech(self, clips: Iterable[np.ndarray], batch_seconds: float | None = None) -> Iterator[np.ndarray]:
        """Embed a stream of clips, in order.

        Clips are batched with others of similar length. An embedding depends neither on the other clips of its batch nor on
        padding.

        Args:
            clips: float32 [samples] each, mono at 16 kHz in -1..1, not empty, at most `card.max_seconds` long.
            batch_seconds: seconds of sound in a batch, padding included; None for a default of the device.

        Yields:
            float32 [dimension] of unit length for each clip.

        Raises:
            ValueError: a clip is empty, too long, not finite, or not one-dimensional.
        """
        yield from self._map_clips(clips, lambda batch: self._speech.run([EMBEDDING], pad_clips(batch))[0], batch_seconds)

    def _map_clips(
        self, clips: Iterable[np.ndarray], run: Callable[[list[np.ndarray]], Iterable[Output]], batch_seconds: float | None
    ) -> Iterator[Output]:
        """Yield the output of `run`, which takes a batch, for each clip of a stream, in order."""
        clips, on_gpu = iter(clips), self._speech.on_gpu
        max_samples = (batch_seconds or (GPU_BATCH_SECONDS if on_gpu else CPU_BATCH_SECONDS)) * self.card.sample_rate
        while window := list(islice(clips, GPU_WINDOW if on_gpu else CPU_WINDOW)):
            for clip in window:
                self.check(clip)
            yield from map_by_length(window, run, max_size=max_samples, map_batches=self._speech.map_batches)

    def embed_text(self, captions: Iterable[str]) -> Iterator[np.ndarray]:
        """Embed a stream of captions, in order; captions over the model's maximum length are truncated.

        A phonetic model takes phonemes (IPA) instead; see PhoneticModel.

        Yields:
            float32 [dimension] of unit length for each caption.

        Raises:
            TextError: a caption is not valid text.
        """
        captions = map(check_text, captions)
        while window := list(islice(captions, 4 * CAPTIONS_AT_ONCE)):
            yield from map_by_length(window, self._run_text, max_items=CAPTIONS_AT_ONCE)

    def _run_text(self, captions: list[str]) -> np.ndarray:
        return self._text.run([EMBEDDING], text_inputs(self.tokenizer.encode_batch(captions)))[0]

    def check(self, clip: np.ndarray) -> None:
        """Check that an array is a clip of at most `card.max_seconds`.

        Raises:
            ValueError: it is empty, too long, not finite, or not one-dimensional.
        """
        if clip.ndim != 1 or len(clip) == 0 or not np.isfinite(clip).all():
            raise ValueError(f"A clip is a non-empty row of finite samples, not an array of shape {clip.shape}.")
        seconds = len(clip) / self.card.sample_rate
        if seconds > self.card.max_seconds:
            raise ValueError(f"A clip of {seconds:.2f} s is over this model's {self.card.max_seconds:g} s: split it first.")


def open_model(name_or_folder: str | Path = "mini", device: str = "auto", *, bulk: bool = False) -> Model:
    """Open a model for captions by name (see find_models) or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or it is a phonetic model.
    """
    model = Model(locate(name_or_folder), device, bulk=bulk)
    if model.card.text != "captions":
        purpose = "spoken text (--phonetic)" if model.card.text == "phonemes" else "speakers (--speakers)"
        raise ModelError(f"The model {str(name_or_folder)!r} is for {purpose}, not for captions. Use another.")
    return model


def text_inputs(encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
    """Return the inputs of a text graph, padding the encodings in place to the longest."""
    longest = max(len(encoding.ids) for encoding in encodings)
    for encoding in encodings:
        encoding.pad(longest)
    return {
        "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
    }
