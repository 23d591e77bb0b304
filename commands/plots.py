"""Figures as images; they need matplotlib, which nothing else does."""

from pathlib import Path
from typing import Any

import click

from voxdex.commands.options import check_folder_of
from voxdex.encoders.metrics import Classification
from voxdex.search.evaluation import RetrievalResult


class ImageFile(click.Path):
    """An image to write, for which there must be a folder, a program that draws it, and its form."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        file = super().convert(value, param, context)
        try:
            from matplotlib.backend_bases import FigureCanvasBase
        except ImportError:
            self.fail("drawing needs matplotlib: pip install matplotlib in the same environment.", param, context)
        forms = FigureCanvasBase.get_supported_filetypes()
        if file.suffix[1:].lower() not in forms:
            self.fail(f"{file} must end with one of {', '.join(f'.{form}' for form in sorted(forms))}.", param, context)
        check_folder_of(file)
        return file


def draw_confusion(result: Classification, title: str, image: Path) -> None:
    """Writes a confusion matrix as an image: rows are the truth, colours the share of their row."""
    shares = result.confusion / result.confusion.sum(axis=1, keepdims=True).clip(1)
    size = 2.5 + 0.7 * len(result.labels)
    drawing, axes = _new(size + 1, size)
    shown = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    places = range(len(result.labels))
    axes.set(xticks=places, yticks=places, yticklabels=result.labels, xlabel="heard", ylabel="true", title=title)
    axes.set_xticks(places, result.labels, rotation=45, ha="right")
    for row in places:
        for column in places:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(result.confusion[row, column]), ha="center", va="center", color=colour)
    drawing.colorbar(shown, label="% of the true label")
    _save(drawing, image)


def draw_recall(result: RetrievalResult, title: str, image: Path) -> None:
    """Writes, as an image, how many percent of the queries have a right answer among the first k, for each k and both ways."""
    drawing, axes = _new(7, 5)
    for (way, found), answers in zip(result.directions.items(), (result.captions, result.clips), strict=True):
        places = range(1, answers + 1)
        axes.plot(places, [found.recall_at(k) for k in places], label=f"{way.replace('_', ' ')} ({len(found.ranks)} queries)")
    axes.set(xscale="log", ylim=(0, 102), xlabel="k", ylabel="recall@k (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(drawing, image)


def _new(width: float, height: float) -> tuple[Any, Any]:
    """A drawing of a size in inches, and its axes."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
    return drawing, drawing.subplots()


def _save(drawing: Any, image: Path) -> None:
    try:
        drawing.savefig(image, dpi=120)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{image} cannot be written ({error}).") from error
