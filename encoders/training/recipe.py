"""Recipes: what is trained, on what schedule and against which loss, as data (TOML)."""

import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from encoders.attributes import load_attributes

LONGEST_CROP = 20
"""Seconds."""
RECIPES = Path(__file__).parent / "recipes"


class RecipeError(ValueError):
    """A recipe that cannot be used. The message is a sentence for the user."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    seed: of every draw. steps or epochs: the length; the other is 0. batch: clips in one loss, over all processes.
    parts: pieces a batch is embedded in to save memory; the loss is that of the whole batch (Gao et al. 2021, GradCache).
    crop_seconds: shortest and longest random crop; clips with phonemes are taken whole, and longer ones left aside. rates are
    multiples of learning_rate; encoder_rate is of a whisper tower's encoder, instead of the tower's, and encoder_start the
    share of the steps before which it is not trained. one_cycle: warm up over `warmup` of the steps, then fall to nearly
    zero (Smith 2018); else constant after the warm-up. clip_norm: largest norm of the gradients (0 = any).
    average_decay: of the moving average of the weights that is validated and kept (0 = none).
    precision: "fp32" or "bf16" (autocast). checkpoint_activations: less memory, more time. augment: share of clips that
    are put through random rooms, lines and noise. speed_change: how much faster or slower clips are played at most, and so
    higher or lower (Ko et al. 2015; 0.1: from 1 / 1.1 to 1.1). noise: share of clips put under white noise or other voices,
    noise_db: which are from so many dB to so many dB louder than the clip. validate_every, save_every: steps (0 = each epoch).
    keep: "last" or "best", by the mean of the validation's figures. workers: processes that draw batches ahead, for a GPU
    that would wait for them; none changes what is learned.
    """

    seed: int = 1
    steps: int = 0
    epochs: int = 0
    batch: int = 128
    parts: int = 1
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
    workers: int = 0


@dataclass(frozen=True)
class Sampling:
    """Which clips are trained on, and which make a batch.

    licences: clips of other licences (the manifests' column) are left aside; none takes all. hold_out: whether clips are
    held out to validate on; without, the run has no figures. leave_out: data sets, by the beginnings of their names, that are
    not trained on at all, nor are other recordings of their speakers, and that alone are validated on.
    order: "shuffled" (every clip once an epoch), "balanced" (by the inverse frequency of tags, at least `rare_clips` a
    batch with a tag that under `rare_share` of the clips have; ParaSpeechCLAP-Intrinsic), "shares" (by data set, then
    evenly over speakers), "lengths" (the same, in batches of clips of like length) or "alike" (in batches of one data set
    as well, as far as that goes: the hardest negatives).
    shares: how often a data set is drawn from, by the beginning of its name; others 1.
    """

    licences: tuple[str, ...] = ()
    hold_out: bool = True
    leave_out: tuple[str, ...] = ()
    order: str = "shuffled"
    rare_share: float = 0.05
    rare_clips: int = 2
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """What a step minimises; a weight of 0 leaves a part out.

    positives: which captions of a batch are right for a clip: "own" alone (the papers), "fitting", all that its labels or
    captions say fit, unknown pairs left out, or "similar", in proportion to the likeness of captions to the starting
    weights. Captions written from labels come from the manifest's attributes where it has no captions.
    denials: share of the captions written from labels that also say what does not hold ("not whispered"). twists: share of
    them that take part a second time with one claim made false ("a sad man" of a sad woman), as hard negatives.
    attributes: weight of classification over each exclusive attribute's labels (softmax at the logit scale);
    attribute_weights: how much attributes count in it, others 1; ambiguous: how much a clip counts of which several labels
    of an attribute could hold ("neutral|calm"), against one with a label.
    tags: weight of multi-label classification over the tags of `tag_columns` (ParaSpeechCLAP), each with one of
    `tag_templates`; tag_scale: "none", the bare cosine (the paper), or "logit" (times the logit scale).
    soft_matches: weight of the distance to a frozen teacher's similarities, the weights that training starts from
    (RA-CLAP); soft_form "cross-entropy" (Primus et al. 2024, at soft_temperature) or "squared".

    Of phonemes (SCRAPS): corruptions: how many corrupted sequences stand beside each clip's own as hard negatives. spans:
    weight of the contrast between parts of clips and parts of their phonemes, from a fifth of the steps on, when the
    network can tell where they lie. ctc: weight of connectionist temporal classification of frames.
    """

    contrastive: float = 1.0
    positives: str = "fitting"
    similar_temperature: float = 0.05
    denials: float = 0.0
    twists: float = 0.0
    attributes: float = 0.0
    attribute_weights: dict[str, float] = field(default_factory=dict)
    ambiguous: float = 1.0
    tags: float = 0.0
    tag_columns: tuple[str, ...] = ("tags",)
    tag_templates: tuple[str, ...] = ("A person is speaking in a {} style.",)
    tag_scale: str = "none"
    soft_matches: float = 0.0
    soft_form: str = "cross-entropy"
    soft_temperature: float = 0.05
    corruptions: int = 0
    spans: float = 0.0
    ctc: float = 0.0


