"""Projection of embeddings to two dimensions that keeps similar clips close.

    python -m voxdex.web.map_projection VECTORS.npy COORDINATES.npy

t-SNE (van der Maaten and Hinton 2008) where the package opentsne is installed, else the first two principal components.
It runs as a process of its own, so that the server stays responsive.
"""

import os
import sys

import numpy as np

AXES = 50
"""Principal components that t-SNE takes."""
MIN_TSNE_CLIPS = 50
"""Clips from which on t-SNE is used."""
PERPLEXITY = 30
"""Effective number of neighbours in t-SNE."""


def project(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """Project vectors [clips, dimension]: (coordinates float32 [clips, 2] in 0..1, "t-SNE" or "PCA")."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    components = (centred @ axes[:, ::-1][:, :AXES]).astype(np.float64)
    coordinates, method = components[:, :2], "PCA"
    if len(vectors) >= MIN_TSNE_CLIPS:
        try:
            from openTSNE import TSNE
        except ImportError:
            pass
        else:
            tsne = TSNE(perplexity=PERPLEXITY, n_jobs=-1, random_state=0)
            coordinates, method = np.asarray(tsne.fit(components)), "t-SNE"
    low, high = np.quantile(coordinates, (0.001, 0.999), axis=0)
    return ((coordinates - low) / np.maximum(high - low, 1e-9)).clip(0, 1).astype(np.float32), method


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(10)  # lower priority than the server
    coordinates, method = project(np.load(sys.argv[1]))
    np.save(sys.argv[2], coordinates)
    print(method)
