"""Emotion on corpora left out of training: small perceptrons on the states of a Whisper tower that is not fine-tuned.

    python -m benchmarks.folds SPEECH --cache DIR [--try NAME]...

SPEECH has a clips.csv; DIR is the output of benchmarks.probe_features. Each fold leaves one emotional corpus out, trains on
the others and is tested on the one left out, on the labels that both have. No setting is chosen inside a fold, so a metric on
which a setting was chosen is no held-out metric. Prints a table for each experiment: UAR in percent, its 95 % interval over
speakers, the same with scores centred on the corpus; calibration error without a logit scale, and with one fitted on the
corpora that the other folds left out; and one JSON object as the last line.
"""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from benchmarks.probe_features import load_features
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.metrics import Classification, bootstrap
from voxdex.encoders.training.scripts.corpora import read_corpus
from voxdex.encoders.training.validation import calibration_error, fit_scale

EMOTIONS = tuple(label.name for label in load_attributes()["emotion"].labels)
FOLDS = ("nemo", "ravdess", "emotiontts-ko", "turev", "indian-emospeech")
READ = ("librispeech-libritts-p", "cmu-arctic", "kerstin", "kathleen", "nathalie", "flemishguy", "ljspeech", "vctk", "fsdd")
"""Corpora of read speech, of which no more is known than that it is neutral or calm."""
ACTORS, HELD_BACK = "ravdess", 6
"""Beside the folds, so many speakers of a corpus are left out, of which the others are trained on."""
TEMPERATURE = 50.0
"""The largest that is looked for."""
FURTHEST = 5.0
"""Standard deviations beyond which a feature counts no more."""
SEEDS = 2
STEPS, BATCH, RATE, DECAY = 200, 64, 1e-3, 0.05


@dataclass(frozen=True)
class Setting:
    """What a probe learns from and how.

    layers: whose pooled states are inputs. statistics: whether those of bands, pitch and energy are too. level: see
    WhisperSpeechTower. read: weight of a clip of read speech, "neutral or calm", against one with an emotion. balanced: classes
    weigh the same within each corpus, and corpora alike. shares: how much a corpus counts, others 1. adversary: weight of
    telling corpora apart, with its gradient reversed. contrast: weight of the supervised contrast across corpora. leave:
    corpora that are never trained on.
    """

    layers: tuple[int, ...] = (1, 2, 3)
    statistics: bool = True
    level: str = "relative"
    read: float = 0.0
    balanced: bool = True
    shares: tuple[tuple[str, float], ...] = ()
    adversary: float = 0.0
    contrast: float = 0.0
    leave: tuple[str, ...] = ()


BASE = Setting()
EXPERIMENTS: dict[str, dict[str, Setting]] = {
    "layers": {
        "layers 1, 2, 3, statistics": BASE,
        "layers 1, 2, 3": replace(BASE, statistics=False),
        "layers 1, 2, statistics": replace(BASE, layers=(1, 2)),
        **{f"layer {i}": replace(BASE, layers=(i,), statistics=False) for i in range(5)},
        "statistics alone": replace(BASE, layers=()),
    },
    "level": {"relative": BASE, "absolute": replace(BASE, level="absolute")},
    "read": {f"read speech at {weight:g}": replace(BASE, read=weight) for weight in (0.0, 0.1, 0.2, 0.5, 1.0)},
    "balance": {
        "classes balanced within corpora": BASE,
        "clips as they come": replace(BASE, balanced=False),
        "Indian at 0.3": replace(BASE, shares=(("indian-emospeech", 0.3),)),
        "Indian and TurEV at 0.3": replace(BASE, shares=(("indian-emospeech", 0.3), ("turev", 0.3))),
        "without Indian": replace(BASE, leave=("indian-emospeech",)),
        "without Indian and TurEV": replace(BASE, leave=("indian-emospeech", "turev")),
    },
    "objective": {
        "cross-entropy": BASE,
        "adversary 0.1": replace(BASE, adversary=0.1),
        "adversary 0.3": replace(BASE, adversary=0.3),
        "contrast 0.3": replace(BASE, contrast=0.3),
        "contrast 1": replace(BASE, contrast=1.0),
        "contrast 0.3, adversary 0.1": replace(BASE, contrast=0.3, adversary=0.1),
    },
}


