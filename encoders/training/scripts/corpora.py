"""Corpora of labelled speech as rows: CREMA-D as distributed, or any folder with a table of its clips."""

from collections import Counter
from pathlib import Path

from voxdex.encoders.tables import ManifestError, read_csv, read_manifest

COLUMNS = "path dataset licence speaker gender age emotion intensity style duration".split()
TABLE = "clips.csv"
"""Table of the clips of a folder: path (in the folder), and any of the other COLUMNS."""
CREMA_D_CLIPS, CREMA_D_ACTORS = "AudioWAV", "VideoDemographics.csv"
CREMA_D_LICENCE = "ODbL 1.0"
CREMA_D_EMOTIONS = {
    "ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"
}  # fmt: skip
CREMA_D_INTENSITIES = {"LO": "normal", "HI": "strong"}
AGES = {"child": range(3, 13), "young": range(17, 31), "middle-aged": range(38, 56), "old": range(62, 120)}
"""Ranges of years for the labels of age."""


def read_corpus(folder: Path) -> list[dict[str, str]]:
    """Read a row for each clip, with its full path and data set.

    Raises:
        ManifestError: the folder is neither CREMA-D nor has a table.
    """
    if (folder / TABLE).is_file():
        rows = [row | {"path": str((folder / row["path"]).absolute())} for row in read_manifest(folder / TABLE)]
    elif (folder / CREMA_D_CLIPS).is_dir() and (folder / CREMA_D_ACTORS).is_file():
        rows = _crema_d(folder)
    else:
        raise ManifestError(
            f"{folder} has neither a {TABLE} (path, speaker, gender, emotion ...) nor, as CREMA-D, {CREMA_D_CLIPS} and "
            f"{CREMA_D_ACTORS}."
        )
    unknown = dict.fromkeys(COLUMNS, "") | {"dataset": folder.resolve().name, "licence": "not stated"}
    return _with_ages([unknown | {name: value for name, value in row.items() if value} for row in rows])


def _with_ages(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Years as labels; "" between labels, and where all of a data set is of one age, which would pass for its channel.

    Gender is that of an adult voice: children have none.
    """
    ages = [next((name for name, years in AGES.items() if row["age"] and int(float(row["age"])) in years), "") for row in rows]
    found = {(row["dataset"], age) for row, age in zip(rows, ages, strict=True) if age}
    varied = {name for name, count in Counter(name for name, _ in found).items() if count > 1}
    return [
        row | {"age": age if row["dataset"] in varied else "", "gender": "" if age == "child" else row["gender"]}
        for row, age in zip(rows, ages, strict=True)
    ]


def _crema_d(folder: Path) -> list[dict[str, str]]:
    """Read CREMA-D (Cao et al. 2014): 1001_DFA_ANG_XX.wav is actor, sentence, emotion and intensity."""
    actors = {row["ActorID"]: row for row in read_csv(folder / CREMA_D_ACTORS)}
    rows = []
    for path in sorted((folder / CREMA_D_CLIPS).glob("*.wav")):
        parts = path.stem.split("_")
        if len(parts) != 4 or parts[0] not in actors:
            raise ManifestError(f"{path} is not named as CREMA-D's clips are, or {CREMA_D_ACTORS} does not know its actor.")
        actor, _, emotion, intensity = parts
        rows.append(
            {
                "path": str(path.absolute()),
                "dataset": "crema-d",
                "licence": CREMA_D_LICENCE,
                "speaker": f"crema-d-{actor}",
                "gender": actors[actor]["Sex"].lower(),
                "age": actors[actor]["Age"],
                "emotion": CREMA_D_EMOTIONS.get(emotion, ""),
                "intensity": CREMA_D_INTENSITIES.get(intensity, ""),
            }
        )
    return rows
