"""The dual encoder: a speech tower and a text tower, each projected into one embedding space."""

import math

import torch
from torch import Tensor, nn


class Tower(nn.Module):
    """An encoder of speech or text into features. width: of the features."""

    width: int

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, which trades time for memory; nothing for towers that cannot."""


class Projection(nn.Module):
    """Two linear layers with a residual connection and layer normalisation (ParaSpeechCLAP, section 3.1).

    e1 = linear1(x); e2 = dropout(linear2(gelu(e1))); layer_norm(e1 + e2).
    """

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inputs, outputs, bias=False)
        self.linear2 = nn.Linear(outputs, outputs, bias=False)
        self.layer_norm = nn.LayerNorm(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Features [batch, inputs] -> [batch, outputs], not of unit length."""
        linear = self.linear1(features)
        return self.layer_norm(linear + self.dropout(self.linear2(nn.functional.gelu(linear))))


class ReluProjection(nn.Module):
    """Two linear layers with a ReLU between them (ESS-CLAP)."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inputs, outputs)
        self.linear2 = nn.Linear(outputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Features [batch, inputs] -> [batch, outputs], not of unit length."""
        return self.linear2(self.dropout(nn.functional.relu(self.linear1(features))))


class DualEncoder(nn.Module):
    """Speech and text into one space of `dimension` unit vectors, with a learned log logit scale (capped at 100).

    Args:
        speech_tower, text_tower: modules with the forward of the towers in this package.
        projection: the class that projects each tower's features.
        adapter: whether a linear adapter changes the speech embeddings, see training.adaptation.
        dimension: width of the embeddings.
        dropout: dropout rate of the projections.
    """

    def __init__(
        self,
        speech_tower: Tower,
        text_tower: Tower,
        dimension: int = 256,
        dropout: float = 0.5,
        projection: type[nn.Module] = Projection,
        *,
        adapter: bool = False,
    ) -> None:
        super().__init__()
        self.speech_tower, self.text_tower = speech_tower, text_tower
        self.speech_projection = projection(speech_tower.width, dimension, dropout)
        self.text_projection = projection(text_tower.width, dimension, dropout)
        self.speech_adapter = nn.Linear(dimension, dimension, bias=False) if adapter else None
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.dimension = dimension

    @property
    def logit_scale(self) -> Tensor:
        """Factor of cosines before a softmax: 1 / temperature, at most 100."""
        return self.log_logit_scale.exp().clamp(max=100.0)

    def embed_speech(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveform [batch, samples] at 16 kHz, zero after `lengths` [batch] -> unit vectors [batch, dimension]."""
        return self.project_speech(self.speech_tower(waveform, lengths))

    def project_speech(self, features: Tensor) -> Tensor:
        """Features of the speech tower [..., width] -> unit vectors [..., dimension]."""
        speech = nn.functional.normalize(self.speech_projection(features).float(), dim=-1)
        if self.speech_adapter is None:
            return speech
        return nn.functional.normalize(speech + self.speech_adapter(speech), dim=-1)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask [batch, tokens] -> unit vectors [batch, dimension]."""
        return self.project_text(self.text_tower(input_ids, attention_mask))

    def project_text(self, features: Tensor) -> Tensor:
        """Features of the text tower [..., width] -> unit vectors [..., dimension]."""
        return nn.functional.normalize(self.text_projection(features).float(), dim=-1)
