"""Initial weights: pretrained or distilled towers, a former run, a model folder, or a published checkpoint."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from voxdex.encoders.errors import SourceError
from voxdex.encoders.model_card import PHONEMES, SPEECH, TEXT, TOKENIZER, ModelError, locate, read_card
from voxdex.encoders.networks.dual_encoder import DualEncoder
from voxdex.encoders.networks.factory import build_network
from voxdex.encoders.paths import package_file, voxdex_home
from voxdex.encoders.phonetic.g2p import phoneme_tokenizer, phonemes_of
from voxdex.encoders.training.recipe import Recipe
from voxdex.encoders.training.whisper import convert_whisper, read_whisper, whisper_file

RUN, WEIGHTS, TEXT_TOWER = "run.json", "weights.safetensors", "text_tower.safetensors"
MOST_TOKENS = 512


@dataclass(frozen=True)
class TrainingBundle:
    """A network, its architecture (see build_network) and its tokenizer.

    has_trained_speech: the speech tower was trained before, and so knows the scale of its inputs. scales, hears: see ModelCard.
    """

    network: DualEncoder
    architecture: dict[str, dict[str, Any]]
    tokenizer: Tokenizer
    has_trained_speech: bool = False
    scales: dict[str, float] = field(default_factory=dict)
    hears: dict[str, list[str]] = field(default_factory=dict)


def load_initial(recipe: Recipe, rows: Sequence[dict[str, str]]) -> TrainingBundle:
    """Build the network of a recipe with its initial weights.

    With `recipe.init_from`, the whole network, weights and tokenizer are those of that run or model. Else each tower has its
    `source`: a folder of the transformers library, a package with one or a name on the HuggingFace hub for kind "pretrained",
    the same or a CTranslate2 file (see whisper_file) for kind "whisper", a folder made by encoders.training.scripts.distil for
    kind "transformer". A tower of kind "phonemes" needs none: its tokenizer is built from the phonemes of the manifests' rows.
    A speech tower's source may also be a training run, whose speech tower and projection are taken as they are.

    Raises:
        SourceError: a source is missing or does not fit. NetworkError: the network cannot be built.
    """
    if recipe.init_from:
        return load_trained(recipe.init_from)
    speech, text = dict(recipe.speech_tower), dict(recipe.text_tower)
    speech_source, text_source = speech.pop("source", ""), text.pop("source", "")
    if text["kind"] == "phonemes" and not text_source:
        return _initial_phonetic(recipe, phoneme_tokenizer(phonemes_of(rows)))
    if not text_source:
        raise SourceError(
            "The recipe names no text_tower.source, so there is no tokenizer. Give one with --set text_tower.source=..."
        )
    encoder_weights: dict[str, Tensor] = {}
    former = load_trained(speech_source) if (Path(speech_source) / RUN).is_file() else None
    if former:
        speech, speech_source = former.architecture["speech_tower"], ""
    elif speech["kind"] == "pretrained":
        speech = pretrained_speech(speech_source, **speech)
    if speech["kind"] == "whisper" and speech_source:
        shape, encoder_weights = whisper_encoder(speech_source)
        speech |= {name: shape[name] for name in ("mel_bins", "width", "heads")}
    if text["kind"] == "pretrained":
        text["config"] = pretrained_description(text_source, text.get("config"))
        tokenizer = pretrained_tokenizer(text_source)
    else:
        tokenizer = read_tokenizer(Path(text_source))
    architecture = {"speech_tower": speech, "text_tower": text, "projection": dict(recipe.projection)}
    network = build_network(architecture)
    for part, source in (("speech_tower", speech_source), ("text_tower", text_source)):
        tower = getattr(network, part)
        if architecture[part]["kind"] == "pretrained":
            _load(tower.model, _pretrained_weights(source, architecture[part]["config"]), source)
        elif part == "speech_tower" and encoder_weights:
            _load(tower.encoder, encoder_weights, source)
        elif source:
            _load(tower, read_weights(Path(source) / TEXT_TOWER), source)
    if former:
        network.speech_tower.load_state_dict(former.network.speech_tower.state_dict())
        _load(network.speech_projection, former.network.speech_projection.state_dict(), recipe.speech_tower["source"])
    return TrainingBundle(network, architecture, tokenizer, has_trained_speech=former is not None)


def _initial_phonetic(recipe: Recipe, tokenizer: Tokenizer) -> TrainingBundle:
    known = {"vocabulary": tokenizer.get_vocab_size()}
    towers = {"speech_tower": recipe.speech_tower | known, "text_tower": recipe.text_tower | known}
    architecture = towers | {"projection": dict(recipe.projection)}
    return TrainingBundle(build_network(architecture), architecture, tokenizer)


def load_trained(source: str) -> TrainingBundle:
    """Load a training run (a folder), a model with towers of this package (a name or folder), or a published checkpoint.

    Raises:
        SourceError: it is none of these, or its weights cannot be used.
    """
    folder = Path(source)
    if folder.is_file():
        from voxdex.encoders.training.paraspeechclap import open_published

        return open_published(folder)
    if (folder / RUN).is_file():
        about = json.loads((folder / RUN).read_text(encoding="utf-8"))
        architecture, scales, hears = about["architecture"], about.get("scales", {}), about.get("hears", {})
        weights = read_weights(folder / WEIGHTS)
    else:
        try:
            folder = locate(source)
            card = read_card(folder)
        except ModelError as error:
            raise SourceError(f"{source} is neither a training run (a folder with {RUN}) nor a model. {error}") from error
        architecture, scales, hears = card.architecture, card.scales, card.hears
        weights = _graph_weights(folder, card.logit_scale)
    network = build_network(architecture)
    _load(network, weights, source)
    return TrainingBundle(network, architecture, read_tokenizer(folder), has_trained_speech=True, scales=scales, hears=hears)


def whisper_encoder(source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return shape (the arguments of WhisperEncoder, with all blocks) and weights of a Whisper model's encoder.

    Args:
        source: a CTranslate2 file as whisper_file() finds it, else a folder of the transformers library or a name on the hub.
    """
    path = whisper_file(source)
    if path:
        return read_whisper(path)
    from transformers import WhisperConfig, WhisperModel

    config = _from_hub(source, WhisperConfig.from_pretrained, "config.json").to_dict()
    return convert_whisper(_from_hub(source, WhisperModel.from_pretrained, "model.safetensors").state_dict(), config, source)


