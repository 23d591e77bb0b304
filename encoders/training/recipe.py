"""Training recipes in TOML: architecture, schedule, sampling and loss, or an adapter."""

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.errors import VoxdexError

MAX_CROP_SECONDS = 20
"""Upper limit of schedule.crop_seconds."""
RECIPES = Path(__file__).parent / "recipes"


class RecipeError(VoxdexError):
    """A recipe that cannot be used."""


@dataclass(frozen=True)
class Schedule:
    """Length, batches, learning rates and augmentation of a run.

    seed: of all random draws. steps, epochs: the length of the run; one of them is 0. batch: clips in one loss, over all
    processes. grad_cache_chunks: number of chunks in which a batch is embedded to save memory; the loss is that of the whole
    batch (Gao et al. 2021, GradCache). crop_seconds: shortest and longest random crop; clips with phonemes are never cropped,
    and longer ones are left out.
    learning_rate: the peak. speech_tower_rate, encoder_rate, text_tower_rate: its multiples for parts of the network;
    0 freezes a whole tower. encoder_rate replaces speech_tower_rate for the encoder of a whisper tower. encoder_start: fraction
    of the steps before which that encoder is frozen. one_cycle: linear warm-up over a fraction `warmup` of the steps, then
    cosine decay to nearly zero (Smith 2018); else constant after the warm-up. clip_norm: largest gradient norm (0: unlimited).
    average_decay: of the moving average of the weights, which is validated and kept (0: none).
    precision: "fp32" or "bf16" (autocast). checkpoint_activations: less memory for more time.
    augment: fraction of clips put through random rooms, channels and noise. speed_change: largest change of speed and pitch
    (Ko et al. 2015; 0.1: factors of 1 / 1.1 to 1.1). noise: fraction of clips mixed with white noise or other voices,
    noise_db: level of that noise over the clip's in dB, lowest and highest.
    validate_every, save_every: steps (0: each epoch). keep: "last" or "best" weights, by the mean of the validation's metrics.
    takes: how many crops under different conditions a clip has, each embedded once where the speech tower is frozen; 0 draws a
    new one at each step.
    workers: processes that draw batches ahead, for a GPU that would wait for them; they do not change the result.
    """

    seed: int = 1
    steps: int = 0
    epochs: int = 0
    batch: int = 128
    grad_cache_chunks: int = 1
    crop_seconds: tuple[float, float] = (10.0, 10.0)
    learning_rate: float = 1e-5
    speech_tower_rate: float = 1.0
    encoder_rate: float = 1.0
    encoder_start: float = 0.0
    text_tower_rate: float = 1.0
    weight_decay: float = 0.0
    one_cycle: bool = False
    warmup: float = 0.0
    clip_norm: float = 0.0
    average_decay: float = 0.0
    precision: str = "fp32"
    checkpoint_activations: bool = False
    augment: float = 0.0
    speed_change: float = 0.0
    noise: float = 0.0
    noise_db: tuple[float, float] = (-15.0, 12.0)
    validate_every: int = 0
    save_every: int = 0
    keep: str = "last"
    takes: int = 0
    workers: int = 0


