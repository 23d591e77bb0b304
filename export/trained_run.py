"""A training run -> a model folder."""

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from voxdex.encoders.training.initial import RUN, begin_from
from voxdex.export.model_folder import ExportError, ModelInfo, write_model
from voxdex.export.parity import Parity


def export_run(
    run: Path,
    out: Path,
    precision: str = "fp32",
    clips: Path | None = None,
    name: str | None = None,
    measured: Path | None = None,
    on_stage: Callable[[str], object] = lambda stage: None,
) -> Parity:
    """Writes the model folder of a finished run; see write_model.

    Args:
        name: of the model; None takes the recipe's card's, or that of `out` (of the run, for RUN/model).
        measured: a run of the same recipe that held clips out; its figures and scales are the model's.

    Raises:
        ExportError: the run is not finished, or write_model's reasons.
        SourceError: the run's weights cannot be read.
    """
    trained = _read_run(run)
    held_out = _read_run(measured) if measured else trained
    said = {
        key: value for key, value in trained["recipe"]["card"].items() if key in {field.name for field in fields(ModelInfo)}
    }
    default = run.name if out.parent == run else out.name
    licences = sorted({row["licence"] for row in trained["trained_on"]})
    about = ModelInfo(
        **{"name": name or default, "description": f"Trained by the recipe {trained['recipe']['name']}."}
        | {"licence": f"that of its data: {', '.join(licences)}"}
        | said
        | ({"name": name} if name else {}),
        trained_on=trained["trained_on"],
        figures=held_out["figures"],
        scales=held_out.get("scales", {}),
        phoneme_shares=trained.get("phoneme_shares", []),
        intelligibility=held_out.get("intelligibility", []),
    )
    return write_model(begin_from(str(run)), about, out, precision, clips, on_stage)


def _read_run(run: Path) -> dict[str, Any]:
    try:
        found = json.loads((run / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{run} is not a training run: its {RUN} cannot be read ({error}).") from error
    if "figures" not in found:
        raise ExportError(f"The run in {run} is not finished: run `train` again with the same --out, and it goes on.")
    return found
