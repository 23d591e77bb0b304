"""How well models hear voices they never heard: by question and set, with intervals, beside chance and a classical baseline.

    python -m benchmarks.voices PREPARED/manifest.csv --captioned CLIPS.csv --model mini --model OTHER --table docs/figures.md

The manifest is that of encoders.training.prepare: rows of its split "train" teach the baseline, the others are heard by all.
Needs the bench extra. Prints a table, then one JSON object as the last line.
"""

import csv
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from benchmarks.functionals import classifier, functionals, to_captions
from encoders import Model, load_attributes, open_model
from encoders.metrics import area_under_curve, classification, mean_interval, retrieval
from encoders.training.captions import Claim, choose_claims, write_caption
from encoders.training.data import CLAIMS, truth_of
from search import caption_vector
from search.evaluation import Embedded, embed_rows, evaluate_classification, evaluate_retrieval

FEWEST = 20
"""Clips of a set on which a figure is given."""
FEWEST_OF_EACH = 5
"""Clips that have all, and that lack just one, of what a conjunction says; and of which a denial is true, and false."""
CONJUNCTIONS = 400
WORDINGS = 3
"""In how many ways each conjunction and each denial is put into words."""
OTHERS = 3000
"""Clips without acted emotion on which the baseline is taught, beside all with one."""
CAPTIONED = "captioned-"
"""How the names of sets with captions begin."""
Cell = tuple[float, float, float]
"""A figure and its 95 % interval."""


@dataclass(frozen=True)
class Row:
    """A line of the table. figures: by who answered, "classical" or the name of a model."""

    question: str
    set: str
    clips: int
    chance: float
    figures: dict[str, Cell]


@dataclass(frozen=True)
class Listener:
    """A model and what it made of the held-out clips and of the captioned ones, by set."""

    name: str
    model: Model
    heard: Embedded
    captioned: dict[str, Embedded]


class Classical:
    """The baseline, taught on clips of the training split."""

    def __init__(self, rows: Sequence[dict[str, str]], cache: Path) -> None:
        self.cache = cache
        self.rows = rows
        self.inputs = functionals([Path(row["path"]) for row in rows], cache)

    def hear(self, rows: Sequence[dict[str, str]]) -> np.ndarray:
        return functionals([Path(row["path"]) for row in rows], self.cache)

    def classify(self, attribute: str, labels: Sequence[str], rows: Sequence[dict[str, str]]) -> list[str]:
        """What it takes each clip for."""
        known = [i for i, row in enumerate(self.rows) if row[attribute] in labels]
        taught = classifier(self.inputs[known], [self.rows[i][attribute] for i in known])
        return taught.predict(self.hear(rows)).tolist()

    def embed(self, rows: Sequence[dict[str, str]], model: Model) -> np.ndarray:
        """Clips where captions of theirs would lie in the model's space, [clips, dimension]."""
        rng = random.Random(0)
        captions = [_describe(row, rng) for row in self.rows]
        taught = to_captions(self.inputs, np.stack(list(model.embed_text(captions))))
        found = taught.predict(self.hear(rows))
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def questions(listeners: Sequence[Listener], classical: Classical) -> list[Row]:
    """Zero-shot classification of every exclusive attribute on every set that tells it, in UAR."""
    rows = []
    held_out = listeners[0].heard.rows
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
            heard, figures = [held_out[i] for i in chosen], {}
            if {row[name] for row in classical.rows} >= set(present):
                guessed = classical.classify(name, present, heard)
                figures["classical"] = _uar([row[name] for row in heard], guessed, present)
            for listener in listeners:
                embedded = Embedded(heard, listener.heard.vectors[chosen], [])
                answered = evaluate_classification(listener.model, embedded, name, present)
                figures[listener.name] = _uar(answered.truth, answered.heard, present)
            rows.append(Row(name, group, len(chosen), 100 / len(present), figures))
    return rows


