"""The curves of a run as an image: its losses, and its validations' figures."""

import json
from pathlib import Path

import numpy as np

FIGURES_SHOWN = 8


def draw_curves(log: Path, image: Path) -> None:
    """Reads log.jsonl and writes a PNG: each part of the loss by step, smoothed, and the validations."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "loss" in line]
    drawing = Figure(figsize=(11, 4.2), layout="constrained")
    losses, figures = drawing.subplots(1, 2)
    for name in [key for key in (steps[0] if steps else {}) if key not in ("step", "learning_rate", "figures")]:
        values = np.array([line[name] for line in steps])
        window = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        losses.plot([line["step"] for line in steps][window - 1 :], smooth, label=name, linewidth=1.2)
    losses.set(xlabel="step", ylabel="loss", title="training")
    losses.legend(fontsize=8)

    series: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for row in line.get("figures", ()):
            series.setdefault(f"{row['question']}, {row['set']}", []).append((line["step"], row["figure"]))
    for name, points in list(series.items())[:FIGURES_SHOWN]:
        figures.plot(*zip(*points, strict=True), marker=".", label=name, linewidth=1.2)
    figures.set(xlabel="step", ylabel="%", title="held-out clips")
    if series:
        figures.legend(fontsize=7)
    drawing.savefig(image, dpi=110)
