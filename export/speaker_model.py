"""Speaker models: a trained speaker network -> a model folder.

python -m voxdex.export.speaker_model runs/speaker --out runs/models/speaker
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
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

NAME, VERSION, LICENCE = "speaker", "1", "Apache-2.0"
DESCRIPTION = "A speaker model: who speaks, whatever is said and however, 7 million parameters."
TOWERS = """
## Where the network comes from

CAM++ (Wang et al. 2023, "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware Masking") with the
weights `speech_campplus_sv_zh_en_16k-common_advanced` of the [3D-Speaker](https://github.com/modelscope/3D-Speaker) project
(Apache 2.0), which were trained on Chinese and English speech; on which exactly is not published. The last layer was trained
further, on the data above.
"""

LEAST_COSINE = 0.9999
"""Worst cosine of the graph, whose weights are stored in half precision, with torch."""


def write_speaker_model(run: Path, out: Path, thresholds: SpeakerThresholds) -> float:
    """Export a run of encoders.training.scripts.speaker to a model folder; return the worst cosine of its graph with torch.

    Raises:
        ExportError: the folder exists, or the graph does not agree with torch.
    """
    if out.exists():
        raise ExportError(f"{out} exists already. Choose another --out, or delete it.")
    trained = json.loads((run / "run.json").read_text(encoding="utf-8"))
    network = SpeakerNetwork()
    network.load_state_dict(torch.load(run / "network.pt", weights_only=True))
    out.mkdir(parents=True)
    most, least = (int(seconds * SAMPLE_RATE) for seconds in (MOST_SECONDS, LEAST_SECONDS))
    samples = torch.export.Dim("samples", min=least, max=most)
    graph = trace(SpeakerGraph(network.eval()), {"waveform": 0.1 * torch.randn(1, 40_000)}, ({1: samples},))
    save_graph(stored_in_half(graph), out / SPEECH)
    card = ModelCard(
        name=NAME,
        version=VERSION,
        description=DESCRIPTION,
        licence=LICENCE,
        trained_on=trained["trained_on"],
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
        metrics={"evaluation": list(map(_metric, trained["errors"]))},
        text="none",
        speakers=thresholds,
    )
    write_card(card, out)
    worst = _worst_cosine(network, SpeakerModel(out, "cpu"))
    if worst < LEAST_COSINE:
        raise ExportError(f"The graph does not agree with torch: the worst cosine is {worst:.6f}.")
    (out / README).write_text(speaker_card(card, TOWERS), encoding="utf-8")
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


def _metric(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return an equal error rate of a run as an entry of model.json."""
    counts = {name: error[name] for name in ("speakers", "clips", "published")}
    return {"name": "equal error rate", "set": f"{error['name']}, {error['condition']}", "value": error["rate"], **counts}


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The model folder.")
@click.option(
    "--thresholds", nargs=3, type=float, default=(0.4, 0.35, 0.55), show_default=True,
    help="Cosines from which on one person speaks: of clips, of groups in one recording, and in several.",
)  # fmt: skip
def main(run: Path, out: Path, thresholds: tuple[float, float, float]) -> None:
    """Export a trained speaker model. The thresholds are chosen with benchmarks.speakers --train."""
    click.echo(f"The worst cosine with torch is {write_speaker_model(run, out, SpeakerThresholds(*thresholds)):.6f}.")


if __name__ == "__main__":
    main()