def captioned(listeners: Sequence[Listener], classical: Classical) -> list[Row]:
    """Retrieval between synthetic speech and the captions it was made for, R@10 both ways."""
    rows = []
    for group, heard in listeners[0].captioned.items():
        found = {listener.name: evaluate_retrieval(listener.model, listener.captioned[group]) for listener in listeners}
        last = listeners[-1]
        guess = Embedded(heard.rows, classical.embed(heard.rows, last.model), [])
        found = {"classical": evaluate_retrieval(last.model, guess)} | found
        drawn = np.random.default_rng(0)
        for way in ("caption_to_speech", "speech_to_caption"):
            cells = {name: (getattr(one, way).recall_at(10), *one.intervals()[way]["R@10"]) for name, one in found.items()}
            one = next(iter(found.values()))
            shape = (one.captions, one.clips) if way == "caption_to_speech" else (one.clips, one.captions)
            right = _right(heard.rows) if way == "caption_to_speech" else _right(heard.rows).T
            chance = np.mean([retrieval(drawn.random(shape), right).recall_at(10) for _ in range(200)])
            rows.append(Row(f"{way.replace('_', ' ')}, R@10", group, len(heard.rows), float(chance), cells))
    return rows


def conjunctions(listeners: Sequence[Listener]) -> list[Row]:
    """Captions that say two or three things: how often a clip of which all hold is above one of which all but one do, or none.

    AUC, averaged over conjunctions. Only clips count of which everything that is said is known.
    """
    truth = np.stack([truth_of(row) for row in listeners[0].heard.rows])
    exclusive = {name for name, attribute in load_attributes().items() if attribute.exclusive}
    columns = [i for i, claim in enumerate(CLAIMS) if claim.attribute in exclusive]
    drawn = [said for size in (2, 3) for said in _draw(truth, columns, size)]
    rng = random.Random(0)
    captions = [[write_caption([CLAIMS[i] for i in said], rng) for _ in range(WORDINGS)] for said in drawn]
    rows = []
    for size in (2, 3):
        places = [i for i, said in enumerate(drawn) if len(said) == size]
        for against, lacking in (("all but one", 1), ("none", size)):
            figures, clips = {}, set()
            for listener in listeners:
                areas = []
                for i in places:
                    part = truth[:, drawn[i]]
                    known = (part != 0).all(axis=1)
                    all_hold, others = known & (part == 1).all(axis=1), known & ((part == -1).sum(axis=1) == lacking)
                    if others.sum() >= FEWEST_OF_EACH:
                        judged = np.flatnonzero(all_hold | others)
                        clips.update(judged.tolist())
                        areas.append(_area(listener, captions[i], judged, all_hold[judged]))
                figures[listener.name] = _mean(areas)
            rows.append(Row(f"{size} words: all above {against}, AUC", "held-out", len(clips), 50.0, figures))
    return rows


def denials(listeners: Sequence[Listener]) -> list[Row]:
    """ "Not whispered": how often a clip of which the denial is true is above one of which it is not, beside the plain word."""
    truth = np.stack([truth_of(row) for row in listeners[0].heard.rows])
    rng = random.Random(0)
    by_attribute: dict[str, list[int]] = defaultdict(list)
    for column, claim in enumerate(CLAIMS):
        if load_attributes()[claim.attribute].exclusive and _enough(truth[:, column]):
            by_attribute[claim.attribute].append(column)
    rows = []
    for attribute, columns in by_attribute.items():
        for holds in (True, False):
            captions = {
                column: [write_caption([CLAIMS[column]._replace(holds=holds)], rng) for _ in range(2 * WORDINGS)]
                for column in columns
            }
            figures = {}
            for listener in listeners:
                areas = []
                for column in columns:
                    judged = np.flatnonzero(truth[:, column])
                    right = (truth[judged, column] == 1) == holds
                    areas.append(_area(listener, captions[column], judged, right))
                figures[listener.name] = _mean(areas)
            clips = int((truth[:, columns] != 0).any(axis=1).sum())
            said = "the word" if holds else "the word denied"
            rows.append(Row(f"{attribute}: {said}, AUC", "held-out", clips, 50.0, figures))
    return rows


def _draw(truth: np.ndarray, columns: list[int], size: int) -> list[list[int]]:
    """At most CONJUNCTIONS, of different attributes, all with enough clips to judge by."""
    possible = []
    for said in combinations(columns, size):
        part = truth[:, said]
        if len({CLAIMS[i].attribute for i in said}) == size and (part == 1).all(axis=1).sum() >= FEWEST_OF_EACH:
            one_fails = (part != 0).all(axis=1) & ((part == -1).sum(axis=1) == 1)
            if one_fails.sum() >= FEWEST_OF_EACH:
                possible.append(list(said))
    return random.Random(0).sample(possible, min(CONJUNCTIONS, len(possible)))


def _enough(known: np.ndarray) -> bool:
    return min((known == 1).sum(), (known == -1).sum()) >= FEWEST_OF_EACH