def pretrained_speech(source: str, **options: Any) -> dict[str, Any]:
    """Return the options of a pretrained speech tower: its config, and whether its feature extractor normalises."""
    options["config"] = pretrained_description(source, options.get("config"))
    if "normalise" not in options:
        from transformers import AutoFeatureExtractor

        extractor = _from_hub(source, AutoFeatureExtractor.from_pretrained, "preprocessor_config.json")
        if extractor.sampling_rate != 16_000:
            raise SourceError(f"{source} hears sound at {extractor.sampling_rate} Hz; Voxdex works at 16000 Hz.")
        options["normalise"] = bool(extractor.do_normalize)
    return options


def pretrained_description(source: str, changes: dict[str, Any] | None) -> dict[str, Any]:
    """Return to_dict() of a transformers config, from a folder or the hub, with changes; without the place it was read from."""
    from transformers import AutoConfig

    description = _from_hub(source, AutoConfig.from_pretrained, "config.json").to_dict() | (changes or {})
    description.pop("_name_or_path", None)
    return description


def pretrained_tokenizer(source: str) -> Tokenizer:
    """Return the tokenizer of a text transformer, with its padding and truncation."""
    from transformers import AutoConfig, AutoTokenizer

    wrapped = _from_hub(source, AutoTokenizer.from_pretrained, "tokenizer.json")
    config = _from_hub(source, AutoConfig.from_pretrained, "config.json")
    tokenizer = Tokenizer.from_str(wrapped.backend_tokenizer.to_str())
    positions = getattr(config, "max_position_embeddings", MOST_TOKENS)
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= config.pad_token_id + 1  # positions start after the id of padding
    tokenizer.enable_truncation(min(positions, wrapped.model_max_length, MOST_TOKENS))
    tokenizer.enable_padding(pad_id=wrapped.pad_token_id, pad_token=wrapped.pad_token)
    return tokenizer


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read tokenizer.json of a folder."""
    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception
        raise SourceError(f"{folder / TOKENIZER} cannot be read ({error}).") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file."""
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own and OSError
        raise SourceError(f"{path} cannot be read as safetensors ({error}).") from error


def _from_hub(source: str, load: Callable[..., Any], file: str) -> Any:
    """Load from a folder, from the user's copy of the hub's files, or from the hub."""
    if not source:
        raise SourceError("A pretrained tower needs a source: a folder, or a name on the HuggingFace hub.")
    brought, packaged = voxdex_home() / "hub" / source, package_file(source, "config.json")
    place = next((path for path in (Path(source), brought) if path.is_dir()), packaged.parent if packaged else None)
    try:
        return load(str(place or source))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if place:
            raise SourceError(f"{place} has no {file} that can be read ({reason}).") from error
        raise SourceError(
            f"{source} is not a folder here, and the HuggingFace hub does not give it ({reason}). "
            f"Bring its files to {brought}, or give a folder that holds them; {file} is one of them."
        ) from error


def _pretrained_weights(source: str, description: dict[str, Any]) -> dict[str, Tensor]:
    from transformers import AutoModel

    from voxdex.encoders.networks.pretrained import pretrained_config

    config = pretrained_config(description)
    return _from_hub(source, lambda place: AutoModel.from_pretrained(place, config=config), "model.safetensors").state_dict()


def _graph_weights(folder: Path, logit_scale: float) -> dict[str, Tensor]:
    """Return the weights of a network from the initializers of its graphs, which have the names of the weights.

    Those of compact models have suffixes: ".fp16", or ".int8" beside ".int8_scale".
    """
    import onnx
    from onnx.numpy_helper import to_array

    weights = {"log_logit_scale": torch.tensor(logit_scale).log()}
    for file in (SPEECH, PHONEMES if (folder / PHONEMES).exists() else TEXT):
        stored = {tensor.name: torch.tensor(to_array(tensor)) for tensor in onnx.load(str(folder / file)).graph.initializer}
        for name, tensor in stored.items():
            if name.endswith(".int8_scale"):
                continue
            if name.endswith(".int8"):
                name, tensor = name.removesuffix(".int8"), tensor * stored[f"{name}_scale"]
            name = name.removesuffix(".fp16")
            weights[name.removesuffix(".T")] = tensor.float().T.contiguous() if name.endswith(".T") else tensor.float()
    return weights


def _load(module: torch.nn.Module, weights: dict[str, Tensor], source: str) -> None:
    own = module.state_dict()
    missing = sorted(set(own) - set(weights))
    wrong = sorted(name for name in set(own) & set(weights) if own[name].shape != weights[name].shape)
    if missing or wrong:
        what = f"has no {missing[0]}" if missing else f"has a {wrong[0]} of another shape"
        raise SourceError(f"{source} cannot be started from: it {what} ({len(missing) + len(wrong)} such weights).")
    module.load_state_dict({name: weights[name] for name in own})
