"""Model folders: written from a network, a tokenizer and a description, and checked against torch."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.model import Model
from voxdex.encoders.model_card import CARD, README, TOKENIZER, ModelCard, Phonetics
from voxdex.encoders.networks.scraps import acoustic_tower
from voxdex.encoders.onnx_session import CUDA
from voxdex.encoders.paths import file_sha256, move
from voxdex.encoders.training.initial import RUN, TrainingBundle, load_trained
from voxdex.export.card import model_card
from voxdex.export.graphs import OPSET, Graphs, trace_graphs, write_graphs
from voxdex.export.precision import MAX_BYTES
from voxdex.export.report import MIN_COSINE, Parity, measure_parity, measure_speed, recorded_clips, synthetic_clips

AUTO, STATIC = "auto", "int8-static"
NORMALISATIONS = {
    "convnext": "level-normalised log-mel inside speech.onnx, unit-length output",
    "whisper": "log-mel as Whisper takes it inside speech.onnx, unit-length output",
    "acoustic": "level-normalised log-mel inside speech.onnx, unit-length output",
    "pretrained": "waveform of zero mean and unit variance inside speech.onnx, unit-length output",
}


class ExportError(VoxdexError):
    """A model that cannot be exported."""


@dataclass(frozen=True)
class ModelInfo:
    """Fields of model.json and of the model card that are not derived from the network.

    evaluation: metrics as plain data. max_seconds: longest clip to embed. scales, hears, does_not_hear, phoneme_prior,
    intelligibility: see ModelCard. notes, towers: prose for the model card, on what it hears and where its towers come from;
    "" for none.
    """

    name: str
    version: str = "1"
    description: str = ""
    licence: str = "not stated"
    trained_on: list[dict[str, Any]] = field(default_factory=list)
    prompt_templates: list[str] = field(default_factory=list)
    evaluation: list[dict[str, Any]] = field(default_factory=list)
    max_seconds: float = 10.0
    scales: dict[str, float] = field(default_factory=dict)
    phoneme_prior: list[float] = field(default_factory=list)
    intelligibility: list[list[float]] = field(default_factory=list)
    hears: dict[str, list[str]] = field(default_factory=dict)
    does_not_hear: list[str] = field(default_factory=list)
    notes: str = ""
    towers: str = ""


def write_model(
    model: TrainingBundle,
    info: ModelInfo,
    out: Path,
    precision: str = "fp32",
    clips: Path | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
    max_bytes: int = MAX_BYTES,
) -> Parity:
    """Write a model folder; nothing is left if it fails.

    Args:
        model: the network, its description and its tokenizer.
        info: further fields of model.json and the model card.
        out: the model folder; it must not exist.
        precision: "fp32", "fp16" (for GPUs), "int8" or "int8-static" (for CPUs), "compact" (see write_graphs); or "auto", the
            fastest that agrees with torch: fp16 where CUDA works, int8 where there are `clips`, else fp32.
        clips: a folder of recordings for the parity report, half of which calibrate int8-static; None uses synthetic sounds.
        on_stage: called with a description of each stage when it begins.
        max_bytes: size from which a graph keeps its weights in a separate file.

    Raises:
        ExportError: `out` exists, `clips` has no recordings or is missing for int8-static, or the graphs do not agree with
            torch as well as their precision must (int8 never fails; see its parity).
    """
    if precision == STATIC and clips is None:
        raise ExportError(f"{STATIC} is calibrated with recordings: give a folder with --clips FOLDER.")
    if out.exists():
        raise ExportError(f"{out} exists already. Choose another --out, or delete it.")
    try:
        sounds = recorded_clips(clips) if clips else synthetic_clips()
    except AudioError as error:
        raise ExportError(f"{error}.") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    kind = "recordings" if clips else "synthetic"
    traced: dict[bool, Graphs] = {}
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as partial:
        for candidate in _candidates(clips) if precision == AUTO else [precision]:
            folder = Path(partial) / candidate
            folder.mkdir()
            if (half := candidate == "fp16") not in traced:
                on_stage(f"tracing the graphs in {'fp16' if half else 'fp32'}")
                traced[half] = trace_graphs(model.network, half=half)
            on_stage(f"writing the graphs in {candidate}")
            write_graphs(traced[half], folder, candidate, max_bytes, sounds[::2] if candidate == STATIC else ())
            parity = _describe(model, info, folder, candidate, sounds, kind, on_stage)
            if parity.holds:
                break
        if not parity.holds and not parity.precision.startswith("int8"):
            raise ExportError(
                f"The {parity.precision} graphs do not agree with torch: the worst cosine is {parity.worst:.6f}, under "
                f"{MIN_COSINE[parity.precision]}."
            )
        move(folder, out)
    return parity


def _candidates(clips: Path | None) -> list[str]:
    """Return the precisions that suit this machine, fastest first."""
    if torch.cuda.is_available() and CUDA in onnxruntime.get_available_providers():
        return ["fp16", "fp32"]
    return ["int8", "fp32"] if clips else ["fp32"]


def _describe(
    model: TrainingBundle,
    info: ModelInfo,
    folder: Path,
    precision: str,
    sounds: list[np.ndarray],
    kind: str,
    on_stage: Callable[[str], object],
) -> Parity:
    """Write tokenizer, model.json and model card beside the graphs of a folder, and compare the graphs with torch."""
    model.tokenizer.save(str(folder / TOKENIZER))
    card = ModelCard(
        name=info.name,
        version=info.version,
        description=info.description,
        licence=info.licence,
        trained_on=info.trained_on,
        dimension=model.network.dimension,
        sample_rate=SAMPLE_RATE,
        max_seconds=info.max_seconds,
        prompt_templates=info.prompt_templates,
        normalisation=NORMALISATIONS[model.architecture["speech_tower"]["kind"]],
        opset=OPSET,
        precision=precision,
        logit_scale=round(model.network.logit_scale.item(), 4),
        architecture=model.architecture,
        sha256={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        metrics={"evaluation": info.evaluation},
        scales=info.scales,
        hears=info.hears,
        does_not_hear=info.does_not_hear,
        **_text_side(model, info),
    )
    write_card(card, folder)
    on_stage(f"comparing {len(sounds)} clips with torch")
    exported = Model(folder, device="cpu")
    parity = measure_parity(model.network, exported, kind, sounds)
    card = replace(card, metrics=card.metrics | {"parity": asdict(parity), "speed": asdict(measure_speed(exported))})
    prose = model_card(card, info.notes, info.towers)
    (folder / README).write_text(prose, encoding="utf-8")
    write_card(replace(card, sha256=card.sha256 | {README: file_sha256(folder / README)}), folder)
    return parity


def _text_side(model: TrainingBundle, info: ModelInfo) -> dict[str, Any]:
    """Return the fields of model.json about the input of the text side."""
    if model.architecture["text_tower"]["kind"] != "phonemes":
        return {"text": "captions"}
    frame_seconds = acoustic_tower(model.network).hop / SAMPLE_RATE
    return {"text": "phonemes", "phonetics": Phonetics(frame_seconds, info.phoneme_prior, info.intelligibility)}


def write_card(card: ModelCard, folder: Path) -> None:
    """Write model.json."""
    (folder / CARD).write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def export_run(
    run: Path,
    out: Path,
    precision: str = "fp32",
    clips: Path | None = None,
    name: str | None = None,
    metrics_from: Path | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
) -> Parity:
    """Export a finished run to a model folder; see write_model.

    Args:
        run: the run's folder.
        out, precision, clips, on_stage: see write_model.
        name: the model's name; None for that of the recipe's card, else of `out` (of the run, for RUN/model).
        metrics_from: a run of the same recipe with held-out clips, whose metrics and scales the model gets.

    Raises:
        ExportError: the run is not finished, or write_model's reasons.
        SourceError: the run's weights cannot be read.
    """
    trained = _read_run(run)
    held_out = _read_run(metrics_from) if metrics_from else trained
    known = {field.name for field in fields(ModelInfo)}
    stated = {key: value for key, value in trained["recipe"]["card"].items() if key in known}
    default = run.name if out.parent == run else out.name
    licences = sorted({row["licence"] for row in trained["trained_on"]})
    info = ModelInfo(
        **{"name": name or default, "description": f"Trained by the recipe {trained['recipe']['name']}."}
        | {"licence": f"that of its data: {', '.join(licences)}"}
        | stated
        | ({"name": name} if name else {}),
        trained_on=trained["trained_on"],
        evaluation=held_out["metrics"],
        scales=held_out.get("scales", {}),
        hears=held_out.get("hears", {}),
        phoneme_prior=trained.get("phoneme_prior", []),
        intelligibility=held_out.get("intelligibility", []),
    )
    return write_model(load_trained(str(run)), info, out, precision, clips, on_stage)


def _read_run(run: Path) -> dict[str, Any]:
    try:
        description = json.loads((run / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{run} is not a training run: its {RUN} cannot be read ({error}).") from error
    if "metrics" not in description:
        raise ExportError(f"The run in {run} is not finished: run the same `train` command again to resume it.")
    return description
