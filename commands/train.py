"""The commands `train`, `export` and `annotate`, which need the training packages."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import platformdirs
from rich.table import Table
from tqdm import tqdm

from voxdex.commands.console import new_table, print_json, print_note, print_table
from voxdex.commands.options import FILE, FOLDER, as_json, check_folder_of, exit_with_failures
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.packages import missing_package
from voxdex.encoders.tables import write_csv
from voxdex.indexer.scan import find_recordings

if TYPE_CHECKING:
    from voxdex.encoders.metrics import Metric
    from voxdex.encoders.training.train import Progress, Result
    from voxdex.export.report import Parity

PRECISION = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "int8", "int8-static", "compact"]),
    default="auto",
    show_default=True,
    help="Precision of the graphs: fp16 for GPUs, int8 for CPUs, compact for small files (speech in fp32 from weights in fp16, "
    "text in int8). auto is fp16 if CUDA works, int8 if it agrees with torch on --clips, and otherwise fp32.",
)


@contextmanager
def training_packages() -> Iterator[None]:
    """Report training packages that are missing, before or in the block, as a sentence."""
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise VoxdexError(f"{missing_package('Training', error.name, 'train')}.") from error
    try:
        yield
    except ModuleNotFoundError as error:
        raise VoxdexError(f"{missing_package('Training', error.name, 'train')}.") from error


@click.command()
@click.argument("recipe")
@click.argument("manifests", nargs=-1, required=True, type=FILE, metavar="MANIFEST.csv...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The folder of the run.")
@click.option(
    "--init-from", metavar="RUN_MODEL_OR_FILE", help="A run, a model or a published checkpoint with the initial weights."
)
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
@click.option("--root", type=FOLDER, help="The folder of the manifests' paths.  [default: those of the manifests]")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for decoded audio, 115 MB an hour.  [default: your cache folder]",
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="The device to train on."
)
@as_json
def train(
    recipe: str,
    manifests: tuple[Path, ...],
    out: Path,
    init_from: str | None,
    changes: tuple[str, ...],
    root: Path | None,
    cache: Path | None,
    device: str,
    json_output: bool,
) -> None:
    """Train a model by a recipe, and export it.

    The model folder is OUT/model. RECIPE is fine-tune, mini, mini-speech, mini-open, paraspeechclap-intrinsic, -situational,
    -combined, ess-clap, ra-clap, scraps, phonetic, or a .toml file. A manifest has a row for each recording: path, caption
    (several separated by " | ") or labels (gender, emotion, pitch ...), tags, speaker, split; for scraps and phonetic,
    transcript and language, or phonemes. The same command resumes an interrupted run.

    \b
    voxdex train fine-tune my-clips.csv --out runs/mine
    voxdex train fine-tune my-clips.csv --out runs/small --set schedule.batch=32
    torchrun --nproc-per-node 4 cli.py train ess-clap my-clips.csv --out runs/ess
    """
    with training_packages():
        from voxdex.encoders.training.recipe import load_recipe
        from voxdex.encoders.training.train import train as train_network
        from voxdex.export.model_folder import export_run

        if init_from:
            changes = (*changes, f"init_from={init_from!r}")
        chosen = load_recipe(recipe, changes)
        with TrainingBar() as bar:
            cache = cache or Path(platformdirs.user_cache_dir("voxdex")) / "sound"
            result = train_network(chosen, manifests, out, cache, root=root, device=device, observer=bar)
        if result is None:
            return
        stage_note("exporting")
        parity = export_run(out, out / "model")
    failed = [asdict(failure) for failure in result.failed]
    if json_output:
        print_json(
            {
                "run": str(out),
                "steps": result.steps,
                "kept_step": result.kept_step,
                "before": [metric.as_dict() for metric in result.before],
                "after": [metric.as_dict() for metric in result.after],
                "gain": result.has_gain,
                "parity": asdict(parity),
                "failed": failed,
            }
        )
    else:
        print_summary(result)
        curves = f"Curves: {out / 'curves.png'}. " if result.steps else ""
        print_note(f"{curves}Use it: voxdex index FOLDER --model {out / 'model'} --index NAME")
    exit_with_failures(bool(result.after), failed)


@click.command()
@click.argument("checkpoint", type=FOLDER, metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model folder to make.")
@PRECISION
@click.option("--clips", type=FOLDER, help="Recordings for the parity report.  [default: synthetic sounds]")
@click.option("--name", help="The name of the model.  [default: that of OUT]")
@click.option(
    "--metrics-from", type=FOLDER, metavar="RUN", help="A run of the same recipe, whose metrics are written to the model card."
)
@as_json
def export(
    checkpoint: Path,
    out: Path,
    precision: str,
    clips: Path | None,
    name: str | None,
    metrics_from: Path | None,
    json_output: bool,
) -> None:
    """Export a training run to a model folder.

    The graphs are compared with torch.

    \b
    voxdex export runs/mine --out mine-int8 --precision int8 --clips ./audio
    """
    with training_packages():
        from voxdex.export.model_folder import export_run

        parity = export_run(checkpoint, out, precision, clips, name, metrics_from, stage_note)
    if json_output:
        return print_json(asdict(parity))
    print_parity(parity)
    print_note(f"Use it: voxdex index FOLDER --model {out} --index NAME")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The manifest to write (.csv).")
@click.option(
    "--captions", default=3, show_default=True, type=click.IntRange(1, 20), help="Number of captions for each recording."
)
@click.option(
    "--edits",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Number of copies with each kind of vocoder edit: whispered, slower ...",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the random wording and edits.")
@as_json
def annotate(paths: tuple[Path, ...], out: Path, captions: int, edits: int, seed: int, json_output: bool) -> None:
    """Write labels and captions from acoustic measurements.

    The manifest can be trained on. It has pitch and its range, loudness, speaking rate, noise, reverberation, brightness and
    texture, as numbers and as labels, and captions. --edits adds vocoder edits, as FLAC files beside the manifest.

    \b
    voxdex annotate ./audio --out annotated.csv --edits 20
    voxdex train fine-tune annotated.csv --out runs/annotated
    """
    check_folder_of(out)
    with training_packages():
        from voxdex.encoders.training.annotate.annotation import COLUMNS, Annotations
        from voxdex.encoders.training.annotate.annotation import annotate as annotate_recordings

        scan = find_recordings(paths)
        if not scan.recordings:
            raise click.UsageError(f"There are no recordings under {', '.join(map(str, paths))}.")
        with TrainingBar() as bar:
            annotated = annotate_recordings([*map(Path, scan.recordings)], captions, seed, bar.on_clip)
            copies = Annotations()
            if edits:
                from voxdex.encoders.training.scripts.vocoder_edits import edited_copies

                copies = edited_copies(annotated.rows, out.with_suffix(""), edits, seed, captions, bar.on_edit)
    rows = annotated.rows + copies.rows
    write_csv(out, rows, COLUMNS)
    failed = [asdict(failure) for failure in (*scan.failed, *annotated.failed, *copies.failed)]
    if json_output:
        counts = {"recordings": len(scan.recordings), "annotated": len(annotated.rows), "edited": len(copies.rows)}
        print_json(counts | {"manifest": str(out), "failed": failed})
    else:
        print_table(labels_table(rows))
        print_note(f"{len(annotated.rows)} recordings and {len(copies.rows)} edited copies in {out}.")
    for damage in annotated.damaged:
        print_note(f"Damaged: {damage.path}: {damage.reason}.")
    exit_with_failures(bool(annotated.rows), failed)


def labels_table(rows: list[dict[str, str]]) -> Table:
    """Return a table of the counts of each label."""
    table = new_table("attribute", "labels")
    for column in load_attributes():
        counts = Counter(row[column] for row in rows if row.get(column))
        if counts:
            table.add_row(column, ", ".join(f"{label} {count}" for label, count in counts.most_common()))
    return table


def print_summary(result: "Result") -> None:
    """Print the metrics before and after training, and whether there is no gain."""
    print_table(summary_table(result))
    if result.has_gain is False:
        print_note(
            "No measurable gain: on clips of other speakers the adapted model is not surely better than before. Give more "
            "clips, of more speakers."
        )


def summary_table(result: "Result") -> Table:
    """Return a table of each metric before the first step, after the run, and by chance."""
    before: dict[tuple[str, str], Metric] = {(metric.name, metric.set): metric for metric in result.before}
    table = new_table("on held-out clips", "set", "clips", "chance", "before", "after", "95 %", "change")
    for metric in result.after:
        former = before[metric.name, metric.set].value
        interval = f"{metric.low}-{metric.high}"
        cells = (metric.clips, metric.chance, former, metric.value, interval, f"{metric.value - former:+.1f}")
        table.add_row(metric.name, metric.set, *map(str, cells))
    return table


def print_parity(parity: "Parity") -> None:
    """Print the cosines of the graphs with torch, and a warning if they are too low."""
    table = new_table(f"{parity.precision} against torch", "worst cosine", "mean")
    for name in ("speech", "batched", "text"):
        table.add_row(name, *(f"{getattr(parity, f'{name}_{kind}'):.7f}" for kind in ("worst", "mean")))
    print_table(table)
    if not parity.holds:
        print_note(f"Warning: the worst cosine is {parity.worst:.4f}: check the metrics of {parity.precision} with `evaluate`.")


def stage_note(stage: str) -> None:
    """Print the stage that begins."""
    print_note(f"{stage[0].upper()}{stage[1:]} ...")


class TrainingBar:
    """Progress bars of decoding and training, on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def on_clip(self, total: int) -> None:
        """Count a decoded recording."""
        self._show("reading", total, " clips").update()

    def on_edit(self, total: int) -> None:
        """Count an edited copy."""
        self._show("editing", total, " copies").update()

    def on_step(self, progress: "Progress") -> None:
        """Show the loss of a step, and the mean metric of a validation."""
        bar = self._show("training", progress.total, " steps")
        bar.set_postfix_str(f"loss {progress.losses['loss']:.3f}", refresh=False)
        bar.update(progress.step - bar.n)
        if progress.metrics:
            mean = sum(metric.value for metric in progress.metrics) / len(progress.metrics)
            tqdm.write(f"step {progress.step}: mean of {len(progress.metrics)} metrics {mean:.1f} %", file=sys.stderr)

    def _show(self, stage: str, total: int, unit: str) -> tqdm:
        if self._bar is None or self._stage != stage:
            if self._bar is not None:
                self._bar.close()
            self._bar, self._stage = tqdm(desc=stage, total=total, unit=unit, disable=None, dynamic_ncols=True), stage
        return self._bar
