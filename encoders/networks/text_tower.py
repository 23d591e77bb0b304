"""A small text tower: a transformer over word pieces with masked mean pooling; and padding of token ids."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from voxdex.encoders.networks.dual_encoder import Tower


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and perceptron."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [batch, tokens, width], bias [batch, 1, 1, tokens] added to the attention scores -> as x."""
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        q, k, v = (part.reshape(shape).transpose(1, 2) for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + nn.functional.dropout(
            self.out(mixed.transpose(1, 2).reshape(batch, tokens, width)), self.dropout, self.training
        )
        return x + self.mlp(x)


class TokenTransformer(Tower):
    """Token and position embeddings and transformer blocks, the common part of towers over tokens.

    Args:
        vocabulary: number of tokens.
        hidden, layers, heads: shape of the transformer.
        longest: most tokens of a text; longer ones are cut by the tokenizer.
    """

    def __init__(self, vocabulary: int, hidden: int, layers: int, heads: int, longest: int, dropout: float) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"a hidden width of {hidden} is not divisible by {heads} heads")
        self.tokens = nn.Embedding(vocabulary, hidden)
        self.positions = nn.Embedding(longest, hidden)
        nn.init.normal_(self.tokens.weight, std=0.05)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(TransformerBlock(hidden, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.longest, self.checkpointing = longest, False

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, which trades time for memory in training."""
        self.checkpointing = True

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embedded tokens [batch, tokens, hidden], mask [batch, tokens] of 0 and 1 -> states, zero for padding."""
        bias = (1.0 - mask)[:, None, None, :] * -1e4
        x = x + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            recompute = self.checkpointing and self.training
            x = checkpoint(block, x, bias, use_reentrant=False) if recompute else block(x, bias)
        return self.norm(x) * mask[:, :, None]


class TransformerTextTower(TokenTransformer):
    """Token ids -> features.

    Args:
        vocabulary, hidden, layers, heads, longest: see TokenTransformer.
        features: width of the pooled output (384 lets it learn from a MiniLM teacher).
    """

    def __init__(
        self,
        vocabulary: int = 6144,
        hidden: int = 192,
        layers: int = 4,
        heads: int = 4,
        features: int = 384,
        longest: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(vocabulary, hidden, layers, heads, longest, dropout)
        self.head = nn.Linear(hidden, features)
        self.width = features

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids and attention_mask, both int64 [batch, tokens] -> features [batch, width]."""
        mask = attention_mask.to(self.tokens.weight.dtype)
        x = self.mix(self.tokens(input_ids), mask)
        return self.head(x.sum(dim=1) / mask.sum(dim=1, keepdim=True))


def pad(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad the token ids of several texts: input_ids and attention_mask, int64 [texts, longest]."""
    input_ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    lengths = torch.tensor([len(row) for row in ids])
    return input_ids, (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
