"""Towers from the transformers library: WavLM, HuBERT and wav2vec 2.0 for speech; BERT, (XLM-)RoBERTa and kin for text."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from voxdex.encoders.errors import NetworkError
from voxdex.encoders.networks.dual_encoder import Tower
from voxdex.encoders.networks.frontend import frame_mask, masked_mean

warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")  # WavLM's masks, in transformers

SPEECH_TYPES = ("wavlm", "hubert", "wav2vec2")
NORMALISATION_FLOOR = 1e-7
"""Added to the variance of a waveform, as in transformers' feature extractor."""


def pretrained_config(description: dict[str, Any]) -> PreTrainedConfig:
    """Restore a config of the transformers library from its to_dict().

    Raises:
        NetworkError: it has no model_type, or an unknown one.
    """
    kind = description.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise NetworkError(f"transformers knows no model of type {kind!r}; the tower's config.json is not one of its configs.")
    return CONFIG_MAPPING[kind].from_dict(description)


class PretrainedSpeechTower(Tower):
    """Waveform -> features by a self-supervised speech transformer, independent of padding and the other clips of the batch.

    Args:
        config: to_dict() of the config of a WavLM, HuBERT or wav2vec 2.0 model.
        layers: "last", the last hidden state (ParaSpeechCLAP), or "weighted", a learned softmax-weighted sum over all
            layers and the input of the first (ESS-CLAP).
        pooling: "masked", the mean over the frames of the clip, or "all", padding included: what ParaSpeechCLAP did
            before June 2026, and what makes an embedding depend on its neighbours in the batch.
        normalise: normalise each clip to zero mean and unit variance; as in the model's feature extractor.

    Raises:
        NetworkError: the config is of another type of model, or an option is none of those above.
    """

    def __init__(
        self, config: dict[str, Any], layers: str = "last", pooling: str = "masked", *, normalise: bool = True
    ) -> None:
        super().__init__()
        built = pretrained_config(config)
        if built.model_type not in SPEECH_TYPES:
            raise NetworkError(f"A speech tower is one of {', '.join(SPEECH_TYPES)}, not {built.model_type!r}.")
        if getattr(built, "add_adapter", False):
            raise NetworkError("A speech tower with an adapter (add_adapter) is not supported: set it to false.")
        for name, value, known in (("layers", layers, ("last", "weighted")), ("pooling", pooling, ("masked", "all"))):
            if value not in known:
                raise NetworkError(f"{name} of a speech tower is {' or '.join(map(repr, known))}, not {value!r}.")
        self.model = AutoModel.from_config(built)
        self.layers, self.pooling, self.normalise = layers, pooling, normalise
        self.width = built.hidden_size
        self.layer_weights = nn.Parameter(torch.zeros(built.num_hidden_layers + 1)) if layers == "weighted" else None
        self.receptive_field = 1
        for kernel, stride in reversed(list(zip(built.conv_kernel, built.conv_stride, strict=True))):
            self.receptive_field = (self.receptive_field - 1) * stride + kernel

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, which trades time for memory in training."""
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveform [batch, samples] in -1..1 at 16 kHz, zero after `lengths` [batch] -> features [batch, width]."""
        if self.normalise:
            waveform = normalise_waveform(waveform, lengths)
        waveform = nn.functional.pad(waveform, (0, self.receptive_field - 1))  # one frame at least
        frames = self.model._get_feat_extract_output_lengths(lengths).clamp(min=1)
        features = self._convolve(waveform, lengths)
        mask = frame_mask(frames, features.shape[1])
        states = self._transform(features, mask)
        return states.mean(dim=1) if self.pooling == "all" else masked_mean(states, mask)

    def _convolve(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Apply the convolutional front end, with group normalisation, if any, over the clip's own frames."""
        x = waveform[:, None]
        for layer, stride in zip(self.model.feature_extractor.conv_layers, self.model.config.conv_stride, strict=True):
            if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                x = layer.conv(x)
                frames = ((lengths - layer.conv.kernel_size[0]) // stride + 1).clamp(min=1)
                x = layer.activation(masked_group_norm(x, frame_mask(frames, x.shape[2]), layer.layer_norm))
            else:
                x = layer(x)
        return x.transpose(1, 2)

    def _transform(self, features: Tensor, mask: Tensor) -> Tensor:
        projected = self.model.feature_projection(features)
        x = projected[0] if isinstance(projected, tuple) else projected  # HuBERT returns no second value
        valid = mask[:, :, 0] > 0
        x = self.model._mask_hidden_states(x, attention_mask=valid)
        if self.layer_weights is None:
            return self.model.encoder(x, attention_mask=valid).last_hidden_state
        states: list[Tensor] = []
        layers = self.model.encoder.layers
        hooks = [layers[0].register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))]
        hooks += [layer.register_forward_hook(lambda _, _inputs, output: states.append(_first(output))) for layer in layers]
        self.model.encoder(x, attention_mask=valid)
        for hook in hooks:
            hook.remove()
        weights = torch.softmax(self.layer_weights, dim=0)
        return sum(weight * state for weight, state in zip(weights, states, strict=True))


class PretrainedTextTower(Tower):
    """Token ids -> features by a text transformer.

    Args:
        config: to_dict() of the model's config.
        pooling: "first", the first token's last hidden state, or "mean" over the tokens.

    Raises:
        NetworkError: the config cannot be built, or pooling is neither.
    """

    def __init__(self, config: dict[str, Any], pooling: str = "first") -> None:
        super().__init__()
        if pooling not in ("first", "mean"):
            raise NetworkError(f"pooling of a text tower is 'first' or 'mean', not {pooling!r}.")
        built = pretrained_config(config)
        self.model = AutoModel.from_config(built)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None
        self.pooling, self.width = pooling, built.hidden_size

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, which trades time for memory in training."""
        self.model.config.use_cache = False
        self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids and attention_mask, both int64 [batch, tokens] -> features [batch, width]."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "first":
            return states[:, 0]
        return masked_mean(states, attention_mask[:, :, None].to(states.dtype))


def normalise_waveform(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Normalise each clip to zero mean and unit variance over its own samples, with padding at zero: [batch, samples]."""
    mask = frame_mask(lengths, waveform.shape[1])[:, :, 0]
    centred = (waveform - masked_mean(waveform[:, :, None], mask[:, :, None])) * mask
    variance = centred.square().sum(dim=1, keepdim=True) / lengths[:, None]
    return centred / (variance + NORMALISATION_FLOOR).sqrt()


def masked_group_norm(x: Tensor, mask: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Apply `norm`, with a group for each channel, over valid frames: x [batch, channels, frames], mask [batch, frames, 1]."""
    valid = mask.transpose(1, 2)
    count = valid.sum(dim=2, keepdim=True)
    centred = x - (x * valid).sum(dim=2, keepdim=True) / count
    variance = (centred.square() * valid).sum(dim=2, keepdim=True) / count
    return centred / (variance + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
