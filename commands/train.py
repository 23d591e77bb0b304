"""Commands that make models: train, export, annotate. They need the training packages, which nothing else does."""

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
from voxdex.encoders.tables import write_csv
from voxdex.indexer.scan import find_recordings

if TYPE_CHECKING:
    from voxdex.encoders.training.train import Progress, Result
    from voxdex.encoders.training.validation import Metric
    from voxdex.export.parity import Parity

PRECISION = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "int8", "int8-static"]),
    default="auto",
    show_default=True,
    help="fp16: GPUs; int8: CPUs. auto: fp16 where CUDA works, int8 where --clips show that it will do, else fp32.",
)


@contextmanager
def training_packages() -> Iterator[None]:
    """Report training packages that are missing, before or in the block, as a sentence."""
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise click.ClickException(
            f"This needs the training packages ({error.name} is missing): pip install '.[cpu,train]' in the same environment."
        ) from error
    try:
        yield
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"This needs the package {error.name}: pip install '.[cpu,train]' in the same environment."
        ) from error


@click.command()
@click.argument("recipe")
@click.argument("manifests", nargs=-1, required=True, type=FILE, metavar="MANIFEST.csv...")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="The run's folder.")
@click.option("--start", metavar="RUN_MODEL_OR_FILE", help="A run, a model or a published checkpoint to take all weights from.")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable.")
@click.option("--root", type=FOLDER, help="Where the manifests' paths start.  [default: their folders]")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Decoded sound, 115 MB an hour.  [default: your cache folder]",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to train.")
@as_json
def train(
    recipe: str,
    manifests: tuple[Path, ...],
    out: Path,
    start: str | None,
    changes: tuple[str, ...],
    root: Path | None,
    cache: Path | None,
    device: str,
    json_output: bool,
) -> None:
    """Train a model by a recipe and make it a model folder, OUT/model.

    RECIPE is fine-tune, mini, mini-4, mini-open, paraspeechclap-intrinsic, -situational, -combined, ess-clap, ra-clap,
    scraps, phonetic, or a .toml file. A manifest has a row a recording: path, caption (several separated by " | ") or
    labels (gender, emotion, pitch ...), tags, speaker, split; for scraps and phonetic, transcript and language, or
    phonemes. Run again after an interruption, it goes on where it was.

    \b
    voxdex train fine-tune my-clips.csv --out runs/mine
    voxdex train paraspeechclap-combined intrinsic.csv situational.csv --out runs/combined --set schedule.batch=32
    torchrun --nproc-per-node 4 cli.py train paraspeechclap-situational situational.csv --out runs/situational
    """
    with training_packages():
        from voxdex.encoders.training.recipe import load_recipe
        from voxdex.encoders.training.train import train as train_network
        from voxdex.export.trained_run import export_run

        if start:
            changes = (*changes, f"start={start!r}")
        chosen = load_recipe(recipe, changes)
        with TrainingBar() as bar:
            place = cache or Path(platformdirs.user_cache_dir("voxdex")) / "sound"
            result = train_network(chosen, manifests, out, place, root, device, bar.on_clip, bar.on_step)
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
                "before": [figure.as_dict() for figure in result.before],
                "after": [figure.as_dict() for figure in result.after],
                "parity": asdict(parity),
                "failed": failed,
            }
        )
    else:
        print_table(summary_table(result))
        print_note(f"Curves: {out / 'curves.png'}. Use it: voxdex index FOLDER --model {out / 'model'} --index NAME")
    exit_with_failures(True, failed)


