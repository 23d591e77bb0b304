"""Training runs: a dual encoder from manifests of labelled clips by a recipe, resumed after an interruption.

A run is a folder with run.json (recipe, architecture, manifests and their hashes, data sets, metrics), weights.safetensors,
tokenizer.json, log.jsonl, curves.png, and until it is finished checkpoint.safetensors.
"""

import hashlib
import importlib.metadata
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.errors import Failure
from voxdex.encoders.metrics import Metric
from voxdex.encoders.model_card import TOKENIZER
from voxdex.encoders.paths import replace_file, replaced
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.adaptation import adapt
from voxdex.encoders.training.caption_trainer import CaptionTrainer
from voxdex.encoders.training.data.dataset import Clips, filter_by_licence, load_clips, split
from voxdex.encoders.training.distributed import ProcessGroup, end_distributed, init_distributed
from voxdex.encoders.training.initial import RUN, WEIGHTS, load_initial
from voxdex.encoders.training.phonetic_trainer import PhoneticTrainer
from voxdex.encoders.training.recipe import Recipe, RecipeError
from voxdex.encoders.training.trainer import Trainer
from voxdex.encoders.training.validation import Validation, mean_score

LOG = "log.jsonl"


@dataclass(frozen=True)
class Progress:
    """State after a step. metrics: those of a validation, None for a step without one."""

    step: int
    total: int
    losses: dict[str, float]
    metrics: list[Metric] | None


class RunObserver(Protocol):
    """Receives the progress of a run; its methods do nothing by default."""

    def on_clip(self, total: int) -> None:
        """Called after each decoded recording with the number of recordings of its manifest."""

    def on_step(self, progress: Progress) -> None:
        """Called after each step."""