@dataclass(frozen=True)
class Corpora:
    """Clips of many corpora. pooled, statistics: see Features. truth: bool [clips, emotions], which could hold of each."""

    pooled: np.ndarray
    statistics: np.ndarray
    truth: np.ndarray
    names: np.ndarray
    speakers: np.ndarray

    def inputs(self, setting: Setting) -> np.ndarray:
        """[clips, features]"""
        parts = [self.pooled[:, layer] for layer in setting.layers]
        return np.concatenate([*parts, *([self.statistics] if setting.statistics else [])], axis=1)


@dataclass(frozen=True)
class Tested:
    """A corpus that was left out. scores: log probabilities, [seeds, clips, labels]; truth: index of each clip's label."""

    labels: tuple[str, ...]
    scores: np.ndarray
    truth: np.ndarray
    speakers: np.ndarray

    def calibration_error(self) -> float:
        """Expected calibration error in percent, the mean over seeds."""
        answers = [(np.exp(run).max(axis=1), run.argmax(axis=1) == self.truth) for run in self.scores]
        return float(np.mean([calibration_error(*answer) for answer in answers]))

    def scale(self) -> float:
        """What the scores are to be multiplied with to be calibrated; see fit_scale."""
        truth = 2 * np.eye(len(self.labels), dtype=int)[self.truth] - 1
        return fit_scale(self.scores[0] / TEMPERATURE, truth) / TEMPERATURE

    def scaled(self, scale: float) -> "Tested":
        """With probabilities from `scale` times the scores."""
        return replace(self, scores=log_softmax(scale * self.scores, axis=2))

    def uar(self, *, centred: bool) -> tuple[float, float, float]:
        """The mean over seeds, and its 95 % interval over speakers."""
        scores = self.scores - self.scores.mean(axis=1, keepdims=True) if centred else self.scores
        who, places = np.unique(self.speakers, return_inverse=True)
        confusion = np.zeros((len(who), len(scores), len(self.labels), len(self.labels)))
        for seed, heard in enumerate(scores.argmax(axis=2)):
            np.add.at(confusion, (places, seed, self.truth, heard), 1)

        def of(chosen: np.ndarray) -> dict[str, float]:
            runs = [Classification(self.labels, run).uar for run in confusion[chosen].sum(axis=0)]
            return {"UAR": float(np.mean(runs))}

        low, high = bootstrap(of, len(who), draws=200)["UAR"]
        return of(np.arange(len(who)))["UAR"], low, high


def load_corpora(speech: Path, cache: Path, level: str) -> Corpora:
    """Clips that the cache has, with an emotion or of read speech."""
    rows = {str(Path(row["path"]).relative_to(speech.absolute())): row for row in read_corpus(speech)}
    pooled, statistics, truth, names, speakers = [], [], [], [], []
    for dataset in (*FOLDS, *READ):
        if not list((cache / level / dataset).glob("*.npz")):
            continue
        found = load_features(cache, level, dataset)
        emotions = [rows[path]["emotion"] or ("neutral|calm" if dataset in READ else "") for path in found.paths]
        kept = [i for i, emotion in enumerate(emotions) if emotion]
        pooled.append(found.pooled[kept])
        statistics.append(found.statistics[kept])
        truth += [[label in emotions[i].split("|") for label in EMOTIONS] for i in kept]
        names += [dataset] * len(kept)
        speakers += [rows[found.paths[i]]["speaker"] for i in kept]
    return Corpora(np.concatenate(pooled), np.concatenate(statistics), np.array(truth), np.array(names), np.array(speakers))


