"""A sample archive: sentences spoken by synthetic voices of espeak-ng.

    python demo/make_archive.py demo/audio

The voices are artificial and unlike the training data of the models, so results on real recordings are better. espeak-ng comes
from the package espeakng-loader, library and voices included.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from voxdex.encoders.phonetic.g2p import Espeak, EspeakError, Voice

CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".opus": "libopus", ".m4a": "aac"}
SENTENCES = (
    "The archive holds forty years of interviews, and nobody has listened to all of them.",
    "Please leave your name and number after the tone, and somebody will call you back.",
    "When the rain stopped we walked down to the harbour and counted the boats.",
    "I have told you once already, and I am not going to tell you again.",
)


@dataclass(frozen=True)
class Speaker:
    """A voice, and the format of its recordings."""

    voice: Voice
    suffix: str


SPEAKERS = (
    Speaker(Voice("anna", "en+f2"), ".wav"),
    Speaker(Voice("bella", "en-us+f4", rate=230, pitch=70, range=80), ".flac"),
    Speaker(Voice("clara", "en-us+linda", rate=120), ".mp3"),
    Speaker(Voice("dora-whispering", "en-us+whisperf", rate=140), ".wav"),
    Speaker(Voice("edgar", "en+m3", pitch=35), ".opus"),
    Speaker(Voice("frank", "en-us+m1", rate=230, pitch=60, range=80), ".wav"),
    Speaker(Voice("george-creaking", "en-us+croak", rate=140, pitch=20), ".flac"),
    Speaker(Voice("henry-whispering", "en+whisper", rate=140), ".m4a"),
    Speaker(Voice("ivan-monotone", "en-us+m7", pitch=20, range=0), ".wav"),
    Speaker(Voice("julia-monotone", "en-us+f3", range=0), ".mp3"),
)


def write(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Encode int16 samples in the format of the file's suffix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            CODECS[path.suffix], rate=48_000 if path.suffix == ".opus" else sample_rate, layout="mono"
        )
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(folder: Path) -> None:
    """Write a recording of every sentence by every voice."""
    folder.mkdir(parents=True, exist_ok=True)
    espeak = Espeak()
    for speaker in SPEAKERS:
        for number, sentence in enumerate(SENTENCES, start=1):
            said = espeak.say(sentence, speaker.voice)
            write(folder / f"{speaker.voice.name}-{number}{speaker.suffix}", said, espeak.sample_rate)
    print(f"{len(SPEAKERS) * len(SENTENCES)} recordings of {len(SPEAKERS)} synthetic voices in {folder}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/audio"))
    except EspeakError as error:
        sys.exit(str(error))
