"""Adapters: a linear change of the speech embeddings of a finished model, learned from few labelled or captioned clips.

As CLIP-Adapter (Gao et al. 2021, arXiv 2110.04544) with one linear map, fitted to convergence and kept near the identity, with
as much freedom as cross-validation over speakers allows; towers, texts and so all other abilities stay as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.metrics import Metric, bootstrap, retrieval
from voxdex.encoders.networks.factory import build_network
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.data.caption_templates import Claim
from voxdex.encoders.training.data.dataset import CLAIMS, Clips
from voxdex.encoders.training.initial import TrainingBundle
from voxdex.encoders.training.recipe import Adapter
from voxdex.encoders.training.validation import embed_captions, embed_clips, fit_scale, heard_labels, label_vectors

CAPTIONS = "speech to caption R@10"
MIN_CLIPS = 10
"""Least number of clips with a label or a caption."""
MIN_OF_A_LABEL = 2
"""Least number of clips of a label for it to be learned."""
ITERATIONS = 60
NO_CHANGE = float("inf")
"""The strength of regularisation that leaves the embeddings as they are."""


@dataclass(frozen=True)
class Choice:
    """Texts to choose from for clips: the labels of an attribute, or captions.

    name: of the metric. vectors: of the texts, [texts, dimension]. truth: [clips, texts] of 1 (right), 0 (possible), -1
    (wrong). weights: of the clips, [clips], 0 for those without a right text.
    """

    name: str
    vectors: Tensor
    truth: Tensor
    weights: Tensor

    def loss(self, speech: Tensor, scale: float, rows: Tensor) -> Tensor:
        """Return the weighted cross-entropy over some clips, embeddings [rows, dimension]."""
        log_probs = (scale * speech @ self.vectors.T).log_softmax(dim=1)
        missed = -log_probs.masked_fill(self.truth[rows] < 0, -1e4).logsumexp(dim=1)
        weights = self.weights[rows]
        return (weights * missed).sum() / weights.sum().clamp(min=1e-6)

    def metric(self, speech: np.ndarray, rows: np.ndarray) -> float:
        """Return unweighted average recall of the labels that occur, or recall at 10 of captions, in percent."""
        rows = rows[self.weights.numpy()[rows] > 0]
        scores, truth = speech[rows] @ self.vectors.numpy().T, self.truth.numpy()[rows]
        if self.name == CAPTIONS:
            return retrieval(scores, truth == 1).recall_at(10) if len(rows) else np.nan
        held, sure = truth.argmax(axis=1), truth.max(axis=1, initial=-1) == 1
        hits = self._occurring[scores[:, self._occurring].argmax(axis=1)] == held
        recalls = [hits[sure & (held == label)].mean() for label in np.unique(held[sure])]
        return 100 * float(np.mean(recalls)) if recalls else np.nan

    @property
    def chance(self) -> float:
        """The metric of random guessing, in percent."""
        return 100.0 * min(1, 10 / len(self.vectors)) if self.name == CAPTIONS else 100.0 / len(self._occurring)

    @property
    def _occurring(self) -> np.ndarray:
        """The texts that are right for a clip."""
        return np.flatnonzero((self.truth.numpy() == 1).any(axis=0))


@dataclass(frozen=True)
class Adaptation:
    """An adapted network, and its cross-validation.

    before, after: metrics of the embeddings as they were, and as adapted by the clips of other speakers (of other recordings,
    where fewer than two speakers are known). has_gain: whether the interval of the difference of a metric is above zero.
    strength: of the regularisation; NO_CHANGE, which leaves the embeddings as they were, unless the gain of a metric is more
    than its standard error (the one-standard-error rule of Breiman et al. 1984, section 3.4.3). losses: cross-validated loss by
    strength.
    """

    bundle: TrainingBundle
    before: list[Metric]
    after: list[Metric]
    has_gain: bool
    strength: float
    losses: dict[float, float]


def adapt(
    bundle: TrainingBundle,
    clips: Clips,
    options: Adapter,
    device: torch.device,
    on_fold: Callable[[int, int, float], object] = lambda *_: None,
) -> Adaptation:
    """Fit an adapter to clips, and estimate what it is worth by nested cross-validation.

    Args:
        bundle: a trained network.
        clips: labelled or captioned clips; labels of attributes that are not exclusive are not used.
        options: strengths of the regularisation to choose from, and the number of folds.
        device: for embedding.
        on_fold: called after each fold with the number of those done, of all, and the fold's loss.

    Raises:
        ManifestError: there are too few clips to learn from.
    """
    network = bundle.network.to(device).eval()
    with torch.no_grad():
        speech = torch.from_numpy(embed_clips(network, clips, device))
        choices = _choices(bundle, clips, device)
    scale = float(network.logit_scale.detach())
    groups = _groups(clips)
    folds = _folds(groups, options.folds)

    def fit(rows: np.ndarray, strength: float) -> Tensor:
        return _fit(speech, choices, scale, torch.from_numpy(rows), strength)

    def losses_by_strength(parts: Sequence[np.ndarray]) -> dict[float, float]:
        losses = dict.fromkeys((NO_CHANGE, *options.strengths), 0.0)
        for part in parts:
            rows, others = torch.from_numpy(part), np.concatenate([other for other in parts if other is not part])
            for strength in losses:
                changed = _adapted(speech[rows], fit(others, strength))
                losses[strength] += float(_loss(changed, choices, scale, rows)) * len(part)
        return losses

    held_out = speech.clone()
    for number, fold in enumerate(folds, start=1):
        others = [other for other in folds if other is not fold]
        losses = losses_by_strength(others)
        strength = min(losses, key=lambda each: losses[each])
        held_out[fold] = _adapted(speech[fold], fit(np.concatenate(others), strength))
        on_fold(number, len(folds), float(_loss(held_out[fold], choices, scale, torch.from_numpy(fold))))
    before, after, gains = _compare(choices, speech.numpy(), held_out.numpy(), groups)
    losses = losses_by_strength(folds)
    strength = min(losses, key=lambda each: losses[each]) if any(gain.is_likely for gain in gains) else NO_CHANGE
    scales, hears = _calibration(clips, choices, (speech if strength == NO_CHANGE else held_out).numpy())
    adapted = replace(
        _with_adapter(bundle, fit(np.arange(len(clips)), strength)),
        scales=bundle.scales | scales,
        hears={name: sorted({*bundle.hears.get(name, ()), *hears.get(name, ())}) for name in bundle.hears | hears},
    )
    means = {each: loss / len(clips) for each, loss in losses.items()}
    return Adaptation(adapted, before, after, any(gain.is_sure for gain in gains), strength, means)


def _choices(bundle: TrainingBundle, clips: Clips, device: torch.device) -> list[Choice]:
    """Return what can be learned from the clips: labels of exclusive attributes, and captions."""
    choices = []
    for attribute in load_attributes().values():
        columns = [CLAIMS.index(Claim(attribute.name, label.name)) for label in attribute.labels]
        truth = clips.truth[:, columns]
        known = (truth == -1).any(axis=1)
        counts = (truth[known] == 1).sum(axis=0)
        if attribute.exclusive and (counts >= MIN_OF_A_LABEL).sum() > 1:
            weights = known / np.maximum(1, counts[truth.argmax(axis=1)])
            vectors = label_vectors(bundle.network, attribute, bundle.tokenizer, device)
            choices.append(_choice(attribute.name, vectors, truth, weights))
    texts = sorted({caption for captions in clips.captions for caption in captions})
    if len(texts) > 1:
        vectors = embed_captions(bundle.network, texts, bundle.tokenizer, device)
        truth = np.array([[1 if text in captions else -1 for text in texts] for captions in clips.captions], np.int8)
        choices.append(_choice(CAPTIONS, vectors, truth, np.array([bool(captions) for captions in clips.captions], float)))
    taught = int(np.any([choice.weights.numpy() > 0 for choice in choices], axis=0).sum()) if choices else 0
    if taught < MIN_CLIPS:
        raise ManifestError(
            f"{taught} clips have a caption, or a label of which there are {MIN_OF_A_LABEL} clips and another of the same "
            f"attribute; fine-tuning needs {MIN_CLIPS}. Attributes: {', '.join(load_attributes())}."
        )
    return choices


def _choice(name: str, vectors: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> Choice:
    return Choice(name, torch.from_numpy(vectors), torch.from_numpy(truth.astype(np.int8)), torch.from_numpy(weights).float())


def _groups(clips: Clips) -> list[str]:
    """Return the speaker of each clip, or its recording where fewer than two speakers are known."""
    speakers = [row.get("speaker", "") for row in clips.rows]
    known = "" not in speakers and len(set(speakers)) > 1
    return speakers if known else [row.get("source") or row["path"] for row in clips.rows]


def _folds(groups: Sequence[str], count: int) -> list[np.ndarray]:
    """Divide rows into folds of about the same size, none of which shares a group with another."""
    names, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    folds: list[list[int]] = [[] for _ in range(min(count, len(names)))]
    shuffled = np.random.default_rng(0).permutation(len(names))
    for name in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        min(folds, key=len).extend(np.flatnonzero(places == name).tolist())
    return [np.array(sorted(fold)) for fold in folds]


def _fit(speech: Tensor, choices: Sequence[Choice], scale: float, rows: Tensor, strength: float) -> Tensor:
    """Return the change of embeddings [dimension, dimension] that minimises loss and `strength` times its squared norm."""
    change = torch.zeros(speech.shape[1], speech.shape[1], requires_grad=True)
    if strength == NO_CHANGE:
        return change.detach()
    optimizer = torch.optim.LBFGS([change], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(_adapted(speech[rows], change), choices, scale, rows) + strength * change.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return change.detach()


def _adapted(speech: Tensor, change: Tensor) -> Tensor:
    return normalize(speech + speech @ change, dim=1)


def _loss(speech: Tensor, choices: Sequence[Choice], scale: float, rows: Tensor) -> Tensor:
    return torch.stack([choice.loss(speech, scale, rows) for choice in choices]).mean()


@dataclass(frozen=True)
class Gain:
    """How much better a metric has become, in percent, and its interval of 95 % over groups."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0

    @property
    def is_likely(self) -> bool:
        """Whether the gain is more than its standard error."""
        return self.value > 0 and self.value > (self.high - self.low) / (2 * 1.96)


