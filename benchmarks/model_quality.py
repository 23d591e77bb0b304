"""Quality of models on unseen voices, by task and data set, with intervals, chance and a classical baseline.

    python -m benchmarks.model_quality PREPARED/manifest.csv --captioned CLIPS.csv --model mini --model mini-open --table OUT.md

The manifest is that of encoders.training.scripts.prepare: rows of its split "train" train the baseline, and have trained the
models that ship; all others are test clips. Needs the bench extra. Prints a table, then one JSON object as the last line.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from pathlib import Path

import click
import numpy as np
from sklearn.pipeline import Pipeline
from tqdm import tqdm

from benchmarks.egemaps_baseline import classifier, functionals, to_captions
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.metrics import area_under_curve, classification, mean_interval, speaker_clusters
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.model_card import ModelCard
from voxdex.encoders.tables import read_manifest
from voxdex.encoders.training.data.caption_templates import Claim, choose_claims, write_caption
from voxdex.encoders.training.data.dataset import CLAIMS, truth_of
from voxdex.search.evaluation import EmbeddedRows, embed_rows, evaluate_classification, evaluate_retrieval
from voxdex.search.query import Query, ask
from voxdex.search.scoring import QueryScorer, ScoreCohort, caption_vectors

FEWEST = 20
"""Least number of clips of a set for a metric."""
FEWEST_OF_EACH = 5
"""Least numbers of positives and negatives of a conjunction, and of a negation."""
CONJUNCTIONS = 400
WORDINGS = 3
"""Number of wordings of each conjunction and negation."""
OTHERS = 3000
"""Clips without acted emotion in the training set of the baseline, beside all with one."""
CAPTIONED = "captioned-"
"""Prefix of the names of captioned sets."""
Cell = tuple[float, float, float]
"""A metric and its 95 % interval."""


INTRODUCTION = """\
# Model quality

Percentages on speakers that the models were not trained on, with 95 % intervals: over speakers, or over clips in a set of fewer
than five; over captions, conjunctions and labels where those are asked for. The weights are those that ship. Attributes are
predicted zero-shot; the metric is unweighted average recall, unless another one is named. The sets are parts of those that the
models were trained on, by other speakers; the recipe was chosen on sets left out as a whole ([model log](model-log.md)).
*Classical* is a baseline trained on the training speakers: the 88 functionals of eGeMAPS (openSMILE) with balanced logistic
regression, or with ridge regression to the embeddings of captions. *Vocoder edits* are of held-out speakers. Sets with captions
are synthetic speech with the captions that it was generated from, and were not trained on; R@10 is the fraction of queries
whose pair is among the first ten.

`python -m benchmarks.model_quality` makes the table.

