"""What each part of the papers' training is worth: towers of mini's size, speakers held out, three seeds.

    python -m benchmarks.ablation PREPARED/manifest.csv --text DISTILLED --work DIR --table docs/results/ablation.md

Trains every variant with every seed (those that are finished are not trained again), measures it on held-out speakers and
writes the table. Ends with one JSON object on the last line.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from voxdex.encoders.paths import replace_file
from voxdex.encoders.training.data import Clips, load_clips, split
from voxdex.encoders.training.initial import begin_from
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
FITTING = ('loss.positives="fitting"',)
RELU = ('projection.kind="relu"', "projection.dropout=0.0")
SECOND_STAGE = ("loss.contrastive=0.0", "loss.soft_matches=1.0", "schedule.learning_rate=5e-4")


@dataclass(frozen=True)
class Variant:
    """A row of the table: its name, the sides it is trained on, what it changes, and the variant it starts from, if any."""

    name: str
    sides: tuple[str, ...]
    changes: tuple[str, ...] = ()
    start: str = ""


VARIANTS = (
    Variant("intrinsic: contrastive", ("intrinsic",)),
    Variant("intrinsic: + tags (bare cosine)", ("intrinsic",), TAGS),
    Variant("intrinsic: + tags (logit scale)", ("intrinsic",), (*TAGS, 'loss.tag_scale="logit"')),
    Variant("intrinsic: + tags + balanced", ("intrinsic",), TAGS + BALANCED),
    Variant("intrinsic: + tags + balanced + multi-positive", ("intrinsic",), TAGS + BALANCED + FITTING),
    Variant("intrinsic: multi-positive", ("intrinsic",), FITTING),
    Variant("intrinsic: text-similar targets", ("intrinsic",), ('loss.positives="similar"',)),
    Variant("situational: contrastive", ("situational",)),
    Variant("situational: multi-positive", ("situational",), FITTING),
    Variant("situational: ESS-CLAP", ("situational",), RELU),
    Variant("situational: RA-CLAP, cross-entropy", ("situational",), SECOND_STAGE, "situational: ESS-CLAP"),
    Variant(
        "situational: RA-CLAP, squared", ("situational",), (*SECOND_STAGE, 'loss.soft_form="squared"'), "situational: ESS-CLAP"
    ),
    Variant("combined: contrastive", ("intrinsic", "situational")),
    Variant("combined: multi-positive", ("intrinsic", "situational"), FITTING),
)


def write_side(prepared: Path, side: str, out: Path) -> Path:
    """The manifest of one side."""
    datasets, columns = SIDES[side]
    with prepared.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"].startswith(datasets)]
    path = out / f"{side}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*KEPT, *columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if any(row[column] for column in columns))
    return path


def measure(run: Path, sides: dict[str, Clips]) -> dict[str, dict[str, float]]:
    """For each side, R@1 and mAP@10 both ways, and UAR and AUC averaged over attributes and data sets, of held-out speakers."""
    beginning = begin_from(str(run))
    measured = {}
    for side, clips in sides.items():
        found = validate(beginning.network, clips, beginning.tokenizer, torch.device("cpu")).figures
        values: dict[str, list[float]] = {}
        for figure in found:
            if not figure.question.endswith("R@10"):
                values.setdefault(_column(figure.question), []).append(figure.figure)
        measured[side] = {column: float(np.mean(figures)) for column, figures in values.items()}
    return measured


def _column(question: str) -> str:
    if "@" in question:
        return question
    return "AUC" if question.endswith("(AUC)") else "UAR"


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
            figures = run / "held-out.json"
            if not figures.exists():
                changes = (
                    f"text_tower.source={str(text)!r}",
                    f"schedule.seed={seed}",
                    f"schedule.steps={steps}",
                    *variant.changes,
                )
                if variant.start:
                    changes += (f"schedule.steps={steps // 2}", f"start={str(place(work, variant.start, seed))!r}")
                if not finished(run):
                    train(load_recipe(RECIPE, changes), [manifests[side] for side in variant.sides], run, work / "cache")
                replace_file(figures, json.dumps(measure(run, held_out)))
            results[variant.name].append(json.loads(figures.read_text()))
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
    return (run / "run.json").exists() and "figures" in json.loads((run / "run.json").read_text())


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