def _compare(
    choices: Sequence[Choice], before: np.ndarray, after: np.ndarray, groups: Sequence[str]
) -> tuple[list[Metric], list[Metric], list[Gain]]:
    """Return the metrics of both embeddings with intervals over groups, and the gains."""
    every = np.arange(len(before))
    metrics: tuple[list[Metric], list[Metric]] = ([], [])
    gains = []
    for choice in choices:

        def both(rows: np.ndarray, choice: Choice = choice) -> dict[str, float]:
            former, found = choice.metric(before, rows), choice.metric(after, rows)
            return {"before": former, "after": found, "gain": found - former}

        values, intervals = both(every), bootstrap(both, len(every), draws=200, clusters=groups)
        gains.append(Gain(values["gain"], *intervals["gain"]))
        for found, name in zip(metrics, ("before", "after"), strict=True):
            percent = (round(each, 1) for each in (values[name], *intervals[name], choice.chance))
            found.append(Metric(choice.name, "cross-validated", int((choice.weights > 0).sum()), *percent))
    return *metrics, gains


def _calibration(clips: Clips, choices: Sequence[Choice], speech: np.ndarray) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Return the scales of attributes, and the labels that are heard, of embeddings that were not fitted to their clips."""
    scales, cosines = {}, {}
    for choice in choices:
        if choice.name != CAPTIONS:
            scores, known = speech @ choice.vectors.numpy().T, choice.weights.numpy() > 0
            scales[choice.name] = round(fit_scale(scores[known], choice.truth.numpy()[known]), 2)
            cosines[load_attributes()[choice.name]] = scores
    return scales, heard_labels(clips, cosines)


def _with_adapter(bundle: TrainingBundle, change: Tensor) -> TrainingBundle:
    """Return a network whose adapter has a further change of embeddings."""
    architecture = bundle.architecture | {"projection": bundle.architecture["projection"] | {"adapter": True}}
    network = build_network(architecture)
    weights = bundle.network.state_dict()
    former = weights.get("speech_adapter.weight", torch.zeros_like(change.T)).cpu()
    whole = torch.eye(len(change))
    network.load_state_dict(weights | {"speech_adapter.weight": (whole + change.T) @ (whole + former) - whole})
    return replace(bundle, network=network, architecture=architecture)
