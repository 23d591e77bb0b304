"""python -m export RUN --out FOLDER: a training run of encoders.training.train -> a model folder."""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click
from safetensors.torch import load_file

from encoders.audio import MEDIA_SUFFIXES, SAMPLE_RATE, read_audio
from encoders.model import Model
from encoders.model_folder import CARD, README, SPEECH, TEXT, TOKENIZER, ModelCard, file_sha256
from encoders.training.train import build_network
from export.card import model_card
from export.graphs import OPSET, export_graphs
from export.parity import measure_parity

MAX_SECONDS = 10.0
LEAST_COSINE = 0.99999
CAPTIONS = ["a sad woman", "Deep, calm male voice, speaking slowly.", "she sounds terrified", "whispered"]


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option(
    "--clips",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Recordings of many lengths for the parity report.",
)
def main(run: Path, out: Path, clips: Path) -> None:
    """Export a training run and check that ONNX Runtime agrees with torch."""
    trained = json.loads((run / "run.json").read_text(encoding="utf-8"))
    about = trained["recipe"]["card"]
    network = build_network(trained["recipe"])
    network.load_state_dict(load_file(run / "weights.safetensors"))
    out.mkdir(parents=True, exist_ok=True)
    export_graphs(network, out)
    shutil.copy(run / TOKENIZER, out / TOKENIZER)
    card = ModelCard(
        name=about["name"],
        version=about["version"],
        description=about["description"],
        licence=about["licence"],
        trained_on=trained["trained_on"],
        dimension=network.dimension,
        sample_rate=SAMPLE_RATE,
        max_seconds=MAX_SECONDS,
        prompt_templates=about["prompt_templates"],
        normalisation="level-normalised log-mel inside speech.onnx, unit-length output",
        opset=OPSET,
        precision="fp32",
        logit_scale=round(network.logit_scale.item(), 4),
        sha256={name: file_sha256(out / name) for name in (SPEECH, TEXT, TOKENIZER)},
        metrics={"figures": trained["figures"]},
    )
    write_card(card, out)
    recordings = sorted(path for path in clips.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)[:64]
    sounds = [read_audio(path)[: int(MAX_SECONDS * SAMPLE_RATE)] for path in recordings]
    parity = asdict(measure_parity(network, Model(out), sounds, CAPTIONS))
    card = replace(card, metrics=card.metrics | {"parity": parity})
    (out / README).write_text(model_card(card, about), encoding="utf-8")
    write_card(replace(card, sha256=card.sha256 | {README: file_sha256(out / README)}), out)
    print(json.dumps(parity, indent=2))
    worst = min(parity["speech_worst"], parity["text_worst"], parity["batched_worst"])
    if worst < LEAST_COSINE:
        sys.exit(f"The graphs do not agree with torch: the worst cosine is {worst:.6f}, under {LEAST_COSINE}.")


def write_card(card: ModelCard, folder: Path) -> None:
    """Writes model.json."""
    (folder / CARD).write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
