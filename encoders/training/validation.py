"""Validation on held-out clips: zero-shot classification by attribute and data set, retrieval, and calibration."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from tokenizers import Tokenizer
from torch import nn

from voxdex.encoders.attributes import Attribute, load_attributes
from voxdex.encoders.metrics import Metric, area_under_curve, bootstrap, mean_interval, retrieval, speaker_clusters
from voxdex.encoders.networks.dual_encoder import DualEncoder
from voxdex.encoders.training.data.caption_sampling import caption_matches, draw_captions, tokens
from voxdex.encoders.training.data.caption_templates import Claim
from voxdex.encoders.training.data.dataset import CLAIMS, Clips

MIN_CLIPS = 20
"""Least number of clips of a data set for a metric; with fewer held-out clips in all, half of those."""

MIN_CLIPS_OF_EACH = 5
"""Least numbers of clips with and without a label for its AUC."""

LEAST_AREA = 60.0
"""A label is heard where the 95 % interval of its AUC over held-out speakers is above this."""


@dataclass(frozen=True)
class Validation:
    """Results of a validation.

    metrics: of retrieval and every attribute, or of phonemes. scales: calibration of exclusive attributes that are classified
    above chance, see fit_scale; of centred attributes on unheard data sets, if there are any. hears: the labels of each
    attribute that are told apart, see heard_labels. intelligibility: see phonetic.evaluation.fit_intelligibility.
    """

    metrics: list[Metric]
    scales: dict[str, float] = field(default_factory=dict)
    hears: dict[str, list[str]] = field(default_factory=dict)
    intelligibility: list[list[float]] = field(default_factory=list)


@torch.inference_mode()
def validate(
    network: DualEncoder, clips: Clips, tokenizer: Tokenizer, device: torch.device, unheard: Clips | None = None
) -> Validation:
    """Compute UAR or AUC of every attribute by data set, and R@1, R@10 and mAP@10 both ways over all clips.

    unheard: clips of data sets that were not trained on, on which scales of their attributes are fitted; None for none.
    """
    network.eval()
    speech = embed_clips(network, clips, device)
    labels = {attribute: label_vectors(network, attribute, tokenizer, device).T for attribute in load_attributes().values()}
    cosines = {attribute: speech @ vectors for attribute, vectors in labels.items()}
    attributes = _attribute_metrics(clips, cosines)
    heard = {metric.name for metric in attributes if metric.low > metric.chance}
    metrics = _retrieval_metrics(network, clips, speech, tokenizer, device) + attributes
    scales = _scales(clips, cosines)
    if unheard is not None and len(unheard):
        other = embed_clips(network, unheard, device)
        scales |= _scales(unheard, {attribute: other @ vectors for attribute, vectors in labels.items() if attribute.centred})
    scales = {name: scale for name, scale in scales.items() if name in heard}
    return Validation(metrics, scales, heard_labels(clips, cosines))


def embed_clips(network: DualEncoder, clips: Clips, device: torch.device, batch: int = 32, seconds: float = 10.0) -> np.ndarray:
    """Embed the first ten seconds of each clip: float32 [clips, dimension]."""
    order = np.argsort(clips.lengths, kind="stable")
    vectors = np.zeros((len(clips), network.dimension), dtype=np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch].tolist()
        waveform, lengths = clips.crops(rows, seconds, np.zeros(len(rows)))
        vectors[rows] = network.embed_speech(waveform.to(device), lengths.to(device)).float().cpu().numpy()
    return vectors


def embed_captions(network: DualEncoder, texts: list[str], tokenizer: Tokenizer, device: torch.device) -> np.ndarray:
    """Embed captions: float32 [captions, dimension]."""
    parts = [tokens(tokenizer, texts[start : start + 128]) for start in range(0, len(texts), 128)]
    return np.concatenate([network.embed_text(*(side.to(device) for side in part)).float().cpu().numpy() for part in parts])


def mean_score(metrics: list[Metric]) -> float:
    """Return the mean of metrics, by which validations are compared."""
    return float(np.mean([metric.value for metric in metrics])) if metrics else 0.0


def _retrieval_metrics(
    network: DualEncoder, clips: Clips, speech: np.ndarray, tokenizer: Tokenizer, device: torch.device
) -> list[Metric]:
    """Compute retrieval over de-duplicated captions, one drawn for each clip; composed captions are relevant wherever true."""
    captions = draw_captions(clips, random.Random(0))
    first = {text: i for i, text in reversed(list(enumerate(captions.texts)))}
    columns = sorted(first.values())
    right = (caption_matches(clips, captions)[:, columns] == 1).numpy()
    answered = right.any(axis=1)
    text = embed_captions(network, [captions.texts[i] for i in columns], tokenizer, device)
    scores, right = speech[answered] @ text.T, right[answered]
    chance = np.random.default_rng(0).random(scores.shape)
    metrics = []
    for way, turn in (("speech to caption", np.asarray), ("caption to speech", np.transpose)):
        answerable = turn(right).any(axis=1)
        found, guessed = (retrieval(turn(values)[answerable], turn(right)[answerable]) for values in (scores, chance))
        hits = {"R@1": found.ranks <= 1, "R@10": found.ranks <= 10, "mAP@10": found.precisions}
        for name, values in hits.items():
            metrics.append(_metric(f"{way} {name}", "all", values, None, guessed.metrics()[name]))
    return metrics


def label_vectors(network: DualEncoder, attribute: Attribute, tokenizer: Tokenizer, device: torch.device) -> np.ndarray:
    """Return the normalised mean of each label's prompts, [labels, dimension]."""
    prompts = [embed_captions(network, attribute.prompts(label), tokenizer, device).mean(axis=0) for label in attribute.labels]
    return nn.functional.normalize(torch.from_numpy(np.stack(prompts)), dim=-1).numpy()


