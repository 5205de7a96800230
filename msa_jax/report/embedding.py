"""Vectors of many samples in two dimensions, and what their neighbours tell."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from msa_jax.report.drawing import panels

FEWEST = 10  # samples, for a picture or a share that means anything
NEIGHBOURS = 10
PERPLEXITY = 30.0
# Every shade is a mid-tone: it keeps 3 : 1 on a light page and on a dark one.
SHADES = ("#0f7ab8", "#868686", "#d55e00")


@dataclass(frozen=True)
class Panel:
    """One cloud of samples."""

    title: str
    place: np.ndarray  # [n, 2], from `tsne`
    label: np.ndarray  # [n]
    row: str = ""  # what the row of panels shows that begins here


def perplexity(n: int) -> float:
    """Return t-SNE's perplexity for n samples: 30, less where they are few."""
    return min(PERPLEXITY, (n - 1) / 3)


def can_embed(vectors: np.ndarray) -> bool:
    """Tell whether t-SNE has something to work on: enough distinct finite vectors."""
    n, width = vectors.shape
    if n < FEWEST or width < 2 or not np.isfinite(vectors).all():
        return False
    return bool(np.ptp(vectors, axis=0).max() > 0)


def tsne(vectors: np.ndarray) -> np.ndarray:
    """Place n vectors [n, h] in the plane; the same vectors give the same places."""
    from sklearn.manifold import TSNE  # slow to import
    from threadpoolctl import threadpool_limits

    how = TSNE(perplexity=perplexity(len(vectors)), init="pca", random_state=0)
    # Threads that wait for each other on a busy machine made it 100 times slower.
    with threadpool_limits(1):
        return how.fit_transform(np.asarray(vectors, np.float32))


def same_sign_share(vectors: np.ndarray, label: np.ndarray) -> float:
    """Return the share of each vector's nearest others whose label has its sign.

    Args:
        vectors: [n, h]; the `NEIGHBOURS` nearest by Euclidean distance count.
        label: [n]; negative, zero and positive are three signs.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import
    from threadpoolctl import threadpool_limits

    sign = np.sign(label)
    count = min(NEIGHBOURS, len(label) - 1)
    with threadpool_limits(1):  # see `tsne`
        found = NearestNeighbors(n_neighbors=count).fit(vectors)
        nearest = found.kneighbors(return_distance=False)  # without the vector itself
    return float((sign[nearest] == sign[:, None]).mean())


def chance_share(label: np.ndarray) -> float:
    """Return what `same_sign_share` is on average if neighbours are drawn by lot."""
    _, counts = np.unique(np.sign(label), return_counts=True)
    n = len(label)
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def clouds(shown: list[Panel], columns: int = 3) -> Any:
    """Draw each panel's samples, coloured by their label, one scale for all."""
    from matplotlib.colors import LinearSegmentedColormap

    height = 3.9 if columns <= 3 else 2.4
    figure, axes = panels(len(shown), columns, height)
    shades = LinearSegmentedColormap.from_list("sentiment", SHADES)
    top = max(float(np.abs(panel.label).max()) for panel in shown) or 1.0
    dots = None
    for ax, panel in zip(axes, shown, strict=True):
        dots = ax.scatter(
            *panel.place.T,
            c=panel.label,
            cmap=shades,
            vmin=-top,
            vmax=top,
            s=(16 if len(panel.label) <= 500 else 8) * (1 if columns <= 3 else 0.5),
            linewidths=0,
            rasterized=True,
        )
        ax.set(xticks=[], yticks=[])  # t-SNE's axes have no meaning
        ax.set_title(panel.title)
        ax.set_ylabel(panel.row)
    bar = figure.colorbar(dots, ax=axes, aspect=30, pad=0.02)
    bar.set_label("label (label units)")
    bar.outline.set_visible(False)
    bar.solids.set_rasterized(True)  # else hundreds of strips with gaps between them
    return figure
