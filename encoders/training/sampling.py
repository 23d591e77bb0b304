"""Which clips make the batches of an epoch. The same seed and epoch give the same batches, on any machine."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from voxdex.encoders.training.data import Clips
from voxdex.encoders.training.recipe import Sampling

SORTED = 16
"""Batches whose clips are sorted together."""


def epoch_batches(
    clips: Clips, tags: Sequence[set[str]], sampling: Sampling, batch: int, seed: Sequence[int]
) -> list[list[int]]:
    """The batches of one epoch, each of `batch` clips; what does not fill a batch is left out.

    Args:
        clips: to draw from; from several manifests, they are interleaved until all are exhausted.
        tags: of each clip, for balanced sampling.
        sampling: how.
        batch: clips in a batch, at most as many as there are.
        seed: numbers that tell this epoch from all others.
    """
    rng = np.random.default_rng(seed)
    if sampling.order == "shares":
        weights = share_weights(clips.rows, sampling.shares)
        return [rng.choice(len(clips), batch, replace=False, p=weights).tolist() for _ in range(len(clips) // batch)]
    if sampling.order in ("lengths", "alike"):
        kinds = [row.get("dataset", "") if sampling.order == "alike" else "" for row in clips.rows]
        return batches_of_like_clips(clips, kinds, share_weights(clips.rows, sampling.shares), batch, rng)
    balanced = sampling.order == "balanced"
    order = balanced_order(tags, batch, sampling, rng) if balanced else interleaved_order(clips.source, rng)
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def batches_of_like_clips(
    clips: Clips, kinds: Sequence[str], weights: np.ndarray, batch: int, rng: np.random.Generator
) -> list[list[int]]:
    """Clips drawn by weight, none twice in a batch, some batches at a time sorted by kind and then by length."""
    ranks = np.unique(kinds, return_inverse=True)[1]
    batches = []
    for _ in range(max(1, len(clips) // (batch * SORTED))):
        several = min(SORTED, len(clips) // batch)
        drawn = rng.choice(len(clips), several * batch, replace=False, p=weights)
        drawn = drawn[np.lexsort((clips.lengths[drawn], ranks[drawn]))]
        batches += drawn.reshape(several, batch).tolist()
    rng.shuffle(batches)
    return batches


def interleaved_order(source: np.ndarray, rng: np.random.Generator) -> list[int]:
    """A clip of each manifest in turn, shuffled; the shorter ones start again until the longest is exhausted."""
    members = [np.flatnonzero(source == name) for name in np.unique(source)]
    longest = max(map(len, members))
    rounds = [np.concatenate([rng.permutation(part) for _ in range(-(-longest // len(part)))])[:longest] for part in members]
    return np.stack(rounds, axis=1).ravel().tolist()


def balanced_order(tags: Sequence[set[str]], batch: int, sampling: Sampling, rng: np.random.Generator) -> list[int]:
    """As many draws as there are clips, by the mean inverse frequency of their tags (ParaSpeechCLAP-Intrinsic).

    A clip without tags weighs as much as the commonest tag. In each batch at least `sampling.rare_clips` have a tag that
    less than `sampling.rare_share` of all clips have.
    """
    counts = Counter(tag for clip in tags for tag in clip)
    commonest = 1 / max(counts.values())
    weights = np.array([np.mean([1 / counts[tag] for tag in clip]) if clip else commonest for clip in tags])
    order = rng.choice(len(tags), len(tags), p=weights / weights.sum())
    rare_tags = {tag for tag, count in counts.items() if count < sampling.rare_share * len(tags)}
    rare = np.array([bool(clip & rare_tags) for clip in tags])
    if rare.any():
        for start in range(0, len(order) - batch + 1, batch):
            common = np.flatnonzero(~rare[order[start : start + batch]])
            missing = min(sampling.rare_clips - (batch - len(common)), len(common))
            if missing > 0:
                order[start + common[:missing]] = rng.choice(np.flatnonzero(rare), missing)
    return order.tolist()


def share_weights(rows: Sequence[dict[str, str]], shares: dict[str, float]) -> np.ndarray:
    """Chance of each clip to be drawn: by its data set's share, then evenly over speakers, then over their clips."""
    datasets = [row.get("dataset", "") for row in rows]
    voices = [(dataset, row.get("speaker", "")) for dataset, row in zip(datasets, rows, strict=True)]
    speakers = Counter(dataset for dataset, _ in set(voices))
    clips = Counter(voices)
    share = [next((value for name, value in shares.items() if dataset.startswith(name)), 1.0) for dataset in datasets]
    weights = np.array([part / speakers[voice[0]] / clips[voice] for part, voice in zip(share, voices, strict=True)])
    return weights / weights.sum()