class _Unobserved(RunObserver):
    """Ignores the progress."""

    def on_clip(self, total: int) -> None: ...

    def on_step(self, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Result:
    """A finished run: metrics of the initial and of the kept weights, and recordings that failed.

    steps, kept_step: 0 for an adapter. has_gain: whether an adapter surely made a metric better; None for a run of steps.
    """

    folder: Path
    steps: int
    kept_step: int
    before: list[Metric]
    after: list[Metric]
    failed: list[Failure]
    has_gain: bool | None = None


@dataclass
class RunState:
    """Results of a run's validations, kept in its checkpoint.

    before: metrics of the initial weights. kept, kept_step, scales, hears, intelligibility: metrics of the kept weights, the
    step they are from, their calibration and the labels that they hear; see Validation.
    """

    before: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    kept_step: int = 0
    scales: dict[str, float] = field(default_factory=dict)
    hears: dict[str, list[str]] = field(default_factory=dict)
    intelligibility: list[list[float]] = field(default_factory=list)


def train(
    recipe: Recipe,
    manifests: Sequence[Path],
    out: Path,
    cache: Path,
    *,
    root: Path | None = None,
    device: str = "auto",
    observer: RunObserver | None = None,
) -> Result | None:
    """Train to the recipe's last step, or fit its adapter. After an interruption, the same call resumes to the same weights.

    Args:
        recipe: architecture, schedule, sampling and loss.
        manifests: CSV files, see load_clips; several are interleaved.
        out: the run's folder, new or of the same run.
        cache: a folder for decoded audio.
        root: the folder of the manifests' paths; None for each manifest's own.
        device: "auto", "cpu" or "cuda".
        observer: receives the progress.

    Returns:
        The result; None in all but the first of several processes (torchrun).

    Raises:
        RecipeError, SourceError, NetworkError, ManifestError, DeviceError: the run cannot be started, or `out` holds another.
        DivergenceError: the loss is not finite.
    """
    observer = observer or _Unobserved()
    group = init_distributed(device)
    try:
        clips, failed = _first_then_others(group, lambda: load_clips(manifests, cache, root, observer.on_clip))
        if recipe.adapter.strengths:
            return _adapt(recipe, manifests, clips, failed, out, group, observer) if group.first else None
        trainer, valid, unheard = _prepare(recipe, clips, group)
        about = _description(recipe, trainer.architecture, manifests, trainer.clips)
        if group.first:
            _claim_run_dir(out, about)
            trainer.tokenizer.save(str(out / TOKENIZER))
        state = _run(trainer, valid, unheard, out, observer)
        return _finish(trainer, state, out, about, failed) if group.first else None
    finally:
        end_distributed()


def _adapt(
    recipe: Recipe,
    manifests: Sequence[Path],
    clips: Clips,
    failed: list[Failure],
    out: Path,
    group: ProcessGroup,
    observer: RunObserver,
) -> Result:
    """Fit an adapter, and write it as a finished run."""
    clips = clips.select(filter_by_licence(clips.rows, recipe.sampling.licences))
    bundle = load_initial(recipe, clips.rows)
    if bundle.architecture["text_tower"]["kind"] == "phonemes":
        raise RecipeError(f"{recipe.init_from} is a phonetic model, and adapters are for models of voices: name another.")
    _claim_run_dir(out, _description(recipe, bundle.architecture, manifests, clips))

    def on_fold(number: int, count: int, loss: float) -> None:
        observer.on_step(Progress(number, count, {"loss": loss}, None))

    found = adapt(bundle, clips, recipe.adapter, group.device, on_fold)
    save_file(found.bundle.network.state_dict(), out / WEIGHTS)
    found.bundle.tokenizer.save(str(out / TOKENIZER))
    (out / LOG).unlink(missing_ok=True)
    for strength, loss in found.losses.items():
        _write_log(out / LOG, {"strength": _finite(strength), "loss": loss})
    finished = {
        "logit_scale": found.bundle.network.logit_scale.item(),
        "scales": found.bundle.scales,
        "hears": found.bundle.hears,
        "kept_step": 0,
        "strength": _finite(found.strength),
        "metrics": [metric.as_dict() for metric in found.after],
    }
    _write_run(out, _description(recipe, found.bundle.architecture, manifests, clips) | finished)
    return Result(out, 0, 0, found.before, found.after, failed, found.has_gain)


def _finite(strength: float) -> float | None:
    """Return a strength as JSON has it: None where nothing is changed."""
    return strength if np.isfinite(strength) else None


def _prepare(recipe: Recipe, clips: Clips, group: ProcessGroup) -> tuple[Trainer, Clips, Clips]:
    """Return a trainer at step 0, the clips to validate on, and those of unheard data sets."""
    sampling = recipe.sampling
    is_unheard = [row.get("dataset", "").startswith(sampling.unheard) for row in clips.rows]
    unheard = clips.select([i for i, each in enumerate(is_unheard) if each])
    clips = clips.select([i for i, each in enumerate(is_unheard) if not each])
    clips = clips.select(filter_by_licence(clips.rows, sampling.licences))
    training, validating = split(clips.rows, sampling.leave_out) if sampling.hold_out else (range(len(clips)), [])
    if len(training) < max(2, group.world):
        raise ManifestError(f"There are {len(training)} clips to train on; there must be {max(2, group.world)} at least.")
    torch.manual_seed(recipe.schedule.seed)
    bundle = load_initial(recipe, clips.rows)
    phonetic = bundle.architecture["text_tower"]["kind"] == "phonemes"
    trainer = (PhoneticTrainer if phonetic else CaptionTrainer)(recipe, bundle, clips.select(training), group)
    return trainer, clips.select(validating), unheard


def _run(trainer: Trainer, valid: Clips, unheard: Clips, out: Path, observer: RunObserver) -> RunState:
    """Train from the last checkpoint, if any, to the last step, and validate, log and save on the way."""
    schedule, is_first = trainer.schedule, trainer.group.first
    saved = load_checkpoint(trainer, out)
    state = RunState(**saved) if saved else RunState()

    def validate_now() -> Validation:
        return trainer.validate(valid, unheard) if len(valid) else Validation([])

    if is_first:
        _trim_log(out / LOG, trainer.step_number)
        if not saved:
            state.before = [metric.as_dict() for metric in validate_now().metrics]
            _write_log(out / LOG, {"step": 0, "metrics": state.before})
    validate_every = schedule.validate_every or trainer.steps_per_epoch
    save_every = schedule.save_every or validate_every
    while trainer.step_number < trainer.total_steps:
        losses = trainer.step()
        if not is_first:
            continue
        step, is_last = trainer.step_number, trainer.step_number == trainer.total_steps
        line: dict[str, Any] = {"step": step} | losses
        metrics = None
        if is_last or step % validate_every == 0:
            validation = validate_now()
            metrics = validation.metrics
            line["metrics"] = [metric.as_dict() for metric in metrics]
            if schedule.keep == "last" or _better(metrics, state.kept):
                state.kept, state.kept_step = line["metrics"], step
                state.scales, state.hears = validation.scales, validation.hears
                state.intelligibility = validation.intelligibility
                _save_weights(trainer, out)
        _write_log(out / LOG, line)
        if not is_last and step % save_every == 0:
            save_checkpoint(trainer, out, vars(state))
        observer.on_step(Progress(step, trainer.total_steps, losses, metrics))
    return state


def _finish(trainer: Trainer, state: RunState, out: Path, about: dict[str, Any], failed: list[Failure]) -> Result:
    """Draw the curves, complete run.json and delete the checkpoint."""
    draw_curves(out / LOG, out / "curves.png")
    finished = {
        "logit_scale": trainer.kept.logit_scale.item(),
        "scales": state.scales,
        "hears": state.hears,
        "intelligibility": state.intelligibility,
        "phoneme_prior": trainer.phoneme_prior,
        "kept_step": state.kept_step,
        "metrics": state.kept,
    }
    _write_run(out, about | finished)
    (out / CHECKPOINT).unlink(missing_ok=True)
    before, after = ([Metric(**row) for row in rows] for rows in (state.before, state.kept))
    return Result(out, trainer.total_steps, state.kept_step, before, after, failed)


def data_sets(clips: Clips) -> list[dict[str, Any]]:
    """Return the data sets of clips, with licence, size and number of speakers, as model.json lists them."""
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


def _description(recipe: Recipe, architecture: dict[str, Any], manifests: Sequence[Path], clips: Clips) -> dict[str, Any]:
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


def _claim_run_dir(out: Path, about: dict[str, Any]) -> None:
    """Create the run's folder, or check that it holds the same run, unfinished."""
    if (out / RUN).exists():
        former = json.loads((out / RUN).read_text(encoding="utf-8"))
        if "metrics" in former:
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


def _better(metrics: list[Metric], kept: list[dict[str, Any]]) -> bool:
    return not kept or mean_score(metrics) > mean_score([Metric(**row) for row in kept])


def _save_weights(trainer: Trainer, out: Path) -> None:
    with replaced(out / WEIGHTS) as new:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in trainer.kept.state_dict().items()}, new)


