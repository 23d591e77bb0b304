"""A network, its tokenizer and what is to be said of it -> a model folder, checked against torch."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioError
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.model import Model
from voxdex.encoders.model_card import CARD, README, TOKENIZER, ModelCard, Phonetics
from voxdex.encoders.onnx_session import CUDA
from voxdex.encoders.paths import file_sha256, move
from voxdex.encoders.training.initial import Bundle
from voxdex.export.card import model_card
from voxdex.export.graph_files import MOST_BYTES
from voxdex.export.graphs import OPSET, Graphs, trace_graphs, write_graphs
from voxdex.export.parity import LEAST_COSINE, Parity, measure_parity, recorded_clips, synthetic_clips
from voxdex.export.speed import measure_speed

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
    """What a model folder says beside its numbers.

    max_seconds: longest clip to embed. hears, does_not_hear, teacher: prose for the model card, if any.
    """

    name: str
    version: str = "1"
    description: str = ""
    licence: str = "not stated"
    trained_on: list[dict[str, Any]] = field(default_factory=list)
    prompt_templates: list[str] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    max_seconds: float = 10.0
    scales: dict[str, float] = field(default_factory=dict)
    phoneme_shares: list[float] = field(default_factory=list)
    intelligibility: list[list[float]] = field(default_factory=list)
    hears: str = ""
    does_not_hear: str = ""
    teacher: str = ""


def write_model(
    model: Bundle,
    about: ModelInfo,
    out: Path,
    precision: str = "fp32",
    clips: Path | None = None,
    on_stage: Callable[[str], object] = lambda stage: None,
    most_bytes: int = MOST_BYTES,
) -> Parity:
    """Writes a model folder, whole or not at all.

    Args:
        model: the network, its description and its tokenizer.
        about: what model.json and the model card say.
        out: the model folder; it must not exist.
        precision: "fp32", "fp16" (for GPUs), "int8" or "int8-static" (for CPUs); or "auto", the quickest that agrees with torch
            of fp16, where CUDA works, int8, where there are recordings to tell by, and fp32.
        clips: a folder of recordings for the parity report, every other one of which calibrates int8-static; None takes
            synthetic sounds.
        on_stage: is told what begins.
        most_bytes: a graph with more weights than this keeps them in a file of their own.

    Raises:
        ExportError: `out` exists, `clips` has no recordings or is missing for int8-static, or the graphs do not agree with
            torch as well as their precision promises (int8 never fails; its parity says how well).
    """
    if precision == STATIC and clips is None:
        raise ExportError(f"{STATIC} is calibrated with recordings: say where some are with --clips FOLDER.")
    if out.exists():
        raise ExportError(f"{out} is there already. Choose another place, or delete it.")
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
                traced[half] = trace_graphs(model.network, half)
            on_stage(f"writing the graphs in {candidate}")
            write_graphs(traced[half], folder, candidate, most_bytes, sounds[::2] if candidate == STATIC else ())
            parity = _describe(model, about, folder, candidate, sounds, kind, on_stage)
            if parity.holds:
                break
        if not parity.holds and not parity.precision.startswith("int8"):
            raise ExportError(
                f"The {parity.precision} graphs do not agree with torch: the worst cosine is {parity.worst:.6f}, under "
                f"{LEAST_COSINE[parity.precision]}."
            )
        move(folder, out)
    return parity


def _candidates(clips: Path | None) -> list[str]:
    """The precisions that serve this machine, the quickest first."""
    if torch.cuda.is_available() and CUDA in onnxruntime.get_available_providers():
        return ["fp16", "fp32"]
    return ["int8", "fp32"] if clips else ["fp32"]


def _describe(
    model: Bundle,
    about: ModelInfo,
    folder: Path,
    precision: str,
    sounds: list[np.ndarray],
    kind: str,
    on_stage: Callable[[str], object],
) -> Parity:
    """Writes what belongs to the graphs of a folder, and compares them with torch."""
    model.tokenizer.save(str(folder / TOKENIZER))
    card = ModelCard(
        name=about.name,
        version=about.version,
        description=about.description,
        licence=about.licence,
        trained_on=about.trained_on,
        dimension=model.network.dimension,
        sample_rate=SAMPLE_RATE,
        max_seconds=about.max_seconds,
        prompt_templates=about.prompt_templates,
        normalisation=NORMALISATIONS[model.architecture["speech_tower"]["kind"]],
        opset=OPSET,
        precision=precision,
        logit_scale=round(model.network.logit_scale.item(), 4),
        architecture=model.architecture,
        sha256={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        metrics={"figures": about.figures},
        scales=about.scales,
        **_text_side(model, about),
    )
    _write_card(card, folder)
    on_stage(f"comparing {len(sounds)} clips with torch")
    exported = Model(folder, device="cpu")
    parity = measure_parity(model.network, exported, kind, sounds)
    card = replace(card, metrics=card.metrics | {"parity": asdict(parity), "speed": asdict(measure_speed(exported))})
    prose = model_card(card, about.hears, about.does_not_hear, about.teacher)
    (folder / README).write_text(prose, encoding="utf-8")
    _write_card(replace(card, sha256=card.sha256 | {README: file_sha256(folder / README)}), folder)
    return parity


def _text_side(model: Bundle, about: ModelInfo) -> dict[str, Any]:
    """What model.json says of what the text side eats."""
    if model.architecture["text_tower"]["kind"] != "phonemes":
        return {"text": "captions"}
    frame_seconds = model.network.speech_tower.hop / SAMPLE_RATE
    return {"text": "phonemes", "phonetics": Phonetics(frame_seconds, about.phoneme_shares, about.intelligibility)}


def _write_card(card: ModelCard, folder: Path) -> None:
    (folder / CARD).write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
