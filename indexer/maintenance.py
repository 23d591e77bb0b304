"""Maintenance of an index: rebuild it with another model, repair it, copy it, export its vectors."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.indexer.calibration import read_calibration, write_calibration
from voxdex.indexer.catalog import Catalog
from voxdex.indexer.index import MOST_PRUNED, index
from voxdex.indexer.integrity import CheckReport
from voxdex.indexer.location import IndexLocation, model_reference, open_phonetic_encoder
from voxdex.indexer.metadata import stored_metadata
from voxdex.indexer.report import IndexReport, Progress
from voxdex.indexer.roots import add_roots, read_roots
from voxdex.indexer.scan import FileState, ScanResult, is_gone
from voxdex.indexer.statistics import cache_statistics
from voxdex.indexer.store.base import CLIP, KIND, RECORDING, Payload, PhoneticSpace, Store, StoreError
from voxdex.indexer.taught import forget_taught, read_taught, write_taught

VECTOR_SUFFIXES = (".npz", ".parquet")


def rebuild_index(  # noqa: PLR0913, RUF100  # keyword-only but for two
    location: IndexLocation,
    model: Model,
    *,
    phonetic: PhoneticSpace | None = None,
    vad: bool = True,
    prune: bool = False,
    prune_all: bool = False,
    drop_failed: bool = False,
    on_progress: Callable[[Progress], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> IndexReport:
    """Embed all recordings of an index again, with another model or for phonetic vectors; the former index answers meanwhile.

    Metadata is kept. An interrupted call is continued by the next one.

    Args:
        location: of the index.
        model: embeds voices.
        phonetic: phonetic space of the new index; None for that of the former one, if it has one.
        vad: make clips of speech only; otherwise of all sound.
        prune: leave out missing files, up to half of all, instead of refusing to lose them.
        prune_all: with `prune`, leave out any number of missing files.
        drop_failed: leave out recordings that have clips and now fail, instead of refusing to lose them.
        on_progress, should_stop: see `index`.

    Raises:
        StoreError: there is no index, it is of that model and phonetic space already, another process has it open, or it would
            lose recordings.
    """
    with location.read() as former:
        phonetic = phonetic or former.phonetic
        if former.space == model.card.space and former.phonetic == phonetic:
            spaces = f"{former.space} and {phonetic.space}" if phonetic else former.space
            raise StoreError(f"The index {location} holds embeddings of {spaces} already.")
        catalog, roots = Catalog(former), read_roots(former)
        metadata, paths = stored_metadata(former), sorted(catalog.paths)
        with_clips = set(filter(catalog.has_clips, paths))
    missing = [path for path in paths if is_gone(path)]
    _check_missing(location, paths, missing, prune=prune, prune_all=prune_all)
    scan = _scan_of(sorted(set(paths) - set(missing)), catalog)
    with _staging(location, model, phonetic) as store:
        _drop_others(store, scan)
        add_roots(store, roots)
        report = index(
            scan, store, model, metadata,
            phonetic_model=open_phonetic_encoder(store), vad=vad, retry_failed=True,
            on_progress=on_progress, should_stop=should_stop,
        )  # fmt: skip
        lost = [failure for failure in report.failed if failure.path in with_clips]
        if lost and not drop_failed:
            raise StoreError(
                f"{len(lost)} of the {len(with_clips)} recordings that the index {location} holds could not be embedded again, "
                f"such as {lost[0].path}: {lost[0].reason}. It stays as it was. Mend that and run the same command again, "
                "which continues this run; or leave them out with --drop-failed."
            )
        store.promote()
    return report


def _check_missing(location: IndexLocation, paths: list[str], missing: list[str], *, prune: bool, prune_all: bool) -> None:
    """Refuse to lose missing files that the caller did not agree to lose."""
    if missing and not prune:
        raise StoreError(
            f"{len(missing)} of the {len(paths)} files of the index {location} are gone and cannot be embedded again, such as "
            f"{missing[0]}. Bring them back, or leave them out with --prune."
        )
    if len(missing) > MOST_PRUNED * len(paths) and not prune_all:
        raise StoreError(
            f"{len(missing)} of the {len(paths)} files of the index {location} are gone, such as {missing[0]}. See that their "
            "disk is mounted, or leave them out with --prune=all."
        )


def _staging(location: IndexLocation, model: Model, phonetic: PhoneticSpace | None) -> Store:
    """Open the store of the new index: the former one, where it only gets phonetic vectors in addition."""
    former = location.open()
    if former.adds_phonetic and former.space == model.card.space and not former.phonetic and phonetic:
        former.add_phonetic(phonetic)
        return former
    former.close()
    return location.create_staging(model.card.space, model_reference(model), model.card.dimension, phonetic)


def _drop_others(store: Store, scan: ScanResult) -> None:
    """Delete recordings that an earlier attempt has embedded and the former index does not hold any more."""
    catalog = Catalog(store)
    for path in catalog.paths:
        if path not in scan.recordings:
            catalog.remove_path(path)
    for where, changes in catalog.take_changes():
        store.set_payload(where, changes)


def repair_index(
    store: Store,
    model: Model,
    report: CheckReport,
    *,
    phonetic_model: PhoneticModel | None = None,
    vad: bool = True,
    on_progress: Callable[[Progress], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> IndexReport:
    """Delete the broken recordings of a check, and embed again those whose files are there.

    Args:
        store: the index.
        model: its model.
        report: result of check_index.
        phonetic_model: the index's phonetic model, if it has one.
        vad: make clips of speech only; otherwise of all sound.
        on_progress, should_stop: see `index`.

    Raises:
        StoreError: the engine fails; what was stored before is kept.
    """
    files = [path for payload in store.payloads(RECORDING, ("content", "files")) for path in _files_of(payload, report)]
    files += [failure.path for failure in report.broken.values() if failure.path not in files]
    store.ensure_fields(report.fields)
    metadata, catalog = stored_metadata(store), Catalog(store)
    for content in report.broken:
        store.delete({"content": content})
    scan = _scan_of(filter(None, files), catalog)
    return index(
        scan, store, model, metadata,
        phonetic_model=phonetic_model, vad=vad, retry_failed=True, on_progress=on_progress, should_stop=should_stop,
    )  # fmt: skip


def _scan_of(paths: Iterable[str], catalog: Catalog) -> ScanResult:
    """Return a scan of single files, with the transcripts that an index knows of them."""
    scan = ScanResult([])
    for path in paths:
        scan.add(path, partial(FileState.of, path))
    scan.transcripts.update({path: files for path in scan.recordings if (files := catalog.transcripts_of(path))})
    return scan


def _files_of(payload: Payload, report: CheckReport) -> list[str]:
    """Return the files of a recording that is broken."""
    return [path for path, *_ in payload.get("files") or ()] if payload["content"] in report.broken else []


@dataclass
class CopyReport:
    """recordings: of the source. copied, clips: those that the target did not have. dropped: recordings of the target only."""

    recordings: int = 0
    copied: int = 0
    clips: int = 0
    dropped: int = 0


def _copy_taught(source: Store, target: Store, *, mirror: bool) -> None:
    """Copy taught labels that the target lacks or has in another form; `mirror` removes those that only it has."""
    labels, existing = read_taught(source), read_taught(target)
    for name, label in labels.items():
        if name not in existing or existing[name].document() != label.document():
            write_taught(target, label)
    for name in existing.keys() - labels.keys() if mirror else ():
        forget_taught(target, name)


def copy_index(
    source: Store, target: IndexLocation, *, mirror: bool = False, on_recording: Callable[[int], object] = lambda _: None
) -> CopyReport:
    """Copy the recordings that the target lacks or has in another state; the target is created if it does not exist.

    An interrupted call is continued by the next one.

    Args:
        source: the index to copy.
        target: location of the copy.
        mirror: delete recordings that only the target has, at the end.
        on_recording: called after each recording with their total number.

    Raises:
        StoreError: the source is empty, or the target holds embeddings of another model or cannot be written.
    """
    total = source.count(RECORDING)
    first = next(source.points({KIND: CLIP}), None)
    if first is None or first.vector is None:
        raise StoreError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")
    store = target.open() if target.exists() else target.create(source.space, source.model, len(first.vector), source.phonetic)
    report = CopyReport(total)
    with store:
        if store.space != source.space:
            raise StoreError(f"The index {target} holds embeddings of {store.space}, not of {source.space}.")
        if source.phonetic and not store.phonetic:
            store.add_phonetic(source.phonetic)
        store.ensure_fields(source.schema())
        calibration = read_calibration(source)
        is_calibrated_alike = calibration == read_calibration(store)
        existing = {point.id: point.payload for point in store.points({KIND: RECORDING})}
        ids = set()
        for recording in source.points({KIND: RECORDING}):
            ids.add(recording.id)
            if existing.get(recording.id) != recording.payload or not is_calibrated_alike:
                clips = list(source.points({KIND: CLIP, "content": recording.payload["content"]}))
                store.upsert([*clips, recording])
                report.copied += 1
                report.clips += len(clips)
            on_recording(total)
        if mirror:
            for content in (payload["content"] for id, payload in existing.items() if id not in ids):
                store.delete({"content": content})
                report.dropped += 1
        if not is_calibrated_alike:
            write_calibration(store, calibration)
        _copy_taught(source, store, mirror=mirror)
        store.optimise()
        catalog = Catalog(store)
        catalog.save_cache()
        cache_statistics(store, catalog)
    return report


def export_vectors(store: Store, out: Path) -> int:
    """Write every clip and its vector to a file for other tools, and return their number.

    .npz: `vectors` float32 [clips, dimension], `clips` "recording#start-end", `payloads` as JSON. .parquet: one row per clip,
    the payload flattened to columns ("attributes.gender"), and `vector`; needs the package pyarrow.

    Raises:
        StoreError: the file has another suffix, or there are no clips.
    """
    if out.suffix not in VECTOR_SUFFIXES:
        raise StoreError(f"{out} is neither .npz nor .parquet.")
    clips = list(store.points({KIND: CLIP}))
    if not clips:
        raise StoreError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")
    payloads, vectors = [clip.payload for clip in clips], np.stack([clip.vector for clip in clips if clip.vector is not None])
    if out.suffix == ".parquet":
        _write_parquet(payloads, vectors, out)
    else:
        names = [f"{payload['recording']}#{payload['start']}-{payload['end']}" for payload in payloads]
        texts = [json.dumps(payload, ensure_ascii=False) for payload in payloads]
        np.savez(out, vectors=vectors, clips=np.array(names), payloads=np.array(texts))
    return len(clips)


def _write_parquet(payloads: list[dict[str, Any]], vectors: np.ndarray, out: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [_flat(payload) for payload in payloads]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    width = pyarrow.list_(pyarrow.float32(), vectors.shape[1])
    columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), type=width)
    parquet.write_table(pyarrow.table(columns), out)


def _flat(payload: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in payload.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