def _write_log(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)


def _trim_log(path: Path, step: int) -> None:
    """Drop the log's lines after the step that training resumes from."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step] if step else []
        replace_file(path, "".join(f"{line}\n" for line in kept))


def _first_then_others(group: ProcessGroup, load: Callable[[], Any]) -> Any:
    """Call `load` in the first process, which fills the cache, before the others."""
    if group.world == 1:
        return load()
    if not group.first:
        dist.barrier()
    loaded = load()
    if group.first:
        dist.barrier()
    return loaded


CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(trainer: Trainer, folder: Path, state: dict[str, Any]) -> None:
    """Write the state of a run; random generators are not part of it, since each step seeds its own.

    Args:
        trainer: a trainer between two steps.
        folder: the run's folder.
        state: a RunState as plain data.
    """
    tensors = {f"network.{name}": value for name, value in trainer.network.state_dict().items()}
    if trainer.average:
        tensors |= {f"average.{name}": value for name, value in trainer.average.state_dict().items()}
    for number, moments in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    about = {"step": str(trainer.step_number), "state": json.dumps(state)}
    with replaced(folder / CHECKPOINT) as new:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, new, about)


def load_checkpoint(trainer: Trainer, folder: Path) -> dict[str, Any] | None:
    """Restore a new trainer from the last checkpoint, and return its RunState as plain data; None without a checkpoint."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    parts: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        for key in file.keys():  # noqa: SIM118
            part, name = key.split(".", 1)
            parts.setdefault(part, {})[name] = file.get_tensor(key)
    trainer.network.load_state_dict(parts["network"])
    if trainer.average:
        trainer.average.load_state_dict(parts["average"])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in parts.get("optimizer", {}).items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    trainer.optimizer.load_state_dict({"state": state, "param_groups": trainer.optimizer.state_dict()["param_groups"]})
    trainer.step_number = int(about["step"])
    return json.loads(about["state"])


MAX_CURVES = 8
"""Curves in the plot of metrics."""


def draw_curves(log: Path, image: Path) -> None:
    """Plot the smoothed terms of the loss and the metrics of log.jsonl over steps, as a PNG."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "loss" in line]
    drawing = Figure(figsize=(11, 4.2), layout="constrained")
    loss_axes, metric_axes = drawing.subplots(1, 2)
    for name in [key for key in (steps[0] if steps else {}) if key not in ("step", "learning_rate", "metrics")]:
        values = np.array([line[name] for line in steps])
        window = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        loss_axes.plot([line["step"] for line in steps][window - 1 :], smooth, label=name, linewidth=1.2)
    loss_axes.set(xlabel="step", ylabel="loss", title="training")
    loss_axes.legend(fontsize=8)

    series: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for row in line.get("metrics", ()):
            series.setdefault(f"{row['name']}, {row['set']}", []).append((line["step"], row["value"]))
    for name, points in list(series.items())[:MAX_CURVES]:
        metric_axes.plot(*zip(*points, strict=True), marker=".", label=name, linewidth=1.2)
    metric_axes.set(xlabel="step", ylabel="%", title="held-out clips")
    if series:
        metric_axes.legend(fontsize=7)
    drawing.savefig(image, dpi=110)
