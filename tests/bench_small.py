"""Small shapes and parameters that the benchmark's tests share."""

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.studies.bench import measure, shapes

# Vision is as wide as the embedding on purpose: its weights are laid out differently.
SMALL = shapes.Shape(
    name="small",
    aligned=False,
    steps={"text": 11, "audio": 37, "vision": 50},
    widths={"text": 12, "audio": 5, "vision": 8},
    label=np.linspace(-3, 3, 31, dtype=np.float32),
    label_range=(-3.0, 3.0),
)
LENGTHS = {
    "text": np.array([11, 3, 7]),
    "audio": np.array([37, 1, 20]),
    "vision": np.array([50, 9, 30]),
}


def drawn(method, batch):
    """Draw parameters that are nowhere 0 or 1."""
    params = measure.draw_variables(method, batch)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: x + jnp.asarray(rng.uniform(-0.2, 0.2, x.shape), x.dtype), params
    )