@dataclass(frozen=True)
class Sampling:
    """Selection of clips, and their order in batches.

    licences: clips of other licences (the manifests' column) are left out; empty allows all. hold_out: hold clips out for
    validation; else the run has no metrics. leave_out: data sets, by prefix of their names, that are validated on instead of
    trained on; recordings of their speakers in other data sets are left out too. unheard: data sets, by prefix, that are not
    trained on whatever their licence, and that the scales of their attributes are fitted on (Validation), as on held-out
    speakers of the other data sets a scale becomes too large for archives that the model has never heard.
    order: "shuffled": every clip once an epoch. "balanced": by the inverse frequency of tags, with at least `rare_clips` a
    batch that have a tag of less than a fraction `rare_fraction` of the clips (ParaSpeechCLAP-Intrinsic). "weighted": by
    dataset_weights, then evenly over speakers. "lengths": as "weighted", in batches of clips of similar length.
    "same_dataset": as "lengths", in batches of one data set where possible, which gives the hardest negatives.
    dataset_weights: sampling weight by prefix of the data set's name; 1 for all others.
    """

    licences: tuple[str, ...] = ()
    hold_out: bool = True
    leave_out: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()
    order: str = "shuffled"
    rare_fraction: float = 0.05
    rare_clips: int = 2
    dataset_weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """Terms of the loss and their weights; a term of weight 0 is not computed.

    positives: captions that count as positives of a clip. "identity": its own caption alone, as in the papers. "labels": all
    captions that its labels or captions imply; pairs whose truth is unknown are left out. "text_similarity": all captions, in
    proportion to the similarity of the captions under the initial weights. Clips without captions get captions written from
    their labels.
    negations: fraction of the written captions with a negated claim ("not whispered"). hard_negatives: fraction of them that
    are repeated with one false claim ("a sad man" for a sad woman), as hard negatives.
    attributes: weight of classification over each exclusive attribute's labels (softmax at the logit scale);
    attribute_weights: weight by attribute, 1 for all others; ambiguous: weight of a clip with several possible labels
    ("neutral|calm"), relative to a clip with one.
    tags: weight of multi-label classification over the tags of `tag_columns` (ParaSpeechCLAP), each in one of
    `tag_templates`; tag_scale: "none" for bare cosines (the paper), or "logit" for the logit scale.
    self_distillation: weight of the distance to the similarities of a frozen teacher, which has the initial weights
    (RA-CLAP); distillation_form: "cross-entropy" (Primus et al. 2024, at distillation_temperature) or "squared".

    Phonetic models (SCRAPS) only: corruptions: number of corrupted sequences for each clip, as hard negatives. spans: weight
    of the contrast between spans of clips and of phonemes, from a fifth of the steps on. ctc: weight of the CTC loss.
    """

    contrastive: float = 1.0
    positives: str = "labels"
    text_similarity_temperature: float = 0.05
    negations: float = 0.0
    hard_negatives: float = 0.0
    attributes: float = 0.0
    attribute_weights: dict[str, float] = field(default_factory=dict)
    ambiguous: float = 1.0
    tags: float = 0.0
    tag_columns: tuple[str, ...] = ("tags",)
    tag_templates: tuple[str, ...] = ("A person is speaking in a {} style.",)
    tag_scale: str = "none"
    self_distillation: float = 0.0
    distillation_form: str = "cross-entropy"
    distillation_temperature: float = 0.05
    corruptions: int = 0
    spans: float = 0.0
    ctc: float = 0.0


@dataclass(frozen=True)
class Adapter:
    """An adapter, which is fitted in place of training by steps; see encoders.training.adaptation.

    strengths: of the regularisation, the best of which cross-validation chooses; empty for training by steps. folds: of the
    cross-validation, at most.
    """

    strengths: tuple[float, ...] = ()
    folds: int = 5


Part = TypeVar("Part", Schedule, Sampling, Loss, Adapter)
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "schedule": {"precision": ("fp32", "bf16"), "keep": ("last", "best")},
    "sampling": {"order": ("shuffled", "balanced", "weighted", "lengths", "same_dataset")},
    "loss": {
        "positives": ("identity", "labels", "text_similarity"),
        "tag_scale": ("none", "logit"),
        "distillation_form": ("cross-entropy", "squared"),
    },
}


@dataclass(frozen=True)
class Recipe:
    """A training recipe. speech_tower, text_tower, projection: see build_network; a tower may have a `source` of weights.

    init_from: a run, model or published checkpoint with the initial weights of the whole network; "" for none. card: fields of
    the model card.
    """

    name: str
    speech_tower: dict[str, Any]
    text_tower: dict[str, Any]
    projection: dict[str, Any]
    schedule: Schedule
    sampling: Sampling
    loss: Loss
    adapter: Adapter = Adapter()
    init_from: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return asdict(self)


