"""A sample archive for machines that have no recordings: espeak-ng's synthetic voices saying a few sentences.

    python demo/make_archive.py demo/audio

The voices are plainly artificial and far from what the models were trained on; your own folder of recordings is the real
thing. espeak-ng comes from the package espeakng-loader, library and voices included.
"""

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import espeakng_loader
import numpy as np

SYNCHRONOUS, CHARS_UTF8, POSITION_CHARACTER = 2, 1, 1
RATE, PITCH, RANGE = 1, 3, 4
CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".opus": "libopus", ".m4a": "aac"}
SENTENCES = (
    "The archive holds forty years of interviews, and nobody has listened to all of them.",
    "Please leave your name and number after the tone, and somebody will call you back.",
    "When the rain stopped we walked down to the harbour and counted the boats.",
    "I have told you once already, and I am not going to tell you again.",
)


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice. rate: words a minute. pitch, range: 0 to 99, 50 is the voice's own."""

    name: str
    espeak: str
    suffix: str
    rate: int = 170
    pitch: int = 50
    range: int = 50


VOICES = (
    Voice("anna", "en+f2", ".wav"),
    Voice("bella", "en-us+f4", ".flac", rate=230, pitch=70, range=80),
    Voice("clara", "en-us+linda", ".mp3", rate=120),
    Voice("dora-whispering", "en-us+whisperf", ".wav", rate=140),
    Voice("edgar", "en+m3", ".opus", pitch=35),
    Voice("frank", "en-us+m1", ".wav", rate=230, pitch=60, range=80),
    Voice("george-creaking", "en-us+croak", ".flac", rate=140, pitch=20),
    Voice("henry-whispering", "en+whisper", ".m4a", rate=140),
    Voice("ivan-monotone", "en-us+m7", ".wav", pitch=20, range=0),
    Voice("julia-monotone", "en-us+f3", ".mp3", range=0),
)


class Espeak:
    """The espeak-ng library, speaking into memory."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        if self.sample_rate <= 0:
            sys.exit("espeak-ng does not start; install the demo extra again: pip install 'voxdex[demo]'.")
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._blocks: list[np.ndarray] = []
        self._callback = callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, count: int, _events) -> int:
        if samples and count:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: Voice) -> np.ndarray:
        """int16 samples at `sample_rate`."""
        if self._library.espeak_SetVoiceByName(voice.espeak.encode()) != 0:
            sys.exit(f"espeak-ng has no voice {voice.espeak}.")
        for parameter, value in ((RATE, voice.rate), (PITCH, voice.pitch), (RANGE, voice.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        spoken = text.encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
        return np.concatenate(self._blocks)


def write(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Encodes int16 samples in the format that the file's suffix names."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            CODECS[path.suffix], rate=48_000 if path.suffix == ".opus" else sample_rate, layout="mono"
        )
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(folder: Path) -> None:
    """Writes every voice saying every sentence."""
    folder.mkdir(parents=True, exist_ok=True)
    espeak = Espeak()
    for voice in VOICES:
        for number, sentence in enumerate(SENTENCES, start=1):
            write(folder / f"{voice.name}-{number}{voice.suffix}", espeak.say(sentence, voice), espeak.sample_rate)
    print(f"{len(VOICES) * len(SENTENCES)} recordings of {len(VOICES)} synthetic voices in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/audio"))
