"""Networks built from their architecture as data, as recipes and model cards hold it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from voxdex.encoders.errors import NetworkError
from voxdex.encoders.networks.dual_encoder import DualEncoder, Projection, ReluProjection, Tower
from voxdex.encoders.networks.scraps import AcousticTower, PhonemeTower
from voxdex.encoders.networks.speech_tower import ConvNeXtSpeechTower
from voxdex.encoders.networks.text_tower import TransformerTextTower
from voxdex.encoders.networks.whisper_tower import WhisperSpeechTower

PROJECTIONS: dict[str, type[nn.Module]] = {"residual": Projection, "relu": ReluProjection}
Part = TypeVar("Part", bound=nn.Module)


def build_network(architecture: dict[str, dict[str, Any]]) -> DualEncoder:
    """Build a dual encoder with random weights.

    Args:
        architecture: `speech_tower` (kind "convnext", "whisper", "acoustic" or "pretrained"), `text_tower` (kind
            "transformer", "phonemes" or "pretrained") and `projection` (kind "residual" or "relu", dimension, dropout,
            adapter), each with the arguments of its class; a pretrained tower's `config` is the to_dict() of its transformers
            config.

    Raises:
        NetworkError: a part has an unknown kind, or invalid arguments.
    """
    towers: dict[str, dict[str, Callable[..., Tower]]] = {
        "speech_tower": {
            "convnext": ConvNeXtSpeechTower,
            "whisper": WhisperSpeechTower,
            "acoustic": AcousticTower,
            "pretrained": _pretrained_speech,
        },
        "text_tower": {"transformer": TransformerTextTower, "phonemes": PhonemeTower, "pretrained": _pretrained_text},
    }
    speech, text = (_build(part, kinds, architecture[part]) for part, kinds in towers.items())
    projections = {kind: partial(DualEncoder, speech, text, projection=chosen) for kind, chosen in PROJECTIONS.items()}
    return _build("projection", projections, architecture["projection"])


def _build(part: str, kinds: Mapping[str, Callable[..., Part]], description: Mapping[str, Any]) -> Part:
    options = dict(description)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise NetworkError(f"{part}.kind is {' or '.join(map(repr, kinds))}, not {kind!r}.")
    try:
        return kinds[kind](**options)
    except NetworkError:
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise NetworkError(f"The {part.replace('_', ' ')} cannot be built as described: {error}.") from error


def _pretrained_speech(**options: Any) -> Tower:
    from voxdex.encoders.networks.pretrained import PretrainedSpeechTower  # transformers takes seconds to import

    return PretrainedSpeechTower(**options)


def _pretrained_text(**options: Any) -> Tower:
    from voxdex.encoders.networks.pretrained import PretrainedTextTower

    return PretrainedTextTower(**options)
