import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import assert_same

from msa_jax.ground import hosts
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Selection
from msa_jax.runs import checkpoint
from msa_jax.training.train_state import make_mesh, state_sharding


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


def state():
    """Parameters, optimiser, keys and counters of two seeds, as `TrainState` has."""
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    kernel = jnp.linspace(-1, 1, 24).reshape(2, 4, 3)
    chosen = Selection(kernel, jnp.array([jnp.inf, 0.5]), jnp.arange(2), keys[:, None])
    return {
        "params": {"head": {"kernel": kernel, "odd/name": jnp.ones((2, 1))}},
        "opt_state": ((jnp.zeros((2,), jnp.int32), {"mu": -kernel}), ()),
        "selection": chosen,
        "key": keys,
    }


def shapes():
    return jax.eval_shape(state)


def test_a_state_comes_back_to_the_bit(tmp_path):
    sharding = state_sharding(make_mesh(2, 1, 2))
    arrays = hosts.on_host(state())
    assert "params/head/odd|name" in arrays and "opt_state/0/1/mu" in arrays
    checkpoint.write_state(tmp_path / "1", dict(arrays), {"epoch": 1})
    assert checkpoint.is_written(tmp_path / "1")
    found = checkpoint.read_state(tmp_path / "1")
    assert found.about == checkpoint.read_about(tmp_path / "1") == {"epoch": 1}
    again = hosts.on_devices(found.arrays, shapes(), sharding)
    assert jax.tree.structure(again) == jax.tree.structure(state())
    assert_same(again, state())
    assert again["key"].dtype == state()["key"].dtype
    for x in jax.tree.leaves(again):
        assert x.sharding.is_equivalent_to(sharding, x.ndim)


def test_what_is_held_stays_when_a_program_takes_its_memory():
    """Training goes on while a state is written; what is written must not change."""
    program = jax.jit(lambda x: x + 1, donate_argnums=0)
    value = jnp.arange(1000.0)
    held = hosts.on_host({"x": value})["x"]
    after = jax.block_until_ready(program(value))
    np.testing.assert_array_equal(held, np.arange(1000.0))
    np.testing.assert_array_equal(after, np.arange(1000.0) + 1)


def test_a_state_that_is_written_is_copied_nowhere(tmp_path):
    program = jax.jit(lambda x: x + 1, donate_argnums=0)
    value = jax.block_until_ready(jnp.arange(1000.0))
    address = value.unsafe_buffer_pointer()
    arrays = hosts.on_host({"x": value})
    assert arrays["x"].ctypes.data == address
    checkpoint.write_state(tmp_path / "1", arrays, {})
    assert not arrays  # nobody holds them any more
    assert program(value).unsafe_buffer_pointer() == address


def test_arrays_of_another_version_are_refused():
    sharding = state_sharding(make_mesh(1, 1, 2))
    arrays = hosts.on_host(state())
    kernel = "params/head/kernel"
    others = [
        {k: v for k, v in arrays.items() if k != kernel},
        arrays | {"more": np.zeros(2)},
        arrays | {kernel: arrays[kernel].astype(np.float16)},
        arrays | {kernel: arrays[kernel][:, :2]},
        arrays | {"key": arrays["key"].astype(np.int32)},
    ]
    for other in others:
        with pytest.raises(UserError, match="not one of this version"):
            hosts.on_devices(other, shapes(), sharding)


def damages(path):
    """Yield a name and the damage to a file, one after the other."""
    content = path.read_bytes()
    yield "removed", path.unlink
    yield "cut", lambda: path.write_bytes(content[: len(content) // 2])
    yield "longer", lambda: path.write_bytes(content + b"x")
    for place in {0, len(content) // 3, len(content) - 1} if content else ():
        bad = bytearray(content)
        bad[place] ^= 0x10
        yield f"bit {place}", lambda bad=bad: path.write_bytes(bad)


def test_whatever_file_is_damaged_the_arrays_are_right_or_refused(tmp_path):
    arrays, folder = hosts.on_host(state()), tmp_path / "1"
    checkpoint.write_state(folder, dict(arrays), {"epoch": 1})
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert [path.name for path in files] == ["arrays.bin", "manifest.json"]
    refused = 0
    for path in files:
        content = path.read_bytes()
        for name, damage in damages(path):
            damage()
            try:
                found = checkpoint.read_state(folder)
            except checkpoint.Damaged as said:
                assert str(folder) in str(said) and "\n" not in str(said), name
                refused += 1
            else:
                assert_same(found.arrays, arrays)
            path.write_bytes(content)
    assert refused == 6 * len(files)
    assert_same(checkpoint.read_state(folder).arrays, arrays)


def test_other_arrays_under_the_same_manifest_are_refused(tmp_path):
    """Another type, shape or value."""
    arrays, folder = hosts.on_host(state()), tmp_path / "1"
    kernel = arrays["params/head/kernel"]
    for other in (kernel.astype(np.float16), kernel[:, :2], kernel + 1):
        checkpoint.write_state(folder, dict(arrays), {})
        manifest = (folder / "manifest.json").read_text()
        checkpoint.write_state(folder, arrays | {"params/head/kernel": other}, {})
        (folder / "manifest.json").write_text(manifest)
        with pytest.raises(checkpoint.Damaged, match="kernel is not what was saved"):
            checkpoint.read_state(folder)


def test_a_state_without_manifest_does_not_count(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.files, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_state(tmp_path / "1", hosts.on_host(state()), {})
    assert (tmp_path / "1" / "arrays.bin").is_file()
    assert not checkpoint.is_written(tmp_path / "1")
    monkeypatch.undo()
    checkpoint.write_state(tmp_path / "1", hosts.on_host(state()), {})
    assert checkpoint.is_written(tmp_path / "1")
    checkpoint.remove_state(tmp_path / "1")
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_is_being_removed_does_not_count(tmp_path, monkeypatch):
    """Killed between its files, it must look unfinished, not damaged."""
    checkpoint.write_state(tmp_path / "1", {"x": np.ones(3)}, {})
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
    checkpoint.remove_state(tmp_path / "1")
    assert (tmp_path / "1").is_dir() and not checkpoint.is_written(tmp_path / "1")