def _scales(clips: Clips, cosines: dict[Attribute, np.ndarray]) -> dict[str, float]:
    """Fit a scale for each exclusive attribute with at least two labels among the clips."""
    scales = {}
    for attribute, values in cosines.items():
        columns = [CLAIMS.index(Claim(attribute.name, label.name)) for label in attribute.labels]
        truth = clips.truth[:, columns]
        known = (truth == -1).any(axis=1)
        present = np.flatnonzero((truth == 1).sum(axis=0) >= MIN_CLIPS_OF_EACH)
        if attribute.exclusive and len(present) > 1:
            scales[attribute.name] = round(fit_scale(values[known], truth[known]), 2)
    return scales


def _attribute_metrics(clips: Clips, cosines: dict[Attribute, np.ndarray]) -> list[Metric]:
    """Compute for each attribute and data set the UAR of exclusive labels, or the mean AUC of other labels."""
    groups = _data_sets(clips)
    metrics = []
    for attribute, scores in cosines.items():
        judge = _unweighted_recall if attribute.exclusive else _area_under_curves
        for group in sorted(set(groups.tolist())):
            judged = judge(attribute, clips, np.flatnonzero(groups == group), scores, group)
            if judged and judged.clips >= min(MIN_CLIPS, len(clips) / 2):
                metrics.append(judged)
    return metrics


def heard_labels(clips: Clips, cosines: dict[Attribute, np.ndarray]) -> dict[str, list[str]]:
    """Return the labels of each attribute that clips with and without them are told apart by.

    A label is judged by the mean over data sets of the area under its ROC curve, so that differences between data sets do
    not count; labels with too few clips in every data set are left out.

    Args:
        clips: held-out clips.
        cosines: of the clips with each attribute's labels, [clips, labels].
    """
    heard: dict[str, list[str]] = {}
    groups, speakers = _data_sets(clips), np.array(_speakers(clips))
    for attribute, values in cosines.items():
        for column, label in enumerate(attribute.labels):
            truth = clips.truth[:, CLAIMS.index(Claim(attribute.name, label.name))]
            scores = values[:, column]
            if attribute.exclusive:
                scores = scores - logsumexp(20 * np.delete(values, column, axis=1), axis=1) / 20
            low = _lowest_area(truth, scores, groups, speakers)
            if low is not None and low > LEAST_AREA:
                heard.setdefault(attribute.name, []).append(label.name)
    return heard


def _lowest_area(truth: np.ndarray, scores: np.ndarray, groups: np.ndarray, speakers: np.ndarray) -> float | None:
    """Return the lower end of the interval of a label's AUC in percent; None where it cannot be judged."""
    known = [
        rows
        for rows in (np.flatnonzero((groups == group) & (truth != 0)) for group in np.unique(groups))
        if min((truth[rows] == 1).sum(), (truth[rows] == -1).sum()) >= MIN_CLIPS_OF_EACH
    ]
    if not known:
        return None
    judged = np.concatenate(known)

    def mean_area(drawn: np.ndarray) -> dict[str, float]:
        rows = judged[drawn]
        parts = [rows[groups[rows] == group] for group in np.unique(groups[rows])]
        areas = [area_under_curve(scores[part], truth[part] == 1) for part in parts if 0 < (truth[part] == 1).sum() < len(part)]
        return {"AUC": float(np.mean(areas)) if areas else np.nan}

    return bootstrap(mean_area, len(judged), draws=200, clusters=speaker_clusters(speakers[judged].tolist()))["AUC"][0]


