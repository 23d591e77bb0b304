"""Trains a dual encoder from manifests of labelled clips by a recipe, and resumes where it was stopped.

A run is a folder: run.json (recipe, architecture, manifests and their hashes, data sets, figures), weights.safetensors,
tokenizer.json, log.jsonl, curves.png, and until it is done checkpoint.safetensors.
"""

import hashlib
import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.errors import Failure
from voxdex.encoders.model_card import TOKENIZER
from voxdex.encoders.paths import replace_file, replaced
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.caption_trainer import CaptionTrainer
from voxdex.encoders.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from voxdex.encoders.training.curves import draw_curves
from voxdex.encoders.training.data import Clips, load_clips, permitted, split
from voxdex.encoders.training.distributed import ProcessGroup, end_distributed, init_distributed
from voxdex.encoders.training.initial import RUN, WEIGHTS, begin
from voxdex.encoders.training.phonetic_trainer import PhoneticTrainer
from voxdex.encoders.training.recipe import Recipe, RecipeError
from voxdex.encoders.training.trainer import Trainer
from voxdex.encoders.training.validation import Metric, Validation, mean_score

LOG = "log.jsonl"


@dataclass(frozen=True)
class Progress:
    """What there is to tell after a step. figures: of a validation, if there was one."""

    step: int
    total: int
    losses: dict[str, float]
    figures: list[Metric] | None


@dataclass(frozen=True)
class Result:
    """A finished run: figures before the first step and of the weights that were kept, and recordings that failed."""

    folder: Path
    steps: int
    kept_step: int
    before: list[Metric]
    after: list[Metric]
    failed: list[Failure]


@dataclass
class RunState:
    """What a run remembers of its validations: before the first step, and where and how good the kept weights were."""

    before: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    kept_step: int = 0
    scales: dict[str, float] = field(default_factory=dict)
    intelligibility: list[list[float]] = field(default_factory=list)


def train(
    recipe: Recipe,
    manifests: Sequence[Path],
    out: Path,
    cache: Path,
    root: Path | None = None,
    device: str = "auto",
    on_clip: Callable[[int], object] = lambda total: None,
    on_step: Callable[[Progress], object] = lambda progress: None,
) -> Result | None:
    """Trains until the recipe's last step; called again after an interruption, goes on to the same end.

    Args:
        recipe: what to train and how.
        manifests: CSV files, see load_clips; several are interleaved.
        out: the run's folder, new or of the same run.
        cache: a folder for decoded sound.
        root: where the manifests' paths start; None for each manifest's folder.
        device: "auto", "cpu" or "cuda".
        on_clip: is called with their number for each recording decoded.
        on_step: is called after each step.

    Returns:
        What came of it; None on all but the first of several processes (torchrun).

    Raises:
        RecipeError, SourceError, NetworkError, ManifestError: what was asked for cannot be done; out is of another run.
        DivergenceError: the loss is no longer a number.
    """
    place = init_distributed(device)
    try:
        return _train(recipe, manifests, out, cache, root, place, on_clip, on_step)
    finally:
        end_distributed()


