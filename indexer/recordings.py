"""Recordings of an index, summarised by their clips: what is in each, how it sounds, and what is wrong with it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.paths import replace_file
from voxdex.indexer.catalog import BROKEN, COUNTS
from voxdex.indexer.scan import is_gone
from voxdex.indexer.speakers import ATTRIBUTE
from voxdex.indexer.store.base import CLIP, RECORDING, Payload, Store
from voxdex.indexer.store.filters import FilterError

MEASURES = ("pitch_hz", "loudness_lufs", "snr_db", "syllables_per_second")
"""Measured values of which a recording has the median of its clips."""
RECORDING_KEYS = ("content", "files", *COUNTS, "failure", "metadata", "tags")
CLIP_KEYS = ("content", "duration", "attributes", "probabilities", "measured", "timecode")


CLIP_DETAILS = ("start", "end", "track", "channel", "timecode", "attributes", "probabilities", "measured")
"""Values of each clip in a sidecar."""
SIDECAR = ".voxdex.json"
"""End of the name of a sidecar."""


@dataclass
class _Voices:
    """Totals over the clips of a recording. seconds: by attribute and label. certainty: the same, weighted by probability."""

    seconds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    certainty: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    measured: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, clip: Payload) -> None:
        """Add a clip."""
        for name, label in clip["attributes"].items():
            self.seconds[name][label] += clip["duration"]
            self.certainty[name][label] += clip["duration"] * clip["probabilities"].get(name, 0.0)
        for name in MEASURES:
            if (value := clip["measured"].get(name)) is not None:
                self.measured[name].append(value)


def recording_rows(store: Store, *, shares: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield a row for each recording of an index.

    A row has `path`, `copies` (of the same content), `status` ("ok", "damaged", "broken", "failed", "no speech") and its
    `reason`, `seconds`, `speech_seconds`, `clips`, the format, for each predicted attribute the label that most of the
    speech has, its share of the speech (0 to 1) and its mean probability, medians of measured values, the metadata and the
    tags; and where the speakers are known, their number and `spoken by`, who speaks how long.

    Args:
        store: the index.
        shares: attributes of which a row has the share of the speech of every label, as in "gender: female".

    Raises:
        FilterError: the index has no such attribute.
    """
    predicted = [key.removeprefix("attributes.") for key in store.schema() if key.startswith("attributes.")]
    if unknown := next((name for name in shares if name not in predicted), None):
        raise FilterError(f"The index has no predicted attribute {unknown!r}; it has: {', '.join(sorted(predicted))}.")
    voices: dict[str, _Voices] = defaultdict(_Voices)
    for clip in store.payloads(CLIP, CLIP_KEYS):
        voices[clip["content"]].add(clip)
    labels = {name: sorted({label for each in voices.values() for label in each.seconds[name]}) for name in shares}
    for recording in store.payloads(RECORDING, RECORDING_KEYS):
        paths = [path for path, *_ in recording.get("files") or ()]
        if paths:
            yield _row(recording, paths, voices.get(recording["content"], _Voices()), labels)


def write_sidecars(store: Store, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Write a JSON file beside each recording of this machine, with its row and its clips; return the failures.

    The file has the name of the recording with SIDECAR after it. An earlier sidecar is replaced.
    """
    clips: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for clip in store.payloads(CLIP, ("recording", *CLIP_DETAILS)):
        clips[clip.pop("recording")].append({name: clip[name] for name in CLIP_DETAILS if clip.get(name) is not None})
    failed = []
    for row in rows:
        if is_url(row["path"]) or is_gone(row["path"]):
            continue
        of_recording = sorted(clips[row["path"]], key=lambda clip: clip["start"])
        text = json.dumps({"space": store.space, "recording": row, "clips": of_recording}, ensure_ascii=False, indent=1)
        try:
            replace_file(Path(row["path"] + SIDECAR), text.encode("utf-8", "backslashreplace"), durable=False)
        except OSError as error:
            failed.append({"path": row["path"], "reason": f"its sidecar cannot be written ({error.strerror})"})
    return failed


def _row(recording: Payload, paths: Sequence[str], voices: _Voices, shares: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    origin: Mapping[str, Any] = recording.get("origin") or {}
    status, reason = _status(recording)
    row: dict[str, Any] = {
        "path": paths[0],
        "copies": len(paths) - 1,
        "status": status,
        "reason": reason,
        "seconds": recording.get("audio_seconds") or 0.0,
        "speech_seconds": recording.get("speech_seconds") or 0.0,
        "clips": recording.get("clips") or 0,
        "format": " ".join(origin[name] for name in ("format", "codec") if origin.get(name)),
        "sample_rate": origin.get("sample_rate"),
        "channels": origin.get("channels"),
        "timecode": origin.get("timecode") or None,
    }
    if speakers := voices.seconds.pop(ATTRIBUTE, None):
        told = (f"{name} {seconds / 60:.1f} min" for name, seconds in speakers.most_common())
        row |= {"speakers": len(speakers), "spoken by": ", ".join(told)}
    for name, seconds in sorted(voices.seconds.items()):
        [(label, most)] = seconds.most_common(1)
        share, probability = most / sum(seconds.values()), voices.certainty[name][label] / most
        row |= {name: label, f"{name} share": _rounded(share), f"{name} probability": _rounded(probability)}
    for name, labels in shares.items():
        of_label = speakers if name == ATTRIBUTE and speakers else voices.seconds[name]
        total = sum(of_label.values()) or 1.0
        row |= {f"{name}: {label}": _rounded(of_label[label] / total) for label in labels}
    row |= {name: _rounded(median(values)) for name, values in sorted(voices.measured.items())}
    return (
        row
        | {f"metadata.{name}": value for name, value in (recording.get("metadata") or {}).items()}
        | {f"tags.{name}": value for name, value in (recording.get("tags") or {}).items()}
    )


def _status(recording: Payload) -> tuple[str, str]:
    """Return the status of a recording and the reason for it."""
    if recording.get("failure"):
        return "failed", recording["failure"]
    if broken := recording.get(BROKEN):
        return "broken", next(iter(broken.values()))
    if recording.get("damage"):
        return "damaged", recording["damage"]
    return ("ok", "") if recording.get("clips") else ("no speech", "")


def _rounded(value: float) -> float:
    return round(value, 3)