def known_recipes() -> list[str]:
    """Return the names of the recipes that ship."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def load_recipe(name_or_file: str, changes: tuple[str, ...] = ()) -> Recipe:
    """Load a recipe that ships, or a TOML file, and apply changes.

    Args:
        name_or_file: a name of known_recipes(), or a path.
        changes: assignments in TOML, such as "schedule.steps=100" or 'speech_tower.source="wavlm"'; quotes around plain
            words may be left out.

    Raises:
        RecipeError: there is no such recipe, or a field is unknown or has an invalid value.
    """
    raw = _read(name_or_file)
    for change in changes:
        _merge(raw, _assignment(change))
    return recipe_from(raw, Path(name_or_file).stem)


def recipe_from(raw: dict[str, Any], name: str = "") -> Recipe:
    """Build a recipe from plain data; see load_recipe."""
    known = {entry.name for entry in fields(Recipe)}
    _refuse_unknown("a recipe", raw, known)
    missing = [part for part in ("speech_tower", "text_tower", "projection") if part not in raw]
    if raw.get("loss", {}).get("self_distillation") and not raw.get("init_from"):
        raise RecipeError("Self-distillation needs a teacher: name the run or model of the first stage with --init-from.")
    if missing and not raw.get("init_from"):
        raise RecipeError(f"The recipe {name} lacks [{missing[0]}]: add it, or name a run or model with --init-from.")
    schedule = _part("schedule", Schedule, raw.get("schedule", {}))
    sampling = _part("sampling", Sampling, raw.get("sampling", {}))
    loss = _part("loss", Loss, raw.get("loss", {}))
    adapter = _part("adapter", Adapter, raw.get("adapter", {}))
    _refuse_unknown("loss.attribute_weights", loss.attribute_weights, set(load_attributes()))
    if adapter.folds < 2:
        raise RecipeError(f"adapter.folds must be 2 or more, not {adapter.folds}.")
    if not adapter.strengths and (schedule.steps > 0) == (schedule.epochs > 0):
        raise RecipeError("A schedule has either steps or epochs: set one of them, and the other to 0.")
    if schedule.batch < 2:
        raise RecipeError(f"schedule.batch must be 2 or more, not {schedule.batch}.")
    if not 1 <= schedule.grad_cache_chunks <= schedule.batch:
        raise RecipeError(f"schedule.grad_cache_chunks must be 1 to schedule.batch, not {schedule.grad_cache_chunks}.")
    if not 0 < schedule.crop_seconds[0] <= schedule.crop_seconds[1] <= MAX_CROP_SECONDS:
        raise RecipeError(
            f"schedule.crop_seconds are two numbers, rising, over 0 and up to {MAX_CROP_SECONDS}, not {schedule.crop_seconds}."
        )
    if schedule.encoder_start > 1:
        raise RecipeError(f"schedule.encoder_start is a fraction of the steps, 0 to 1, not {schedule.encoder_start}.")
    if schedule.takes and (schedule.speech_tower_rate or loss.self_distillation):
        raise RecipeError("schedule.takes need schedule.speech_tower_rate = 0 and loss.self_distillation = 0.")
    return Recipe(
        name=raw.get("name", name),
        speech_tower=dict(raw.get("speech_tower", {})),
        text_tower=dict(raw.get("text_tower", {})),
        projection=dict(raw.get("projection", {})),
        schedule=schedule,
        sampling=sampling,
        loss=loss,
        adapter=adapter,
        init_from=raw.get("init_from", ""),
        card=raw.get("card", {}),
    )


def _read(name_or_file: str) -> dict[str, Any]:
    path = RECIPES / f"{name_or_file}.toml" if name_or_file in known_recipes() else Path(name_or_file)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"There is no recipe {name_or_file!r}. Known: {', '.join(known_recipes())}; or give a .toml file."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as TOML ({error}).") from error
    base = raw.pop("extends", None)
    if base is None:
        return raw
    merged = _read(base)
    _merge(merged, raw)
    return merged


EITHER = {"steps": "epochs", "epochs": "steps"}
"""Pairs of fields of which the last one given counts."""


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if key in EITHER:
            into.pop(EITHER[key], None)
        whole = key == "config" or (isinstance(value, dict) and value.get("kind", "") not in ("", _kind(into.get(key))))
        if isinstance(value, dict) and isinstance(into.get(key), dict) and not whole:
            _merge(into[key], value)
        else:
            into[key] = value


def _kind(part: Any) -> str:
    """Return the kind of a tower or projection, "" if there is none; options of one kind do not apply to another."""
    return part.get("kind", "") if isinstance(part, dict) else ""


def _assignment(change: str) -> dict[str, Any]:
    name, equals, value = change.partition("=")
    if not equals:
        raise RecipeError(f"{change!r} is not an assignment such as schedule.steps=100.")
    for text in (change, f"{name}={value.strip()!r}"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(f"{change!r} is not an assignment such as schedule.steps=100.")


def _refuse_unknown(section: str, raw: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(raw) - known)
    if unknown:
        raise RecipeError(f"There is no field {unknown[0]!r} in {section}. Known: {', '.join(sorted(known))}.")


def _part(part: str, kind: type[Part], raw: dict[str, Any]) -> Part:
    defaults = kind()
    _refuse_unknown(f"[{part}]", raw, {entry.name for entry in fields(kind)})
    values = {}
    for name, value in raw.items():
        default = getattr(defaults, name)
        values[name] = _value(f"{part}.{name}", value, default)
        choices = CHOICES.get(part, {}).get(name)
        if choices and value not in choices:
            raise RecipeError(f"{part}.{name} is {' or '.join(map(repr, choices))}, not {value!r}.")
    return kind(**values)


def _value(name: str, value: Any, default: Any) -> Any:
    """Convert a value to the type of the field's default."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(float(item) if isinstance(item, int) else item for item in value)
    if type(value) is not type(default):
        raise RecipeError(f"{name} is of type {type(default).__name__}, not {value!r}.")
    if isinstance(value, (int, float)) and value < 0:
        raise RecipeError(f"{name} cannot be negative, as {value!r} is.")
    return value