CHOICES = {
    "schedule": {"precision": ("fp32", "bf16"), "keep": ("last", "best")},
    "sampling": {"order": ("shuffled", "balanced", "shares", "lengths", "alike")},
    "loss": {
        "positives": ("own", "fitting", "similar"),
        "tag_scale": ("none", "logit"),
        "soft_form": ("cross-entropy", "squared"),
    },
}


@dataclass(frozen=True)
class Recipe:
    """A recipe. speech_tower, text_tower, projection: see build_network; a tower may have a `source` to start from.

    start: a run or a model to take all weights from. card: what the model card says beside the figures.
    """

    name: str
    speech_tower: dict[str, Any]
    text_tower: dict[str, Any]
    projection: dict[str, Any]
    schedule: Schedule
    sampling: Sampling
    loss: Loss
    start: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain data, for a run to keep."""
        return asdict(self)


def known_recipes() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def load_recipe(name_or_file: str, changes: tuple[str, ...] = ()) -> Recipe:
    """A recipe that ships or a TOML file, with changes.

    Args:
        name_or_file: a name of known_recipes(), or a path.
        changes: assignments in TOML, such as "schedule.steps=100" or 'speech_tower.source="wavlm"'; quotes around plain
            words may be left out.

    Raises:
        RecipeError: there is no such recipe, or a field is unknown or has a value that cannot be.
    """
    raw = _read(name_or_file)
    for change in changes:
        _merge(raw, _assignment(change))
    return recipe_from(raw, Path(name_or_file).stem)


def recipe_from(raw: dict[str, Any], name: str = "") -> Recipe:
    """A recipe from plain data; see load_recipe."""
    parts = {"schedule": Schedule, "sampling": Sampling, "loss": Loss}
    known = {entry.name for entry in fields(Recipe)}
    _refuse_unknown("a recipe", raw, known)
    missing = [part for part in ("speech_tower", "text_tower", "projection") if part not in raw]
    if raw.get("loss", {}).get("soft_matches") and not raw.get("start"):
        raise RecipeError("Soft matches need a teacher: give the run or model of the first stage with --start.")
    if missing and not raw.get("start"):
        raise RecipeError(f"The recipe {name} lacks [{missing[0]}], and starts from nothing that has one.")
    built = {part: _part(part, kind, raw.get(part, {})) for part, kind in parts.items()}
    towers = {part: dict(raw.get(part, {})) for part in ("speech_tower", "text_tower", "projection")}
    schedule = built["schedule"]
    _refuse_unknown("loss.attribute_weights", built["loss"].attribute_weights, set(load_attributes()))
    if (schedule.steps > 0) == (schedule.epochs > 0):
        raise RecipeError("A schedule has either steps or epochs: set one of them, and the other to 0.")
    if schedule.batch < 2 or not 1 <= schedule.parts <= schedule.batch:
        raise RecipeError(
            f"schedule.batch must be 2 or more and schedule.parts between 1 and it, not {schedule.batch}, {schedule.parts}."
        )
    if not 0 < schedule.crop_seconds[0] <= schedule.crop_seconds[1] <= LONGEST_CROP:
        raise RecipeError(
            f"schedule.crop_seconds are two numbers, rising, over 0 and up to {LONGEST_CROP}, not {schedule.crop_seconds}."
        )
    if schedule.encoder_start > 1:
        raise RecipeError(f"schedule.encoder_start is a share of the steps, 0 to 1, not {schedule.encoder_start}.")
    return Recipe(name=raw.get("name", name), start=raw.get("start", ""), card=raw.get("card", {}), **towers, **built)


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
"""Fields of which the later one given counts."""


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        into.pop(EITHER.get(key), None)
        whole = key == "config" or (isinstance(value, dict) and value.get("kind", "") not in ("", _kind(into.get(key))))
        if isinstance(value, dict) and isinstance(into.get(key), dict) and not whole:
            _merge(into[key], value)
        else:
            into[key] = value


def _kind(part: Any) -> str:
    """The kind of a tower or projection; what is said of one of another kind does not hold of it."""
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


def _refuse_unknown(place: str, raw: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(raw) - known)
    if unknown:
        raise RecipeError(f"There is no field {unknown[0]!r} in {place}. Known: {', '.join(sorted(known))}.")


def _part(part: str, kind: type, raw: dict[str, Any]):
    defaults = kind()
    _refuse_unknown(f"[{part}]", raw, {entry.name for entry in fields(kind)})
    values = {}
    for name, value in raw.items():
        default = getattr(defaults, name)
        values[name] = _value(f"{part}.{name}", value, default)
        choices = CHOICES[part].get(name)
        if choices and value not in choices:
            raise RecipeError(f"{part}.{name} is {' or '.join(map(repr, choices))}, not {value!r}.")
    return kind(**values)


def _value(name: str, value: Any, default: Any) -> Any:
    """The value as the field's type, where it fits."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(float(item) if isinstance(item, int) else item for item in value)
    if type(value) is not type(default):
        raise RecipeError(f"{name} is of type {type(default).__name__}, not {value!r}.")
    if isinstance(value, (int, float)) and value < 0:
        raise RecipeError(f"{name} cannot be negative, as {value!r} is.")
    return value
