"""Speaker models: a trained speaker network -> a model folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxdex.encoders.model_card import README, SPEECH, ModelCard, SpeakerThresholds
from voxdex.encoders.networks.campplus import SAMPLE_RATE, SpeakerNetwork
from voxdex.encoders.paths import file_sha256
from voxdex.encoders.speaker import LEAST_SECONDS, MOST_SECONDS, SpeakerModel
from voxdex.export.card import speaker_card
from voxdex.export.graphs import OPSET, SpeakerGraph, trace
from voxdex.export.model_folder import ExportError, write_card
from voxdex.export.precision import save_graph, stored_in_half

LEAST_COSINE = 0.9999
"""Worst cosine of the graph, whose weights are stored in half precision, with torch."""


@dataclass(frozen=True)
class SpeakerInfo:
    """Fields of model.json of a speaker model that are not derived from the network; see ModelCard.

    towers: prose on where the network comes from.
    """

    name: str
    version: str
    description: str
    licence: str
    trained_on: list[dict[str, Any]]
    evaluation: list[dict[str, Any]]
    thresholds: SpeakerThresholds
    towers: str


def write_speaker_model(network: SpeakerNetwork, info: SpeakerInfo, out: Path) -> float:
    """Write a model folder, and return the worst cosine of its graph with torch.

    Raises:
        ExportError: the folder exists, or the graph does not agree with torch.
    """
    if out.exists():
        raise ExportError(f"{out} exists already. Choose another --out, or delete it.")
    out.mkdir(parents=True)
    most, least = (int(seconds * SAMPLE_RATE) for seconds in (MOST_SECONDS, LEAST_SECONDS))
    samples = torch.export.Dim("samples", min=least, max=most)
    graph = trace(SpeakerGraph(network.eval()), {"waveform": 0.1 * torch.randn(1, 40_000)}, ({1: samples},))
    save_graph(stored_in_half(graph), out / SPEECH)
    card = ModelCard(
        name=info.name,
        version=info.version,
        description=info.description,
        licence=info.licence,
        trained_on=info.trained_on,
        dimension=network.dense.out_features,
        sample_rate=SAMPLE_RATE,
        max_seconds=10.0,
        prompt_templates=[],
        normalisation="log-mel less its mean inside speech.onnx, unit-length output",
        opset=OPSET,
        precision="fp32, stored in fp16",
        logit_scale=1.0,
        architecture={"speech_tower": {"kind": "campplus"}},
        sha256={SPEECH: file_sha256(out / SPEECH)},
        metrics={"evaluation": info.evaluation},
        text="none",
        speakers=info.thresholds,
    )
    write_card(card, out)
    worst = _worst_cosine(network, SpeakerModel(out, "cpu"))
    if worst < LEAST_COSINE:
        raise ExportError(f"The graph does not agree with torch: the worst cosine is {worst:.6f}.")
    (out / README).write_text(speaker_card(card, info.towers), encoding="utf-8")
    write_card(replace(card, sha256=card.sha256 | {README: file_sha256(out / README)}), out)
    return worst


def _worst_cosine(network: SpeakerNetwork, model: SpeakerModel) -> float:
    """Return the least cosine of the graph and the network on noises of several lengths."""
    rng = np.random.default_rng(0)
    lengths = np.geomspace(LEAST_SECONDS * SAMPLE_RATE, MOST_SECONDS * SAMPLE_RATE, 8).astype(int)
    noises = [(0.1 * rng.standard_normal(length)).astype(np.float32) for length in lengths]
    with torch.inference_mode():
        expected = [network(torch.from_numpy(noise)[None])[0].numpy() for noise in noises]
    return min(float(one @ other) for one, other in zip(expected, model.embed_speech(noises), strict=True))
