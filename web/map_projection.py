"""Embeddings in two dimensions, those that are alike near each other.

    python -m voxdex.web.map_projection VECTORS.npy PLACES.npy

t-SNE (van der Maaten and Hinton 2008) where the package opentsne is installed, else the first two principal components.
A program of its own, so that a server goes on answering while it works.
"""

import os
import sys

import numpy as np

AXES = 50
"""Principal components that t-SNE starts from."""
FEWEST = 50
"""Clips from which on t-SNE says more than principal components."""
PERPLEXITY = 30


def project(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """Vectors [clips, dimension] -> (places float32 [clips, 2] in 0..1, "t-SNE" or "PCA")."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    components = (centred @ axes[:, ::-1][:, :AXES]).astype(np.float64)
    places, how = components[:, :2], "PCA"
    if len(vectors) >= FEWEST:
        try:
            from openTSNE import TSNE
        except ImportError:
            pass
        else:
            places, how = np.asarray(TSNE(perplexity=PERPLEXITY, n_jobs=-1, random_state=0).fit(components)), "t-SNE"
    low, high = np.quantile(places, (0.001, 0.999), axis=0)
    return ((places - low) / np.maximum(high - low, 1e-9)).clip(0, 1).astype(np.float32), how


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(10)  # everything else that the machine does goes first
    places, how = project(np.load(sys.argv[1]))
    np.save(sys.argv[2], places)
    print(how)