"""


@dataclass(frozen=True)
class Row:
    """A row of the table. metrics: by system, "classical" or the name of a model."""

    task: str
    set: str
    clips: int
    chance: float
    metrics: dict[str, Cell]


@dataclass(frozen=True)
class EmbeddedModel:
    """A model and its embeddings of the held-out clips, and of the captioned ones by set."""

    name: str
    model: Model
    heard: EmbeddedRows
    captioned: dict[str, EmbeddedRows]


class Classical:
    """The baseline, trained on clips of the training split. measured: functionals of all clips by path."""

    def __init__(self, rows: Sequence[dict[str, str]], measured: Mapping[str, np.ndarray]) -> None:
        self.measured = measured
        self.rows = rows
        self.inputs = self.hear(rows)
        self.classifiers: dict[tuple[str, ...], Pipeline] = {}

    def hear(self, rows: Sequence[dict[str, str]]) -> np.ndarray:
        return np.stack([self.measured[row["path"]] for row in rows])

    def classify(self, attribute: str, labels: Sequence[str], rows: Sequence[dict[str, str]]) -> list[str]:
        """Predict the label of each clip."""
        asked = (attribute, *labels)
        if asked not in self.classifiers:
            known = [i for i, row in enumerate(self.rows) if row[attribute] in labels]
            self.classifiers[asked] = classifier(self.inputs[known], [self.rows[i][attribute] for i in known])
        return self.classifiers[asked].predict(self.hear(rows)).tolist()

    def embed(self, rows: Sequence[dict[str, str]], model: Model) -> np.ndarray:
        """Predict the embeddings of captions of clips, [clips, dimension]."""
        rng = random.Random(0)
        captions = [_describe(row, rng) for row in self.rows]
        taught = to_captions(self.inputs, np.stack(list(model.embed_text(captions))))
        found = taught.predict(self.hear(rows))
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def classification_rows(systems: Sequence[EmbeddedModel], classical: Classical) -> list[Row]:
    """Measure the UAR of zero-shot classification of every exclusive attribute on every labelled set."""
    rows = []
    held_out = systems[0].heard.rows
    sets = np.array([_set(row) for row in held_out])
    for name, attribute in load_attributes().items():
        labels = [label.name for label in attribute.labels]
        for group in sorted(set(sets)) if attribute.exclusive else ():
            chosen = [i for i in np.flatnonzero(sets == group) if held_out[i][name] in labels]
            truth = [held_out[i][name] for i in chosen]
            present = tuple(label for label in labels if truth.count(label) >= FEWEST_OF_EACH)
            chosen = [i for i in chosen if held_out[i][name] in present]
            if len(present) < 2 or len(chosen) < FEWEST:
                continue
            heard, metrics = [held_out[i] for i in chosen], {}
            speakers = speaker_clusters([row["speaker"] for row in heard])
            if {row[name] for row in classical.rows} >= set(present):
                guessed = classical.classify(name, present, heard)
                metrics["classical"] = _uar([row[name] for row in heard], guessed, present, speakers)
            for system in systems:
                embedded = EmbeddedRows(heard, system.heard.vectors[chosen], [])
                answered = evaluate_classification(system.model, embedded, name, present)
                metrics[system.name] = _uar(answered.truth, answered.predictions, present, speakers)
            rows.append(Row(name, group, len(chosen), 100 / len(present), metrics))
    return rows


def captioned(systems: Sequence[EmbeddedModel], classical: Classical) -> list[Row]:
    """Measure retrieval between synthetic speech and its captions, R@10 both ways."""
    rows = []
    for group, heard in systems[0].captioned.items():
        found = {system.name: evaluate_retrieval(system.model, system.captioned[group]) for system in systems}
        last = systems[-1]
        guess = EmbeddedRows(heard.rows, classical.embed(heard.rows, last.model), [])
        found = {"classical": evaluate_retrieval(last.model, guess)} | found
        for way in ("caption_to_speech", "speech_to_caption"):
            cells = {name: (getattr(one, way).recall_at(10), *one.intervals()[way]["R@10"]) for name, one in found.items()}
            rows.append(Row(f"{way.replace('_', ' ')}, R@10", group, len(heard.rows), _chance(heard.rows, way), cells))
    return rows


def conjunctions(systems: Sequence[EmbeddedModel]) -> list[Row]:
    """Measure captions with two or three claims: AUC of clips with all claims against clips with all but one, or none.

    AUC and precision at 10 are averaged over conjunctions, for clips with known labels. Clips are ranked by the caption's
    embedding alone, and as `search` ranks them, with term penalties.
    """
    truth = np.stack([truth_of(row) for row in systems[0].heard.rows])
    exclusive = {name for name, attribute in load_attributes().items() if attribute.exclusive}
    columns = [i for i, claim in enumerate(CLAIMS) if claim.attribute in exclusive]
    rng = random.Random(0)
    rows = []
    for size in (2, 3):
        drawn = _draw(truth, columns, size)
        captions = [[write_caption([CLAIMS[i] for i in said], rng) for _ in range(WORDINGS)] for said in drawn]
        for how, score in (("", _scores), (", word by word", _ranked)):
            scores = {system.name: [score(system, wordings) for wordings in captions] for system in systems}
            for against, lacking in (("all but one", 1), ("none", size)):
                judged = [_judged(truth[:, said], lacking) for said in drawn]
                asked = [i for i, (_, right) in enumerate(judged) if _enough(right)]
                metrics = {name: _mean([_area(found[i], *judged[i]) for i in asked]) for name, found in scores.items()}
                clips = len(set().union(*(judged[i][0].tolist() for i in asked)))
                rows.append(Row(f"{size} words: all above {against}{how}, AUC", "held-out", clips, 50.0, metrics))
            known = [np.flatnonzero((truth[:, said] != 0).all(axis=1)) for said in drawn]
            right = [(truth[clips][:, said] == 1).all(axis=1) for clips, said in zip(known, drawn, strict=True)]
            firsts = {
                name: _mean([_of_first_ten(*each) for each in zip(found, known, right, strict=True)])
                for name, found in scores.items()
            }
            chance = 100 * float(np.mean([each.mean() for each in right]))
            clips = len(set().union(*(clips.tolist() for clips in known)))
            rows.append(Row(f"{size} words: first ten that meet all{how}", "held-out", clips, chance, firsts))
    return rows


def negations(systems: Sequence[EmbeddedModel]) -> list[Row]:
    """Measure negations ("not whispered"): AUC of clips for which they are true, and of the plain words."""
    truth = np.stack([truth_of(row) for row in systems[0].heard.rows])
    rng = random.Random(0)
    by_attribute: dict[str, list[int]] = defaultdict(list)
    for column, claim in enumerate(CLAIMS):
        if load_attributes()[claim.attribute].exclusive and _enough(truth[truth[:, column] != 0, column] == 1):
            by_attribute[claim.attribute].append(column)
    rows = []
    for attribute, columns in by_attribute.items():
        for holds in (True, False):
            metrics = {}
            captions = {
                column: [write_caption([CLAIMS[column]._replace(holds=holds)], rng) for _ in range(2 * WORDINGS)]
                for column in columns
            }
            for system in systems:
                areas = []
                for column in columns:
                    judged = np.flatnonzero(truth[:, column])
                    right = (truth[judged, column] == 1) == holds
                    areas.append(_area(_scores(system, captions[column]), judged, right))
                metrics[system.name] = _mean(areas)
            clips = int((truth[:, columns] != 0).any(axis=1).sum())
            said = "the word" if holds else "the word denied"
            rows.append(Row(f"{attribute}: {said}, AUC", "held-out", clips, 50.0, metrics))
    return rows


def _name(card: ModelCard) -> str:
    return f"{card.name} {card.version}"


def _draw(truth: np.ndarray, columns: list[int], size: int) -> list[list[int]]:
    """Draw up to CONJUNCTIONS of labels of different attributes with enough clips."""
    possible = [
        list(said)
        for said in combinations(columns, size)
        if len({CLAIMS[i].attribute for i in said}) == size and _enough(_judged(truth[:, said], 1)[1])
    ]
    return random.Random(0).sample(possible, min(CONJUNCTIONS, len(possible)))


def _judged(said: np.ndarray, lacking: int) -> tuple[np.ndarray, np.ndarray]:
    """Return clips for which all claims hold, or all but `lacking`; and for which of them all hold."""
    all_hold = (said == 1).all(axis=1)
    others = (said != 0).all(axis=1) & ((said == -1).sum(axis=1) == lacking)
    judged = np.flatnonzero(all_hold | others)
    return judged, all_hold[judged]


def _enough(right: np.ndarray) -> bool:
    return min(right.sum(), (~right).sum()) >= FEWEST_OF_EACH


def _scores(system: EmbeddedModel, wordings: Sequence[str]) -> np.ndarray:
    """Return cosines of held-out clips with wordings of a caption, [clips, wordings]."""
    return system.heard.vectors @ caption_vectors(wordings, system.model).T


def _ranked(system: EmbeddedModel, wordings: Sequence[str]) -> np.ndarray:
    """Return scores of held-out clips as `search` ranks them, with term penalties, [clips, wordings]."""
    vectors = system.heard.vectors
    cohort = ScoreCohort(vectors)
    scorers = (QueryScorer(Query(ask(text)), model=system.model, cohort=cohort) for text in wordings)
    return np.stack([scorer.scores(vectors) for scorer in scorers], axis=1)


def _of_first_ten(scores: np.ndarray, judged: np.ndarray, right: np.ndarray) -> float:
    """Return the precision at 10 in percent, averaged over wordings."""
    first = np.argsort(-scores[judged], axis=0)[:10]
    return 100 * float(right[first].mean())


def _area(scores: np.ndarray, judged: np.ndarray, right: np.ndarray) -> float:
    """Return the AUC of a caption, averaged over wordings."""
    return float(np.mean([area_under_curve(column, right) for column in scores[judged].T]))


def _mean(areas: Sequence[float]) -> Cell:
    found = np.array(areas)
    return (float(found.mean()), *mean_interval(found))


def _uar(truth: Sequence[str], predicted: Sequence[str], labels: tuple[str, ...], speakers: Sequence[str] | None) -> Cell:
    low, high = mean_interval(np.array(truth) == np.array(predicted), truth, clusters=speakers)
    return classification(truth, predicted, labels).uar, 100 * low, 100 * high


def _chance(rows: Sequence[dict[str, str]], way: str) -> float:
    """Return R@10 of a random order."""
    right = Counter(row["caption"] for row in rows)
    if way == "speech_to_caption":
        return 100 * min(1.0, 10 / len(right))
    missed = [comb(len(rows) - count, 10) / comb(len(rows), 10) for count in right.values()]
    return float(100 * (1 - np.mean(missed)))


def _describe(row: dict[str, str], rng: random.Random) -> str:
    """Compose a caption of one to four labels of a row."""
    claims = [Claim(name, row[name]) for name in load_attributes() if row[name] and "|" not in row[name]]
    return write_caption(choose_claims(claims, rng), rng)


def _some(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return all clips with an acted emotion, and OTHERS other ones."""
    acted = [row for row in rows if row["emotion"] and "|" not in row["emotion"]]
    others = [row for row in rows if not row["emotion"] or "|" in row["emotion"]]
    return acted + random.Random(0).sample(others, min(OTHERS, len(others)))


