"""The stages of indexing on a Ray cluster: its machines read and embed, and one process, the caller's, writes."""

import logging
import os
import pickle
import socket
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from voxdex.encoders.model import Model, open_model
from voxdex.encoders.phonetic.model import PhoneticModel, open_phonetic_model
from voxdex.indexer.location import reference
from voxdex.indexer.pipeline.decoder import Decoder
from voxdex.indexer.pipeline.embedder import BATCH_CLIPS, Embedder, EmbedEvent
from voxdex.indexer.pipeline.reader import RecordingDone, read_one
from voxdex.indexer.store.base import StoreError

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Settings of Ray: it reports to nobody, and what goes wrong is said once."""
REACHED_SECONDS = 5.0
"""In which a cluster answers."""
LONE_CORE = 0.5
"""Cores for a reader or an embedder where there is but one core for both."""


class Reading:
    """An actor that decodes recordings, and cuts and measures their clips.

    Args:
        held: contents that are indexed.
        clip_seconds, everything: see Reader.
    """

    def __init__(self, held: Collection[str], clip_seconds: float, everything: bool) -> None:
        self._held, self._decoder = held, Decoder(clip_seconds, everything)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number, event in enumerate(read_one(row["path"], self._decoder, self._held.__contains__)):
            yield {"event": pickle.dumps(event), "before": number}


class Embedding:
    """An actor that embeds clips.

    Args:
        model, listener: names or folders of models, on every machine; None for no listener.
        device: see open_model.
    """

    def __init__(self, model: str, listener: str | None, device: str) -> None:
        heard = open_phonetic_model(listener, device, bulk=True) if listener else None
        self._embed = Embedder(open_model(model, device, bulk=True), heard)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        events = self._embed([pickle.loads(event) for event in batch["event"]])
        return {"event": [pickle.dumps(event) for event in events], "before": batch["before"]}


def embed_on_ray(
    paths: Sequence[str],
    held: Collection[str],
    model: Model,
    listener: PhoneticModel | None,
    everything: bool,
    address: str,
) -> Iterator[list[EmbedEvent]]:
    """See Read. Every machine must find the recordings and the models under the same path or name.

    Args:
        paths, held, model, listener, everything: see Read.
        address: of the cluster; "local" for one on this machine.

    Raises:
        StoreError: the cluster cannot be reached, or gives up; what was written until then is kept.
    """
    names = (reference(model), reference(listener) if listener else None)
    events = _whole(_run(_connect(address), paths, (frozenset(held), model.card.max_seconds, everything), names))
    while batch := list(islice(events, BATCH_CLIPS)):
        yield batch


def _run(
    ray: ModuleType,
    paths: Sequence[str],
    reading: tuple[frozenset[str], float, bool],
    models: tuple[str, str | None],
) -> Iterator[tuple[EmbedEvent, int]]:
    """What the actors tell, in any order, and how many events of its recording came before each."""
    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    readers = max(1, cores // 2) if not gpus else max(1, cores - gpus)
    embedders = gpus or max(1, cores - readers)
    share = {"num_gpus": 1} if gpus else {"num_cpus": 1 if cores > 1 else LONE_CORE}
    events = (
        ray.data.from_items([{"path": path} for path in paths])
        .flat_map(
            Reading,
            fn_constructor_args=reading,
            concurrency=(1, readers),
            num_cpus=1 if cores > 1 else LONE_CORE,
        )
        .map_batches(
            Embedding,
            fn_constructor_args=(*models, "cuda" if gpus else "cpu:1"),
            batch_size=BATCH_CLIPS,
            concurrency=(1, embedders),
            **share,
        )
    )
    try:
        for batch in events.iter_batches(batch_size=BATCH_CLIPS, batch_format="numpy"):
            yield from zip(map(pickle.loads, batch["event"]), batch["before"].tolist(), strict=True)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StoreError(
            f"The Ray cluster gave up ({reason}). What was written is kept: run the same command again."
        ) from error


def _whole(events: Iterable[tuple[EmbedEvent, int]]) -> Iterator[EmbedEvent]:
    """Puts off that a recording is done until all that came before that, on whatever machine, is here."""
    seen: Counter[str] = Counter()
    early: dict[str, tuple[RecordingDone, int]] = {}
    for event, before in events:
        if isinstance(event, RecordingDone):
            early[event.path] = event, before
        else:
            seen[event.path] += 1
            yield event
        if event.path in early and early[event.path][1] == seen[event.path]:
            yield early.pop(event.path)[0]


def _connect(address: str) -> ModuleType:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise StoreError(f"--engine ray needs the package {error.name}: pip install 'voxdex[cpu,server,ray]'.") from error
    host = urlsplit(address if "//" in address else f"//{address}")
    try:
        if host.port:  # Ray itself would wait for minutes
            socket.create_connection((host.hostname, host.port), REACHED_SECONDS).close()
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"There is no Ray cluster at {address!r} ({error}). Start one with `ray start --head`.") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
