"""The phonetic side of SCRAPS (Valles-Perez et al., arXiv 2307.12445): a small transformer over phonemes."""

from torch import Tensor, nn

from voxdex.encoders.networks.order_pooling import OrderPooling
from voxdex.encoders.networks.text_tower import TokenTransformer


class PhonemeTower(TokenTransformer):
    """Phoneme ids -> features that keep their order.

    Args:
        vocabulary: number of phonemes, padding (0) and the unknown one included.
        hidden, layers, heads: see TokenTransformer.
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
        super().__init__(vocabulary, hidden, layers, heads, longest, dropout)
        self.neighbours = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.pooling = OrderPooling(hidden, features, places)
        self.width = self.pooling.width

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """A state for each phoneme [batch, tokens, hidden], zero for padding."""
        mask = attention_mask.to(self.tokens.weight.dtype)
        x = self.tokens(input_ids) * mask[:, :, None]
        return self.mix(x + nn.functional.gelu(self.neighbours(x.transpose(1, 2)).transpose(1, 2)), mask)

    def pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """States and mask [batch, tokens] -> features [batch, width]."""
        return self.pooling(states, attention_mask.float())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids and attention_mask, both int64 [batch, tokens] -> features [batch, width]."""
        return self.pool(self.states(input_ids, attention_mask), attention_mask)