def _set(row: dict[str, str]) -> str:
    return "vocoder edits" if row["dataset"].startswith("edit-") else row["dataset"]


def listen(name: str, rows: list[dict[str, str]], captioned_rows: dict[str, list[dict[str, str]]]) -> EmbeddedModel:
    """Open a model and embed all clips."""
    model = open_model(name, device="cpu")
    with tqdm(total=len(rows) + sum(map(len, captioned_rows.values())), desc=name, mininterval=10) as bar:
        heard = embed_rows(model, rows, Path(), bar.update)
        others = {group: embed_rows(model, part, Path(), bar.update) for group, part in captioned_rows.items()}
    return EmbeddedModel(_name(model.card), model, heard, others)


def write_table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table, with intervals in parentheses."""
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    lines = ["| question | set | clips | chance | " + " | ".join(names) + " |", "|---" * (len(names) + 4) + "|"]
    for row in rows:
        cells = [_cell(row.metrics.get(name)) for name in names]
        lines.append(f"| {row.task} | {row.set} | {row.clips} | {row.chance:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(metric: Cell | None) -> str:
    return f"{metric[0]:.1f} ({metric[1]:.0f}-{metric[2]:.0f})" if metric else ""


@click.command()
@click.argument("manifest", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--captioned",
    "captioned_clips",
    type=click.Path(exists=True, path_type=Path),
    help="A table of captioned clips, of which English ones are used.",
)
@click.option("--model", "models", multiple=True, default=("mini",), show_default=True, help="A name or a folder; repeatable.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("functionals.npz"), show_default=True)
@click.option("--table", type=click.Path(path_type=Path), help="A Markdown file to write.")
def main(
    manifest: Path,
    captioned_clips: Path | None,
    models: tuple[str, ...],
    cache: Path,
    table: Path | None,
) -> None:
    """Evaluate models and the baseline on the held-out clips of a prepared manifest, and on captioned ones."""
    rows = _recordings(manifest)
    by_set = defaultdict(list)
    for row in _recordings(captioned_clips) if captioned_clips else ():
        if row["dataset"].startswith(CAPTIONED) and row["caption"] and row["language"].startswith("en"):
            by_set[row["dataset"].removeprefix(CAPTIONED)].append(row)
    held_out = [row for row in rows if row["split"] != "train"]
    taught = _some([row for row in rows if row["split"] == "train"])
    heard = [row["path"] for part in (taught, held_out, *by_set.values()) for row in part]
    classical = Classical(taught, functionals(heard, cache))
    systems = [listen(name, held_out, by_set) for name in models]
    metrics = classification_rows(systems, classical) + captioned(systems, classical)
    metrics += conjunctions(systems) + negations(systems)
    text = write_table(metrics)
    if table:
        table.write_text(INTRODUCTION + text, encoding="utf-8")
    print(text)
    print(json.dumps([vars(row) for row in metrics]))


def _recordings(manifest: Path) -> list[dict[str, str]]:
    """Read its rows, with relative paths resolved against its folder."""
    return [row | {"path": str(manifest.parent / row["path"])} for row in read_manifest(manifest)]


if __name__ == "__main__":
    main()