def _area(listener: Listener, captions: list[str], judged: np.ndarray, right: np.ndarray) -> float:
    """AUC of a caption as `search` takes it, the mean over its wordings."""
    scores = listener.heard.vectors[judged] @ np.stack([caption_vector(text, listener.model) for text in captions]).T
    return float(np.mean([area_under_curve(column, right) for column in scores.T]))


def _mean(areas: Sequence[float]) -> Cell:
    found = np.array(areas)
    return (float(found.mean()), *mean_interval(found))


def _uar(truth: Sequence[str], predicted: Sequence[str], labels: tuple[str, ...]) -> Cell:
    low, high = mean_interval(np.array(truth) == np.array(predicted), truth)
    return classification(truth, predicted, labels).uar, 100 * low, 100 * high


def _right(rows: Sequence[dict[str, str]]) -> np.ndarray:
    captions = list(dict.fromkeys(row["caption"] for row in rows))
    return np.array([[row["caption"] == caption for row in rows] for caption in captions])


def _describe(row: dict[str, str], rng: random.Random) -> str:
    """A caption of one to four labels of a row."""
    claims = [Claim(name, row[name]) for name in load_attributes() if row[name] and "|" not in row[name]]
    return write_caption(choose_claims(claims, rng), rng)


def _some(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """All clips with an acted emotion, and OTHERS of the others."""
    acted = [row for row in rows if row["emotion"] and "|" not in row["emotion"]]
    others = [row for row in rows if not row["emotion"] or "|" in row["emotion"]]
    return acted + random.Random(0).sample(others, min(OTHERS, len(others)))


def _set(row: dict[str, str]) -> str:
    return "vocoder edits" if row["dataset"].startswith("edit-") else row["dataset"]


def listen(name: str, rows: list[dict[str, str]], captioned_rows: dict[str, list[dict[str, str]]]) -> Listener:
    """Opens a model and lets it hear everything."""
    model = open_model(name, device="cpu")
    with tqdm(total=len(rows) + sum(map(len, captioned_rows.values())), desc=name, mininterval=10) as bar:
        heard = embed_rows(model, rows, Path(), bar.update)
        others = {group: embed_rows(model, part, Path(), bar.update) for group, part in captioned_rows.items()}
    return Listener(f"{model.card.name} {model.card.version}", model, heard, others)


def write_table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each figure, the interval behind it."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = ["| question | set | clips | chance | " + " | ".join(names) + " |", "|---" * (len(names) + 4) + "|"]
    for row in rows:
        cells = [_cell(row.figures.get(name)) for name in names]
        lines.append(f"| {row.question} | {row.set} | {row.clips} | {row.chance:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(figure: Cell | None) -> str:
    return f"{figure[0]:.1f} ({figure[1]:.0f}-{figure[2]:.0f})" if figure else ""


@click.command()
@click.argument("manifest", type=click.Path(exists=True, path_type=Path))
@click.option("--captioned", "captioned_clips", type=click.Path(exists=True, path_type=Path), help="Captioned clips.")
@click.option("--model", "models", multiple=True, default=("mini",), show_default=True, help="A name or a folder; repeatable.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("functionals.npz"), show_default=True)
@click.option("--table", type=click.Path(path_type=Path), help="A Markdown file to write.")
def main(manifest: Path, captioned_clips: Path | None, models: tuple[str, ...], cache: Path, table: Path | None) -> None:
    """Let models and the baseline hear the held-out clips of a prepared manifest, and captioned ones."""
    rows = _read(manifest)
    held_out = [row for row in rows if row["split"] != "train"]
    by_set = defaultdict(list)
    for row in _read(captioned_clips) if captioned_clips else ():
        if row["dataset"].startswith(CAPTIONED) and row["caption"]:
            by_set[row["dataset"].removeprefix(CAPTIONED)].append(row)
    listeners = [listen(name, held_out, by_set) for name in models]
    taught = [row for row in rows if row["split"] == "train"]
    classical = Classical(_some(taught), cache)
    parts: tuple[Callable[[], list[Row]], ...] = (
        lambda: questions(listeners, classical),
        lambda: captioned(listeners, classical),
        lambda: conjunctions(listeners),
        lambda: denials(listeners),
    )
    figures = [row for part in parts for row in part()]
    text = write_table(figures)
    if table:
        table.write_text(text, encoding="utf-8")
    print(text)
    print(json.dumps([vars(row) for row in figures]))


def _read(path: Path) -> list[dict[str, str]]:
    """Rows with paths that start where the file lies, if they are relative."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row | {"path": str(path.parent / row["path"])} for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