@click.command()
@click.argument("checkpoint", type=FOLDER, metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The model folder to make.")
@PRECISION
@click.option("--clips", type=FOLDER, help="Recordings of many lengths for the parity report.  [default: synthetic sounds]")
@click.option("--name", help="The model's name.  [default: that of OUT]")
@click.option("--measured", type=FOLDER, metavar="RUN", help="Take the figures of this run, of the same recipe.")
@as_json
def export(
    checkpoint: Path, out: Path, precision: str, clips: Path | None, name: str | None, measured: Path | None, json_output: bool
) -> None:
    """Make a model folder of a training run, and check that it agrees with torch.

    \b
    voxdex export runs/mine --out mine-int8 --precision int8 --clips ./audio
    """
    with training_packages():
        from voxdex.export.trained_run import export_run

        parity = export_run(checkpoint, out, precision, clips, name, measured, stage_note)
    if json_output:
        return print_json(asdict(parity))
    print_parity(parity)
    print_note(f"Use it: voxdex index FOLDER --model {out} --index NAME")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The manifest to write (.csv).")
@click.option("--captions", default=3, show_default=True, type=click.IntRange(1, 20), help="Captions for each recording.")
@click.option(
    "--edits", default=0, show_default=True, type=click.IntRange(0), help="Copies of each kind: whispered, slower ..."
)
@click.option("--seed", default=1, show_default=True, help="Of the wording and the edits.")
@as_json
def annotate(paths: tuple[Path, ...], out: Path, captions: int, edits: int, seed: int, json_output: bool) -> None:
    """Measure recordings and describe them, so that a model can be trained on an archive without labels.

    Writes a manifest: pitch and its range, loudness, speaking rate, noise, reverberation, brightness, texture as numbers
    and as words, and captions. --edits adds vocoder edits, as FLAC files beside the manifest, with captions known to be true.

    \b
    voxdex annotate ./audio --out annotated.csv --edits 20
    voxdex train fine-tune annotated.csv --out runs/annotated
    """
    check_folder_of(out)
    with training_packages():
        from voxdex.encoders.training.annotate import COLUMNS, Annotations
        from voxdex.encoders.training.annotate import annotate as annotate_recordings

        walk = find_recordings(paths)
        if not walk.recordings:
            raise click.UsageError(f"There are no recordings under {', '.join(map(str, paths))}.")
        with TrainingBar() as bar:
            found = annotate_recordings([*map(Path, walk.recordings)], captions, seed, bar.on_clip)
            copies = Annotations()
            if edits:
                from voxdex.encoders.training.edit_labels import edited_copies

                copies = edited_copies(found.rows, out.with_suffix(""), edits, seed, captions, bar.on_edit)
    rows = found.rows + copies.rows
    write_csv(out, rows, COLUMNS)
    failed = [asdict(failure) for failure in (*walk.failed, *found.failed, *copies.failed)]
    if json_output:
        said = {"recordings": len(walk.recordings), "annotated": len(found.rows), "edited": len(copies.rows)}
        print_json(said | {"manifest": str(out), "failed": failed})
    else:
        print_table(labels_table(rows))
        print_note(f"{len(found.rows)} recordings and {len(copies.rows)} edited copies in {out}.")
    for damage in found.damaged:
        print_note(f"Damaged: {damage.path}: {damage.reason}.")
    exit_with_failures(bool(found.rows), failed)


def labels_table(rows: list[dict[str, str]]) -> Table:
    """How often each word was found."""
    table = new_table("attribute", "words")
    for column in load_attributes():
        counts = Counter(row[column] for row in rows if row.get(column))
        if counts:
            table.add_row(column, ", ".join(f"{word} {count}" for word, count in counts.most_common()))
    return table


def summary_table(result: "Result") -> Table:
    """What the run improved: each figure before the first step and after, with chance."""
    before: dict[tuple[str, str], Metric] = {(figure.question, figure.set): figure for figure in result.before}
    table = new_table("on held-out clips", "set", "clips", "chance", "before", "after", "95 %", "change")
    for figure in result.after:
        former = before[figure.question, figure.set].figure
        interval = f"{figure.low}-{figure.high}"
        cells = (figure.clips, figure.chance, former, figure.figure, interval, f"{figure.figure - former:+.1f}")
        table.add_row(figure.question, figure.set, *map(str, cells))
    return table


def print_parity(parity: "Parity") -> None:
    """Shows how well graphs agree with torch, and warns where that may not be well enough."""
    table = new_table(f"{parity.precision} against torch", "worst cosine", "mean")
    for name in ("speech", "batched", "text"):
        table.add_row(name, *(f"{getattr(parity, f'{name}_{kind}'):.7f}" for kind in ("worst", "mean")))
    print_table(table)
    if not parity.holds:
        print_note(
            f"Warning: the worst cosine is {parity.worst:.4f}: check with `evaluate` whether {parity.precision} will do."
        )


def stage_note(stage: str) -> None:
    """Says what begins."""
    print_note(f"{stage[0].upper()}{stage[1:]} ...")


class TrainingBar:
    """Progress of decoding and then of training, on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._what = ""

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def on_clip(self, total: int) -> None:
        """Counts a recording that was decoded."""
        self._show("reading", total, " clips").update()

    def on_edit(self, total: int) -> None:
        """Counts an edited copy."""
        self._show("editing", total, " copies").update()

    def on_step(self, progress: "Progress") -> None:
        """Shows a step's loss, and what a validation found."""
        bar = self._show("training", progress.total, " steps")
        bar.set_postfix_str(f"loss {progress.losses['loss']:.3f}", refresh=False)
        bar.update(progress.step - bar.n)
        if progress.figures:
            mean = sum(figure.figure for figure in progress.figures) / len(progress.figures)
            tqdm.write(f"step {progress.step}: mean of {len(progress.figures)} figures {mean:.1f} %", file=sys.stderr)

    def _show(self, what: str, total: int, unit: str) -> tqdm:
        if self._bar is None or self._what != what:
            if self._bar is not None:
                self._bar.close()
            self._bar, self._what = tqdm(desc=what, total=total, unit=unit, disable=None, dynamic_ncols=True), what
        return self._bar
