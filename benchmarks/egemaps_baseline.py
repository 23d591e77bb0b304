"""A classical baseline: the 88 functionals of eGeMAPS (openSMILE), by logistic or (to captions) ridge regression."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import opensmile
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, RobustScaler, StandardScaler
from tqdm import tqdm

from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio
from voxdex.encoders.paths import replaced

SECONDS = 10.0
MOST = 5.0
"""Interquartile ranges from the median at which a functional is clipped."""


def functionals(paths: Sequence[str], cache: Path) -> dict[str, np.ndarray]:
    """Return eGeMAPS v02 functionals (Eyben et al. 2016) of the first ten seconds of each recording, [88] by path.

    Undefined functionals (of a clip without voice) are zero. cache: an .npz file of earlier results.
    """
    known = dict(np.load(cache)) if cache.exists() else {}
    missing = [path for path in dict.fromkeys(paths) if path not in known]
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)

    def measure(path: str) -> np.ndarray:
        found = smile.process_signal(read_audio(Path(path), SECONDS), SAMPLE_RATE).to_numpy()[0]
        return np.nan_to_num(found).astype(np.float32)

    if missing:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = tqdm(pool.map(measure, missing), "functionals", len(missing), mininterval=10)
            known |= dict(zip(missing, found, strict=True))
        with replaced(cache) as new, new.open("wb") as file:
            np.savez(file, **known)
    return known


def classifier(inputs: np.ndarray, labels: Sequence[str]) -> Pipeline:
    """Balanced logistic regression on standardised functionals."""
    return _standardised(LogisticRegression(C=0.05, class_weight="balanced", max_iter=2000)).fit(inputs, labels)


def to_captions(inputs: np.ndarray, captions: np.ndarray) -> Pipeline:
    """Ridge regression from functionals to the embeddings of captions, [clips, dimension]."""
    return _standardised(Ridge(alpha=300.0)).fit(inputs, captions)


def _standardised(last: LogisticRegression | Ridge) -> Pipeline:
    return make_pipeline(
        RobustScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -MOST, "a_max": MOST}), StandardScaler(), last
    )
