"""Figures as images; they need matplotlib, which nothing else does."""

from pathlib import Path

import click

from encoders.metrics import Classification


def draw_confusion(result: Classification, title: str, image: Path) -> None:
    """Writes a confusion matrix as an image: rows are the truth, colours the share of their row."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise click.ClickException("--plot needs matplotlib: pip install matplotlib in the same environment.") from error
    shares = result.confusion / result.confusion.sum(axis=1, keepdims=True).clip(1)
    size = 2.5 + 0.7 * len(result.labels)
    drawing = Figure(figsize=(size + 1, size), layout="constrained")
    axes = drawing.subplots()
    shown = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    places = range(len(result.labels))
    axes.set(xticks=places, yticks=places, yticklabels=result.labels, xlabel="heard", ylabel="true", title=title)
    axes.set_xticks(places, result.labels, rotation=45, ha="right")
    for row in places:
        for column in places:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(result.confusion[row, column]), ha="center", va="center", color=colour)
    drawing.colorbar(shown, label="% of the true label")
    try:
        drawing.savefig(image, dpi=120)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{image} cannot be written ({error}).") from error
