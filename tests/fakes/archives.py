"""Runs of the indexer over small archives, and metadata tables for them."""

from pathlib import Path

from voxdex.indexer import index as pipeline
from voxdex.indexer.metadata import Metadata, read_metadata
from voxdex.indexer.report import IndexReport
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.edge import EdgeStore


def index_paths(paths: list[Path], *arguments, **options) -> IndexReport:
    """Index the recordings at these paths."""
    return pipeline.index(find_recordings(paths), *arguments, **options)


def failed_names(failures) -> list[str]:
    return [Path(failure.path).name for failure in failures]


def metadata_by_name(store: EdgeStore, kind: str = "clip") -> dict[str, dict]:
    """Metadata of the points of a kind, by file name."""
    return {Path(payload["recording"]).name: payload["metadata"] for payload in store.payloads(kind, ["recording", "metadata"])}


def write_sheet(folder: Path, *rows: str) -> Metadata:
    """Write and read a table with the columns path, speaker and year."""
    (folder / "sheet.csv").write_text("\n".join(["path,speaker,year", *rows]))
    return read_metadata(folder / "sheet.csv")


def failed_names_of_command(ran) -> list[str]:
    return [Path(failure["path"]).name for failure in ran.json["failed"]]


def without_empty(metadata: dict[str, dict]) -> dict[str, dict]:
    return {name: fields for name, fields in metadata.items() if fields}


def spans_by_name(store: EdgeStore) -> dict[str, list[tuple[float, float]]]:
    """Spans in seconds of the clips of each recording, by file name."""
    spans: dict[str, list] = {}
    for payload in store.payloads("clip", ["recording", "start", "end"]):
        spans.setdefault(Path(payload["recording"]).name, []).append((payload["start"], payload["end"]))
    return {name: sorted(found) for name, found in sorted(spans.items())}


def write_speaker_sheet(folder: Path) -> Metadata:
    """Write and read a table beside the folder that names the speaker of a.wav."""
    (folder.parent / "sheet.csv").write_text("path,speaker\na.wav,Anna\n")
    return read_metadata(folder.parent / "sheet.csv")
