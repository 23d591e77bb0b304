"""python -m export RUN --card CARD.json --out FOLDER: a training run of encoders.training.train -> a model folder."""

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import click
import numpy as np
from safetensors.torch import load_file

from encoders.audio import read_audio
from encoders.model import Model
from encoders.model_folder import CARD, SPEECH, TEXT, TOKENIZER, ModelCard, file_sha256
from encoders.training.train import build_network
from export import OPSET, export_graphs, measure_parity

CAPTIONS = ["a sad woman", "Deep, calm male voice, speaking slowly.", "she sounds terrified", "whispered"]


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--card", type=click.Path(exists=True, path_type=Path), required=True, help="Name, licence and so on as JSON.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option(
    "--clips", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Recordings for the parity report."
)
def main(run: Path, card: Path, out: Path, clips: Path | None) -> None:
    """Export a training run and check that ONNX Runtime agrees with torch."""
    settings = json.loads((run / "run.json").read_text())
    network = build_network(settings["recipe"])
    network.load_state_dict(load_file(run / "weights.safetensors"))
    out.mkdir(parents=True, exist_ok=True)
    export_graphs(network, out)
    shutil.copy(run / TOKENIZER, out / TOKENIZER)
    facts = {
        "dimension": network.dimension,
        "sample_rate": 16_000,
        "max_seconds": 10.0,
        "normalisation": "level-normalised log-mel inside speech.onnx; unit-length output",
        "opset": OPSET,
        "precision": "fp32",
        "logit_scale": round(network.logit_scale.item(), 4),
        "sha256": {name: file_sha256(out / name) for name in (SPEECH, TEXT, TOKENIZER)},
    }
    described = json.loads(card.read_text(encoding="utf-8")) | facts
    ordered = {field.name: described[field.name] for field in fields(ModelCard)}
    (out / CARD).write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    rng = np.random.default_rng(0)
    sounds = [0.1 * rng.standard_normal(int(rng.uniform(0.2, 10) * 16_000)).astype(np.float32) for _ in range(32)]
    if clips:
        sounds = [read_audio(path)[:160_000] for path in sorted(path for path in clips.rglob("*") if path.is_file())[:64]]
    print(json.dumps(asdict(measure_parity(network, Model(out), sounds, CAPTIONS)), indent=2))


if __name__ == "__main__":
    main()