def _train(
    recipe: Recipe,
    manifests: Sequence[Path],
    out: Path,
    cache: Path,
    root: Path | None,
    place: ProcessGroup,
    on_clip: Callable[[int], object],
    on_step: Callable[[Progress], object],
) -> Result | None:
    clips, failed = _first_then_others(place, lambda: load_clips(manifests, cache, root, on_clip))
    clips = clips.select(permitted(clips.rows, recipe.sampling.licences))
    sampling = recipe.sampling
    training, validating = split(clips.rows, sampling.leave_out) if sampling.hold_out else (range(len(clips)), [])
    if len(training) < max(2, place.world):
        raise ManifestError(f"There are {len(training)} clips to train on; there must be {max(2, place.world)} at least.")
    valid = clips.select(validating)
    torch.manual_seed(recipe.schedule.seed)
    beginning = begin(recipe, clips.rows)
    phonetic = beginning.architecture["text_tower"]["kind"] == "phonemes"
    trainer = (PhoneticTrainer if phonetic else CaptionTrainer)(recipe, beginning, clips.select(training), place)
    about = _description(recipe, beginning.architecture, manifests, trainer.clips)
    if place.first:
        _claim(out, about)
        trainer.tokenizer.save(str(out / TOKENIZER))
    remembered = load_checkpoint(trainer, out)
    memory = RunState(**remembered) if remembered else RunState()
    if place.first:
        _trim_log(out / LOG, trainer.step_number)
    every = recipe.schedule.validate_every or trainer.steps_per_epoch
    save_every = recipe.schedule.save_every or every

    def look() -> Validation:
        return trainer.validate(valid) if len(valid) else Validation([])

    if place.first and not remembered:
        memory.before = [figure.as_dict() for figure in look().figures]
        _write_log(out / LOG, {"step": 0, "figures": memory.before})
    while trainer.step_number < trainer.total_steps:
        losses = trainer.step()
        if not place.first:
            continue
        step = trainer.step_number
        last = step == trainer.total_steps
        seen = look() if last or step % every == 0 else None
        figures = seen.figures if seen else None
        if seen and (recipe.schedule.keep == "last" or _better(seen.figures, memory.kept)):
            memory.kept, memory.kept_step = [figure.as_dict() for figure in seen.figures], step
            memory.scales, memory.intelligibility = seen.scales, seen.intelligibility
            _save_weights(trainer, out)
        shown = {} if figures is None else {"figures": [figure.as_dict() for figure in figures]}
        _write_log(out / LOG, {"step": step} | losses | shown)
        if not last and step % save_every == 0:
            save_checkpoint(trainer, out, vars(memory))
        on_step(Progress(step, trainer.total_steps, losses, figures))
    if not place.first:
        return None
    draw_curves(out / LOG, out / "curves.png")
    finished = {
        "logit_scale": trainer.kept.logit_scale.item(),
        "scales": memory.scales,
        "intelligibility": memory.intelligibility,
        "phoneme_shares": trainer.phoneme_shares,
        "kept_step": memory.kept_step,
        "figures": memory.kept,
    }
    _write_run(out, about | finished)
    (out / CHECKPOINT).unlink(missing_ok=True)
    before, after = ([Metric(**row) for row in rows] for rows in (memory.before, memory.kept))
    return Result(out, trainer.total_steps, memory.kept_step, before, after, failed)


def data_sets(clips: Clips) -> list[dict[str, Any]]:
    """What a model was trained on, as model.json lists it."""
    rows = defaultdict(list)
    for row, length in zip(clips.rows, clips.lengths, strict=True):
        name = row.get("dataset") or "recordings of one's own"
        name = "vocoder edits of these" if name.startswith("edit-") else name
        rows[name, row.get("licence") or "not stated"].append((row.get("speaker", ""), length))
    return [
        {
            "name": name,
            "licence": licence,
            "clips": len(found),
            "hours": round(float(sum(length for _, length in found)) / SAMPLE_RATE / 3600, 2),
            "speakers": len({speaker for speaker, _ in found if speaker}),
        }
        for (name, licence), found in sorted(rows.items())
    ]


def _description(recipe: Recipe, architecture: dict, manifests: Sequence[Path], clips: Clips) -> dict[str, Any]:
    return {
        "recipe": json.loads(json.dumps(recipe.as_dict())),
        "architecture": json.loads(json.dumps(architecture)),
        "manifests": [{"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in manifests],
        "trained_on": data_sets(clips),
        "versions": {name: _version(name) for name in ("voxdex", "torch", "transformers", "numpy")},
    }


def _version(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "not installed"


def _claim(out: Path, about: dict[str, Any]) -> None:
    """Makes the run's folder, or checks that it is of the same run and not finished."""
    if (out / RUN).exists():
        former = json.loads((out / RUN).read_text(encoding="utf-8"))
        if "figures" in former:
            raise RecipeError(f"The run in {out} is finished. Choose another --out, or delete that folder.")
        content = [[manifest["sha256"] for manifest in run["manifests"]] for run in (former, about)]
        for what, same in (("recipe", former["recipe"] == about["recipe"]), ("manifests", content[0] == content[1])):
            if not same:
                raise RecipeError(
                    f"{out} holds an unfinished run with another {what}. Choose another --out, or delete that folder."
                )
    out.mkdir(parents=True, exist_ok=True)
    _write_run(out, about)


def _write_run(out: Path, about: dict[str, Any]) -> None:
    replace_file(out / RUN, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def _better(figures: list[Metric], kept: list[dict[str, Any]]) -> bool:
    return not kept or mean_score(figures) > mean_score([Metric(**row) for row in kept])


def _save_weights(trainer: Trainer, out: Path) -> None:
    with replaced(out / WEIGHTS) as new:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in trainer.kept.state_dict().items()}, new)


def _write_log(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)


def _trim_log(path: Path, step: int) -> None:
    """Forgets what was logged after the step that training goes on from."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step] if step else []
        replace_file(path, "".join(f"{line}\n" for line in kept))


def _first_then_others(place: ProcessGroup, load: Callable[[], Any]) -> Any:
    """Lets the first process fill the cache before the others read it."""
    if place.world == 1:
        return load()
    if not place.first:
        dist.barrier()
    loaded = load()
    if place.first:
        dist.barrier()
    return loaded
