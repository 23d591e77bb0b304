"""The pipeline on a Ray cluster: its machines decode and embed, and the calling process writes."""

import logging
import os
import pickle
import socket
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from voxdex.encoders.model import open_model
from voxdex.encoders.onnx_session import parse_device
from voxdex.encoders.packages import missing_package
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.zero_shot import Calibration
from voxdex.indexer.location import model_reference
from voxdex.indexer.pipeline.decoder import Decoder, RecordingDone, Segmentation, read_recording
from voxdex.indexer.pipeline.embedder import BATCH_CLIPS, Embedder, EmbedEvent, EmbedJob
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.taught import TaughtLabel

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Environment of Ray: no usage reports, no log of errors that are reported here anyway."""
CONNECT_SECONDS = 5.0
"""Timeout of the connection to a cluster."""
LONE_CORE = 0.5
"""Cores for the decoder and for the embedder of a cluster with one core."""


def embed_on_ray(job: EmbedJob, *, address: str, device: str = "auto") -> Iterator[list[EmbedEvent]]:
    """Decode and embed recordings on a Ray cluster; see EmbedBackend. Copies of a content are decoded more than once.

    Recordings and model folders have the same paths on every machine.

    Args:
        job: what to embed.
        address: HOST:PORT of the cluster; "auto" for the one of this machine, "local" to start one.
        device: for embedding; see open_model. "auto" uses the cluster's GPUs, if it has any.

    Raises:
        StoreError: Ray is not installed, the cluster cannot be reached or lacks the device, or it gives up; what was written
            is kept.
    """
    ray = _connect(address)
    plan = plan_actors([node["Resources"] for node in ray.nodes() if node["Alive"]], device)
    events = _in_order(_run(ray, job, plan))
    while batch := list(islice(events, BATCH_CLIPS)):
        yield batch


@dataclass(frozen=True)
class ActorPlan:
    """The actors of a run: numbers of decoders and embedders, cores and GPUs of each embedder, and its device."""

    decoders: int
    embedders: int
    cores: float
    gpus: int
    device: str


def plan_actors(machines: Sequence[Mapping[str, float]], device: str) -> ActorPlan:
    """Distribute the cores and GPUs of a cluster.

    Args:
        machines: the resources of each machine, as Ray reports them ("CPU", "GPU").
        device: for embedding; see open_model.

    Raises:
        StoreError: the cluster lacks the device, or Ray cannot assign it.
    """
    spec, each_cores = parse_device(device), [int(machine.get("CPU", 0)) for machine in machines]
    cores, gpus = max(1, sum(each_cores)), sum(int(machine.get("GPU", 0)) for machine in machines)
    if spec.kind == "cuda" and not gpus:
        raise StoreError(
            "--device cuda was given, but the Ray cluster has no GPU: add a machine with one, or use --device cpu."
        )
    if device.startswith("cuda:"):
        raise StoreError(f"--device {device} names GPUs of one machine, but Ray assigns its GPUs itself: use --device cuda.")
    if gpus and spec.kind != "cpu":
        return ActorPlan(max(1, cores - gpus), gpus, 0, 1, spec.kind)
    threads, most = spec.threads or 1, max([1, *each_cores])
    if threads > most:
        raise StoreError(f"--device {device} was given, but no machine of the Ray cluster has more than {most} cores.")
    if cores == 1:
        return ActorPlan(1, 1, LONE_CORE, 0, "cpu:1")
    decoders = max(1, min(cores // 2, cores - threads))
    reserved = min(threads, cores - decoders)
    return ActorPlan(decoders, (cores - decoders) // reserved, reserved, 0, f"cpu:{threads}")


class DecoderActor:
    """A Ray actor that decodes and segments recordings.

    Args:
        known_hashes: contents that are not decoded.
        segmentation: how the others are cut into clips.
    """

    def __init__(self, known_hashes: Collection[str], segmentation: Segmentation) -> None:
        self._known_hashes, self._decoder = known_hashes, Decoder(segmentation)

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number, event in enumerate(read_recording(row["path"], self._decoder, self._known_hashes.__contains__)):
            yield {"event": pickle.dumps(event), "before": number}


class EmbedderActor:
    """A Ray actor that embeds clips.

    Args:
        model: name or folder of a model, on every machine.
        phonetic_model: the same of a phonetic model; None for none.
        device: see open_model.
        calibration: of the predicted labels.
        taught: labels that were taught to the index.
    """

    def __init__(
        self, model: str, phonetic_model: str | None, device: str, calibration: Calibration, taught: Sequence[TaughtLabel] = ()
    ) -> None:
        phonetic = open_phonetic_model(phonetic_model, device, bulk=True) if phonetic_model else None
        self._embed = Embedder(open_model(model, device, bulk=True), phonetic, calibration, taught)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        events = self._embed([pickle.loads(event) for event in batch["event"]])
        return {"event": [pickle.dumps(event) for event in events], "before": batch["before"]}


def _run(ray: ModuleType, job: EmbedJob, plan: ActorPlan) -> Iterator[tuple[EmbedEvent, int]]:
    """Yield the actors' events in any order, each with the number of earlier events of its recording."""
    decoding = (frozenset(job.known_hashes), Segmentation(job.model.card.max_seconds, job.vad))
    phonetic = model_reference(job.phonetic_model) if job.phonetic_model else None
    resources = {"num_gpus": plan.gpus} if plan.gpus else {"num_cpus": plan.cores}
    try:
        events = (
            ray.data.from_items([{"path": path} for path in job.paths])
            .flat_map(
                DecoderActor,
                fn_constructor_args=decoding,
                concurrency=(1, plan.decoders),
                num_cpus=LONE_CORE if plan.cores == LONE_CORE else 1,
            )
            .map_batches(
                EmbedderActor,
                fn_constructor_args=(model_reference(job.model), phonetic, plan.device, job.calibration, job.taught),
                batch_size=BATCH_CLIPS,
                concurrency=(1, plan.embedders),
                **resources,
            )
        )
        for batch in events.iter_batches(batch_size=BATCH_CLIPS, batch_format="numpy"):
            yield from zip(map(pickle.loads, batch["event"]), batch["before"].tolist(), strict=True)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StoreError(
            f"The Ray cluster gave up ({reason}). What was written is kept: run the same command again."
        ) from error


def _in_order(events: Iterable[tuple[EmbedEvent, int]]) -> Iterator[EmbedEvent]:
    """Hold each RecordingDone back until all earlier events of its recording have arrived."""
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
    """Connect to a cluster, or start one; return the module `ray`."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise StoreError(f"{missing_package('--backend ray', error.name, 'ray')}.") from error
    host = urlsplit(address if "//" in address else f"//{address}")
    try:
        if host.port:  # Ray itself would wait for minutes
            socket.create_connection((host.hostname, host.port), CONNECT_SECONDS).close()
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"There is no Ray cluster at {address!r} ({error}). Start one with `ray start --head`.") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