class Reversed(torch.autograd.Function):
    """The identity, with its gradient turned round (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(context, x: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.weight * gradient, None


class Probe(nn.Module):
    """Two linear layers, and one that tells corpora apart."""

    def __init__(self, features: int, corpora: int, hidden: int = 128) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Dropout(0.2), nn.Linear(features, hidden), nn.GELU(), nn.Dropout(0.3))
        self.emotions, self.corpora = nn.Linear(hidden, len(EMOTIONS)), nn.Linear(hidden, corpora)


def weights_of(corpora: Corpora, chosen: np.ndarray, setting: Setting) -> np.ndarray:
    """How much each of the chosen clips counts, with a mean of one."""
    read = np.isin(corpora.names[chosen], READ)
    pairs = zip(corpora.names[chosen], corpora.truth[chosen], strict=True)
    groups = [(name, tuple(truth) if setting.balanced else ()) for name, truth in pairs]
    counts = Counter(groups)
    classes = Counter(name for name, _ in counts)
    shares = dict(setting.shares)
    weights = np.array([shares.get(group[0], 1.0) / counts[group] / classes[group[0]] for group in groups])
    weights[~read] *= np.count_nonzero(~read) / weights[~read].sum()
    weights[read] = setting.read
    return weights / weights.mean()


def contrast(hidden: Tensor, truth: Tensor, corpora: Tensor) -> Tensor:
    """Supervised contrast (Khosla et al. 2020) in which the same emotion counts as a match in another corpus alone.

    What is neither the same emotion nor of the same corpus stands against it less: the hard negatives are other emotions of
    the same corpus.
    """
    unit = nn.functional.normalize(hidden, dim=1)
    logits = unit @ unit.T / 0.1
    same = (truth.float() @ truth.float().T) > 0
    across = corpora[:, None] != corpora[None]
    positive = (same & across).float()
    against = (same & ~across) | torch.eye(len(hidden), dtype=torch.bool)
    log_probs = logits.masked_fill(against, -1e4).log_softmax(dim=1)
    count = positive.sum(dim=1)
    return (-(positive * log_probs).sum(dim=1)[count > 0] / count[count > 0]).mean() if (count > 0).any() else hidden.sum() * 0


def train_probe(inputs: Tensor, truth: Tensor, corpora: Tensor, weights: np.ndarray, setting: Setting, seed: int) -> Probe:
    """A probe after STEPS batches that are drawn by weight."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    probe = Probe(inputs.shape[1], int(corpora.max()) + 1)
    optimizer = torch.optim.AdamW(probe.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    for _ in range(STEPS):
        rows = rng.choice(len(inputs), BATCH, p=weights / weights.sum())
        hidden = probe.first(inputs[rows])
        log_probs = probe.emotions(hidden).log_softmax(dim=1)
        loss = -log_probs.masked_fill(~truth[rows], -1e4).logsumexp(dim=1).mean()
        if setting.adversary:
            told = probe.corpora(Reversed.apply(hidden, setting.adversary))
            loss = loss + nn.functional.cross_entropy(told, corpora[rows])
        if setting.contrast:
            loss = loss + setting.contrast * contrast(hidden, truth[rows], corpora[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return probe.eval()


def run_fold(corpora: Corpora, left_out: np.ndarray, setting: Setting) -> Tested:
    """Trains SEEDS times on all clips but those left out, and hears these; left_out: bool [clips]."""
    usable = np.isin(corpora.names, FOLDS) | (np.isin(corpora.names, READ) & (setting.read > 0))
    chosen = np.flatnonzero(usable & ~left_out & ~np.isin(corpora.names, setting.leave))
    inputs = corpora.inputs(setting)
    centre, scale = inputs[chosen].mean(axis=0), inputs[chosen].std(axis=0) + 1e-3
    known = corpora.truth[chosen][corpora.truth[chosen].sum(axis=1) == 1].any(axis=0)
    tested = np.flatnonzero(left_out & corpora.truth[:, known].any(axis=1))
    asked = known & corpora.truth[tested].any(axis=0)
    scaled = torch.from_numpy(((inputs - centre) / scale).clip(-FURTHEST, FURTHEST).astype(np.float32))
    names = torch.from_numpy(np.unique(corpora.names[chosen], return_inverse=True)[1])
    truth, weights = torch.from_numpy(corpora.truth[chosen]), weights_of(corpora, chosen, setting)
    scores = []
    for seed in range(SEEDS):
        probe = train_probe(scaled[chosen], truth, names, weights, setting, seed)
        with torch.inference_mode():
            logits = probe.emotions(probe.first(scaled[tested]))[:, torch.from_numpy(asked)]
        scores.append(logits.log_softmax(dim=1).numpy())
    labels = tuple(label for label, is_asked in zip(EMOTIONS, asked, strict=True) if is_asked)
    return Tested(labels, np.stack(scores), corpora.truth[tested][:, asked].argmax(axis=1), corpora.speakers[tested])


@click.command()
@click.argument("speech", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--cache", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--try", "tried", type=click.Choice(list(EXPERIMENTS)), multiple=True, help="Experiments; all if none is named.")
def main(speech: Path, cache: Path, tried: tuple[str, ...]) -> None:
    """Train and test probes on folds over corpora."""
    loaded: dict[str, Corpora] = {}
    results = {}
    for experiment in tried or EXPERIMENTS:
        print(f"\n## {experiment}\n")
        for name, setting in EXPERIMENTS[experiment].items():
            if setting.level not in loaded:
                loaded[setting.level] = load_corpora(speech, cache, setting.level)
                sizes = Counter(loaded[setting.level].names.tolist())
                print(f"({setting.level} level: {', '.join(f'{corpus} {count}' for corpus, count in sizes.items())})\n")
            metrics = _metrics(loaded[setting.level], setting)
            results[f"{experiment}: {name}"] = metrics
            if name == next(iter(EXPERIMENTS[experiment])):
                print(f"| | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}")
            print(f"| {name} | {' | '.join(_cell(metric) for metric in metrics.values())} |", flush=True)
    print(json.dumps(results))


def _metrics(corpora: Corpora, setting: Setting) -> dict[str, dict[str, float]]:
    tested = {name: run_fold(corpora, corpora.names == name, setting) for name in FOLDS}
    logs = {name: np.log(fold.scale()) for name, fold in tested.items()}
    metrics = {}
    for name, fold in tested.items():
        others = float(np.exp(np.mean([log for other, log in logs.items() if other != name])))
        metrics |= _metric(name, fold, fold.scaled(others))
    keys = next(iter(metrics.values()))
    metrics["mean"] = {key: float(np.mean([metric[key] for metric in metrics.values()])) for key in keys}
    some = sorted(set(corpora.speakers[corpora.names == ACTORS].tolist()))[-HELD_BACK:]
    held_back = run_fold(corpora, np.isin(corpora.speakers, some), setting)
    scaled = held_back.scaled(float(np.exp(np.mean(list(logs.values())))))
    return metrics | _metric(f"{HELD_BACK} speakers of {ACTORS}", held_back, scaled)


def _metric(name: str, tested: Tested, scaled: Tested) -> dict[str, dict[str, float]]:
    plain, low, high = tested.uar(centred=False)
    return {
        f"{name} ({len(tested.labels)})": {
            "UAR": plain,
            "low": low,
            "high": high,
            "centred": tested.uar(centred=True)[0],
            "ECE": tested.calibration_error(),
            "ECE_scaled": scaled.calibration_error(),
        }
    }


def _cell(metric: dict[str, float]) -> str:
    uar = f"{metric['UAR']:.1f} ({metric['low']:.0f}-{metric['high']:.0f}), {metric['centred']:.1f}"
    return f"{uar}; {metric['ECE']:.0f}, {metric['ECE_scaled']:.0f}"


if __name__ == "__main__":
    main()
