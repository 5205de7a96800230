import jax
import jax.numpy as jnp
import numpy as np

from msa_jax import checkpoint
from msa_jax.train_state import make_mesh, state_sharding


def test_what_was_saved_comes_back_to_the_bit(tmp_path):
    sharding = state_sharding(make_mesh(8, 1, 8))
    tree = {
        "head": {
            "kernel": jax.device_put(jnp.linspace(-1, 1, 48).reshape(8, 6), sharding),
            "bias": np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
        },
        "epoch": np.array([3, 4], np.int32),
        "active": np.array([True, False]),
        "score": np.float32(0.1),
    }
    folder = tmp_path / "best"
    checkpoint.save(folder, tree)
    found = checkpoint.load(folder)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        b = np.asarray(b)
        assert isinstance(a, np.ndarray)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_a_checkpoint_replaces_the_one_before(tmp_path):
    for value in (1.0, 2.0):
        checkpoint.save(tmp_path / "best", {"x": np.full(3, value)})
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "best")["x"], [2, 2, 2])
