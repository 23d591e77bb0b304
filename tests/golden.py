"""Golden values of the shipped model. To update them: python -m tests.golden"""

import json
from pathlib import Path

from tests.fakes.sounds import voice
from voxdex.encoders.model import Model, open_model

GOLDEN = Path(__file__).with_suffix(".json")


def first_numbers(model: Model) -> dict[str, list[float]]:
    """The first eight components of the embeddings of a synthetic sound and of a caption."""
    (speech,) = model.embed_speech([voice(3.0, 140, seed=7)])
    (text,) = model.embed_text(["breathy, sad female voice"])
    return {"speech": speech[:8].astype(float).round(5).tolist(), "text": text[:8].astype(float).round(5).tolist()}


if __name__ == "__main__":
    mini = open_model("mini", device="cpu")
    GOLDEN.write_text(json.dumps({"space": mini.card.space} | first_numbers(mini)) + "\n")
