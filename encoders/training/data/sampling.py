"""Batches of an epoch: deterministic for a seed and an epoch, on any machine."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from voxdex.encoders.training.data.dataset import Clips
from voxdex.encoders.training.recipe import Sampling

SORTED_BATCHES = 16
"""Batches drawn at a time and sorted by length together."""


def epoch_batches(
    clips: Clips, tags: Sequence[set[str]], sampling: Sampling, batch: int, seed: Sequence[int]
) -> list[list[int]]:
    """Return the batches of one epoch as rows of `clips`, each of `batch` clips; an incomplete batch is dropped.

    Args:
        clips: the clips to draw from; those of several manifests are interleaved until all are exhausted.
        tags: of each clip, for balanced sampling.
        sampling: the recipe's section.
        batch: clips in a batch, at most len(clips).
        seed: numbers unique to the run and the epoch.
    """
    rng = np.random.default_rng(seed)
    if sampling.order == "weighted":
        weights = sampling_weights(clips.rows, sampling.dataset_weights)
        return [rng.choice(len(clips), batch, replace=False, p=weights).tolist() for _ in range(len(clips) // batch)]
    if sampling.order in ("lengths", "same_dataset"):
        kinds = [row.get("dataset", "") if sampling.order == "same_dataset" else "" for row in clips.rows]
        return sorted_batches(clips, kinds, sampling_weights(clips.rows, sampling.dataset_weights), batch, rng)
    balanced = sampling.order == "balanced"
    order = balanced_order(tags, batch, sampling, rng) if balanced else interleaved_order(clips.source, rng)
    return [order[start : start + batch] for start in range(0, len(order) - batch + 1, batch)]


def sorted_batches(
    clips: Clips, kinds: Sequence[str], weights: np.ndarray, batch: int, rng: np.random.Generator
) -> list[list[int]]:
    """Return batches of clips drawn by weight without repetition, sorted by kind and then by length before they are split."""
    ranks = np.unique(kinds, return_inverse=True)[1]
    batches = []
    for _ in range(max(1, len(clips) // (batch * SORTED_BATCHES))):
        several = min(SORTED_BATCHES, len(clips) // batch)
        drawn = rng.choice(len(clips), several * batch, replace=False, p=weights)
        drawn = drawn[np.lexsort((clips.lengths[drawn], ranks[drawn]))]
        batches += drawn.reshape(several, batch).tolist()
    rng.shuffle(batches)
    return batches


def interleaved_order(source: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Return shuffled clips of each manifest in turn; shorter manifests repeat until the longest is exhausted."""
    members = [np.flatnonzero(source == name) for name in np.unique(source)]
    longest = max(map(len, members))
    rounds = [np.concatenate([rng.permutation(part) for _ in range(-(-longest // len(part)))])[:longest] for part in members]
    return np.stack(rounds, axis=1).ravel().tolist()


def balanced_order(tags: Sequence[set[str]], batch: int, sampling: Sampling, rng: np.random.Generator) -> list[int]:
    """Draw as many clips as there are, by the mean inverse frequency of their tags (ParaSpeechCLAP-Intrinsic).

    A clip without tags has the weight of the most common tag. In each batch, at least `sampling.rare_clips` clips have a tag
    of less than a fraction `sampling.rare_fraction` of all clips.
    """
    counts = Counter(tag for clip in tags for tag in clip)
    commonest = 1 / max(counts.values())
    weights = np.array([np.mean([1 / counts[tag] for tag in clip]) if clip else commonest for clip in tags])
    order = rng.choice(len(tags), len(tags), p=weights / weights.sum())
    rare_tags = {tag for tag, count in counts.items() if count < sampling.rare_fraction * len(tags)}
    rare = np.array([bool(clip & rare_tags) for clip in tags])
    if rare.any():
        for start in range(0, len(order) - batch + 1, batch):
            common = np.flatnonzero(~rare[order[start : start + batch]])
            missing = min(sampling.rare_clips - (batch - len(common)), len(common))
            if missing > 0:
                order[start + common[:missing]] = rng.choice(np.flatnonzero(rare), missing)
    return order.tolist()


def sampling_weights(rows: Sequence[dict[str, str]], dataset_weights: dict[str, float]) -> np.ndarray:
    """Return each clip's probability: by its data set's weight, then evenly over speakers, then over their clips."""
    datasets = [row.get("dataset", "") for row in rows]
    voices = [(dataset, row.get("speaker", "")) for dataset, row in zip(datasets, rows, strict=True)]
    speakers = Counter(dataset for dataset, _ in set(voices))
    clips = Counter(voices)
    weights = [
        next((value for name, value in dataset_weights.items() if dataset.startswith(name)), 1.0) for dataset in datasets
    ]
    probs = np.array([weight / speakers[voice[0]] / clips[voice] for weight, voice in zip(weights, voices, strict=True)])
    return probs / probs.sum()
