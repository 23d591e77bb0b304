"""Ablation of the papers' training: towers of mini's size, held-out speakers, three seeds.

    python -m benchmarks.ablation PREPARED/manifest.csv --text DISTILLED --work DIR --table docs/results/ablation.md

Trains every variant with every seed, except finished runs, measures it on held-out speakers and writes the tables. Prints one
JSON object as the last line.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from voxdex.encoders.paths import replace_file
from voxdex.encoders.tables import read_csv, write_csv
from voxdex.encoders.training.data.dataset import Clips, load_clips, split
from voxdex.encoders.training.initial import load_trained
from voxdex.encoders.training.recipe import load_recipe
from voxdex.encoders.training.train import train
from voxdex.encoders.training.validation import validate

RECIPE = str(Path(__file__).with_suffix(".toml"))
SIDES = {
    "intrinsic": (
        ("librispeech", "edit-breathy", "edit-creaky", "edit-deeper", "edit-higher"),
        ("gender", "age", "pitch", "phonation", "style", "style_not"),
    ),
    "situational": (
        ("nemo", "ravdess", "emotiontts-ko", "edit-whispered", "edit-slow", "edit-fast", "edit-monotone", "edit-expressive"),
        ("emotion", "intensity", "speed", "intonation", "phonation"),
    ),
}
"""Which data sets of the prepared manifest, and which of their columns, make each side."""
KEPT = ("path", "dataset", "licence", "speaker", "split", "duration")
TAGS = ("loss.tags=1.0",)
BALANCED = ('sampling.order="balanced"',)
MULTI_POSITIVE = ('loss.positives="labels"',)
RELU = ('projection.kind="relu"', "projection.dropout=0.0")
SECOND_STAGE = ("loss.contrastive=0.0", "loss.self_distillation=1.0", "schedule.learning_rate=5e-4")
SQUARED = 'loss.distillation_form="squared"'


@dataclass(frozen=True)
class Variant:
    """A row of the table: the sides it is trained on, its changes, and the variant whose weights it starts from, if any."""

    name: str
    sides: tuple[str, ...]
    changes: tuple[str, ...] = ()
    init_from: str = ""


VARIANTS = (
    Variant("intrinsic: contrastive", ("intrinsic",)),
    Variant("intrinsic: + tags (bare cosine)", ("intrinsic",), TAGS),
    Variant("intrinsic: + tags (logit scale)", ("intrinsic",), (*TAGS, 'loss.tag_scale="logit"')),
    Variant("intrinsic: + tags + balanced", ("intrinsic",), TAGS + BALANCED),
    Variant("intrinsic: + tags + balanced + multi-positive", ("intrinsic",), TAGS + BALANCED + MULTI_POSITIVE),
    Variant("intrinsic: multi-positive", ("intrinsic",), MULTI_POSITIVE),
    Variant("intrinsic: text-similar targets", ("intrinsic",), ('loss.positives="text_similarity"',)),
    Variant("situational: contrastive", ("situational",)),
    Variant("situational: multi-positive", ("situational",), MULTI_POSITIVE),
    Variant("situational: ESS-CLAP", ("situational",), RELU),
    Variant("situational: RA-CLAP, cross-entropy", ("situational",), SECOND_STAGE, "situational: ESS-CLAP"),
    Variant("situational: RA-CLAP, squared", ("situational",), (*SECOND_STAGE, SQUARED), "situational: ESS-CLAP"),
    Variant("combined: contrastive", ("intrinsic", "situational")),
    Variant("combined: multi-positive", ("intrinsic", "situational"), MULTI_POSITIVE),
)


def write_side(prepared: Path, side: str, out: Path) -> Path:
    """The manifest of one side."""
    datasets, columns = SIDES[side]
    rows = [row for row in read_csv(prepared) if row["dataset"].startswith(datasets)]
    path = out / f"{side}.csv"
    write_csv(path, [row for row in rows if any(row[column] for column in columns)], [*KEPT, *columns])
    return path


def measure(run: Path, sides: dict[str, Clips]) -> dict[str, dict[str, float]]:
    """For each side, R@1 and mAP@10 both ways, and UAR and AUC averaged over attributes and data sets, of held-out speakers."""
    bundle = load_trained(str(run))
    measured = {}
    for side, clips in sides.items():
        found = validate(bundle.network, clips, bundle.tokenizer, torch.device("cpu")).metrics
        values: dict[str, list[float]] = {}
        for metric in found:
            if not metric.name.endswith("R@10"):
                values.setdefault(_column(metric.name), []).append(metric.value)
        measured[side] = {column: float(np.mean(metrics)) for column, metrics in values.items()}
    return measured


def _column(name: str) -> str:
    if "@" in name:
        return name
    return "AUC" if name.endswith("(AUC)") else "UAR"


@click.command()
@click.argument("prepared", type=click.Path(exists=True, path_type=Path))
@click.option("--text", type=click.Path(exists=True, path_type=Path), required=True, help="A distilled text tower.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Where the runs go.")
@click.option("--table", type=click.Path(path_type=Path), required=True, help="The Markdown file to write.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2, 3), show_default=True)
@click.option("--steps", default=300, show_default=True, help="Of each run; second stages take half of it.")
def main(prepared: Path, text: Path, work: Path, table: Path, seeds: tuple[int, ...], steps: int) -> None:
    """Train and measure every variant."""
    work.mkdir(parents=True, exist_ok=True)
    manifests = {side: write_side(prepared, side, work) for side in SIDES}
    held_out = {}
    for side, manifest in manifests.items():
        clips, _ = load_clips([manifest], work / "cache")
        held_out[side] = clips.select(split(clips.rows)[1])
    results: dict[str, list[dict[str, dict[str, float]]]] = {variant.name: [] for variant in VARIANTS}
    for seed in seeds:
        for variant in VARIANTS:
            run = place(work, variant.name, seed)
            metrics = run / "held-out.json"
            if not metrics.exists():
                changes = (
                    f"text_tower.source={str(text)!r}",
                    f"schedule.seed={seed}",
                    f"schedule.steps={steps}",
                    *variant.changes,
                )
                if variant.init_from:
                    changes += (f"schedule.steps={steps // 2}", f"init_from={str(place(work, variant.init_from, seed))!r}")
                if not finished(run):
                    train(load_recipe(RECIPE, changes), [manifests[side] for side in variant.sides], run, work / "cache")
                replace_file(metrics, json.dumps(measure(run, held_out)))
            results[variant.name].append(json.loads(metrics.read_text()))
            print(seed, variant.name, json.dumps(results[variant.name][-1]), flush=True)
    tables = write_tables(results)
    table.write_text(tables, encoding="utf-8")
    print(tables)
    print(json.dumps(results))


def place(work: Path, name: str, seed: int) -> Path:
    """The folder of a variant's run."""
    return work / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}"


def finished(run: Path) -> bool:
    """Whether a run came to its end."""
    return (run / "run.json").exists() and "metrics" in json.loads((run / "run.json").read_text())


def write_tables(results: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """Markdown, a table for each side: the variants that were trained on it, mean and standard deviation over the seeds."""
    tables = []
    for side in SIDES:
        rows = {variant.name: results[variant.name] for variant in VARIANTS if side in variant.sides}
        columns = list(next(iter(rows.values()))[0][side])
        lines = [f"| held-out speakers, {side} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, seeds in rows.items():
            values = [[seed[side][column] for seed in seeds] for column in columns]
            lines.append(f"| {name} | " + " | ".join(f"{np.mean(cell):.1f} ± {np.std(cell):.1f}" for cell in values) + " |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


if __name__ == "__main__":
    main()
