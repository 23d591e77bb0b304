"""What is in an index."""

from collections import Counter
from dataclasses import dataclass, field

from encoders.audio import Failure
from encoders.remote import is_url
from indexer.files import is_gone
from indexer.store import CLIP, RECORDING, EdgeStore, Store

SECONDS = ("audio_seconds", "speech_seconds", "other_seconds")
KEYS = ("recording", "files", *SECONDS, "clips", "origin", "failure", "damage")


@dataclass
class Overview:
    """recordings: contents with clips or without; files: that hold them; copies: files beyond the first of a content.

    audio_seconds: of all recordings; speech_seconds: of all clips; other_seconds: of sound that is not speech; formats:
    recordings by container and codec; silent: recordings in which nobody speaks. gone: local files that are not there.
    bytes: on disk, of an embedded index. says: the space of what is said, "" where the index does not hold that.
    """

    space: str
    model: str
    recordings: int = 0
    files: int = 0
    copies: int = 0
    clips: int = 0
    silent: int = 0
    audio_seconds: float = 0.0
    speech_seconds: float = 0.0
    other_seconds: float = 0.0
    gone: int = 0
    bytes: int = 0
    says: str = ""
    formats: dict[str, int] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)


def overview(store: Store) -> Overview:
    """Counts what an index holds."""
    found, formats = Overview(store.space, store.model, says=store.says.space if store.says else ""), Counter()
    for payload in store.payloads(RECORDING, KEYS):
        paths = [path for path, _, _ in payload["files"]]
        found.gone += sum(is_gone(path) for path in paths if not is_url(path))
        if payload["failure"]:
            found.failed += [Failure(path, payload["failure"]) for path in paths]
            continue
        found.recordings += 1
        found.files += len(paths)
        found.copies += len(paths) - 1
        found.silent += payload["clips"] == 0
        for name in SECONDS:
            setattr(found, name, round(getattr(found, name) + payload[name], 3))
        origin = payload["origin"]
        formats[f"{origin['format']} {origin['codec']}" if origin else "unknown"] += 1
        if payload["damage"]:
            found.damaged.append(Failure(payload["recording"], payload["damage"]))
    found.clips, found.formats = store.count(CLIP), dict(formats.most_common())
    if isinstance(store, EdgeStore):
        found.bytes = sum(file.stat().st_blocks * 512 for file in store.folder.rglob("*") if file.is_file())
    return found