def _data_sets(clips: Clips) -> np.ndarray:
    """Return the data set of each clip, [clips]; vocoder edits are one."""
    names = (row.get("dataset") or "all" for row in clips.rows)
    return np.array(["edit" if name.startswith("edit-") else name for name in names])


def _speakers(clips: Clips) -> list[str]:
    return [row.get("speaker") or row["path"] for row in clips.rows]


def _unweighted_recall(attribute: Attribute, clips: Clips, rows: np.ndarray, scores: np.ndarray, group: str) -> Metric | None:
    known = {label.name for label in attribute.labels}
    rows = np.array([row for row in rows if clips.rows[row].get(attribute.name) in known], dtype=int)
    truth = np.array([clips.rows[row][attribute.name] for row in rows])
    present = [i for i, label in enumerate(attribute.labels) if label.name in set(truth.tolist())]
    if len(present) < 2:
        return None
    labels = np.array([attribute.labels[i].name for i in present])
    right = labels[scores[np.ix_(rows, np.array(present))].argmax(axis=1)] == truth
    return _metric(attribute.name, group, right, truth, 100 / len(present), [_speakers(clips)[row] for row in rows])


def _area_under_curves(attribute: Attribute, clips: Clips, rows: np.ndarray, scores: np.ndarray, group: str) -> Metric | None:
    columns = [CLAIMS.index(Claim(attribute.name, label.name)) for label in attribute.labels]
    truth, scores = clips.truth[np.ix_(rows, np.array(columns))], scores[rows]
    judged = [i for i, known in enumerate(truth.T) if min((known == 1).sum(), (known == -1).sum()) >= MIN_CLIPS_OF_EACH]

    def mean_area(chosen: np.ndarray) -> dict[str, float]:
        areas = []
        for i in judged:
            said = chosen[truth[chosen, i] != 0]
            right = truth[said, i] == 1
            if 0 < right.sum() < len(right):
                areas.append(area_under_curve(scores[said, i], right))
        return {"AUC": float(np.mean(areas)) if areas else np.nan}

    if not judged:
        return None
    known = np.flatnonzero((truth[:, judged] != 0).any(axis=1))
    clusters = speaker_clusters([_speakers(clips)[row] for row in rows[known]])
    low, high = bootstrap(lambda drawn: mean_area(known[drawn]), len(known), draws=200, clusters=clusters)["AUC"]
    mean = round(mean_area(known)["AUC"], 1)
    return Metric(f"{attribute.name} (AUC)", group, len(known), mean, round(low, 1), round(high, 1), 50.0)


def _metric(
    name: str,
    group: str,
    values: np.ndarray,
    groups: np.ndarray | None,
    chance: float,
    speakers: Sequence[str] = (),
) -> Metric:
    """Return the mean of values from 0 to 1 as a metric in percent; with groups, the mean of the group means."""
    names = np.zeros(len(values)) if groups is None else groups
    mean = np.mean([np.mean(values[names == name]) for name in np.unique(names)])
    interval = mean_interval(values, groups, clusters=speaker_clusters(speakers))
    shown, low, high = (round(100 * float(value), 1) for value in (mean, *interval))
    return Metric(name, group, len(values), shown, low, high, round(chance, 1))


SCALES = (1.0, 200.0)
"""Range of scales to search."""


def fit_scale(cosines: np.ndarray, truth: np.ndarray) -> float:
    """Fit the factor of cosines that calibrates the softmax over labels (Guo et al. 2017).

    Args:
        cosines: [clips, labels].
        truth: [clips, labels] of 1 (holds), -1 (does not), 0 (possible); no row without a 1 or a 0.

    Returns:
        The scale of the least negative log-likelihood, with equal weight for every label.
    """
    possible = np.where(truth >= 0, 0.0, -np.inf)
    held = truth.argmax(axis=1)
    weights = 1.0 / np.bincount(held, minlength=truth.shape[1])[held]

    def loss(log_scale: float) -> float:
        logits = np.exp(log_scale) * cosines
        return float(np.average(logsumexp(logits, axis=1) - logsumexp(logits + possible, axis=1), weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(SCALES), method="bounded").x))


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error in percent.

    Args:
        probabilities: of the predicted labels [clips].
        right: whether the prediction is right [clips].
    """
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(probabilities[place == i].mean() - right[place == i].mean()) * np.mean(place == i) for i in set(place.tolist())]
    return 100 * float(np.sum(gaps))
