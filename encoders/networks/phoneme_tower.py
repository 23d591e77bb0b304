"""The phonetic side of SCRAPS: a small transformer over the phonemes of an utterance (Valles-Perez et al., section 3)."""

import torch
from torch import Tensor, nn

from encoders.networks.order_pooling import OrderPooling
from encoders.networks.text_tower import TransformerBlock


class PhonemeTower(nn.Module):
    """Phoneme ids -> features that keep their order.

    Args:
        vocabulary: number of phonemes, padding (0) and the unknown one included.
        hidden, layers, heads: shape of the transformer.
        features, places: see OrderPooling.
        longest: most phonemes of an utterance; longer ones are cut by the tokenizer.
    """

    def __init__(
        self,
        vocabulary: int,
        hidden: int = 192,
        layers: int = 3,
        heads: int = 4,
        features: int = 64,
        places: int = 24,
        longest: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"a hidden width of {hidden} is not divisible by {heads} heads")
        self.tokens = nn.Embedding(vocabulary, hidden)
        self.positions = nn.Embedding(longest, hidden)
        nn.init.normal_(self.tokens.weight, std=0.05)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.neighbours = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.blocks = nn.ModuleList(TransformerBlock(hidden, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.pooling = OrderPooling(hidden, features, places)
        self.longest, self.width = longest, self.pooling.width

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """A state for each phoneme [batch, tokens, hidden], zero for padding."""
        mask = attention_mask.to(self.tokens.weight.dtype)
        bias = (1.0 - mask)[:, None, None, :] * -1e4
        x = self.tokens(input_ids) * mask[:, :, None]
        x = x + nn.functional.gelu(self.neighbours(x.transpose(1, 2)).transpose(1, 2))
        x = x + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x) * mask[:, :, None]

    def pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """States and mask [batch, tokens] -> features [batch, width]."""
        return self.pooling(states, attention_mask.float())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids and attention_mask, both int64 [batch, tokens] -> features [batch, width]."""
        return self.pool(self.states(input_ids, attention_mask), attention_mask)
