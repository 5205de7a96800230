"""What the benchmark counts, times and compares with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax import methods
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.methods import PAPERS
from msa_jax.studies.bench import measure, shapes, table
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import optim
from msa_jax.training.step import Rules, train_epoch
from tests import tiny
from tests.bench_small import LENGTHS, SMALL


def test_the_peak_is_a_rate():
    assert 1e7 < measure.matmul_peak(64, 2) < 1e16


def test_shapes_are_the_published_ones():
    shape = shapes.of_dataset("mosi")
    assert shape.steps == {"text": 50, "audio": 375, "vision": 500}
    assert shape.widths == {"text": 768, "audio": 5, "vision": 20}
    assert len(shape.label) == 1284
    aligned = shapes.of_dataset("mosei", aligned=True)
    assert set(aligned.steps.values()) == {50} and len(aligned.label) == 16326
    with pytest.raises(UserError, match="no aligned files of sims"):
        shapes.of_dataset("sims", aligned=True)


def test_true_lengths_are_those_of_the_twin():
    shape = shapes.of_dataset("sims")
    lengths = shapes.true_lengths(shape)
    for m in MODALITIES:
        assert 1 <= lengths[m].min() < lengths[m].max() <= shape.steps[m]
        assert lengths[m].mean() < 0.75 * shape.steps[m]


def test_batches_end_where_their_lengths_say():
    (batch,) = shapes.make_batches(SMALL, LENGTHS, 8, 1)
    for m in MODALITIES:
        x, length = getattr(batch, m), getattr(batch, f"{m}_length")
        assert set(length.tolist()) <= set(LENGTHS[m].tolist())
        seen = np.arange(SMALL.steps[m]) < length[:, None]
        assert ((x != 0).all(axis=-1) == seen).all()
    split = shapes.make_split(SMALL, [batch])
    np.testing.assert_array_equal(split.label[batch.index], batch.label)


def test_a_step_is_that_of_training():
    method, split = tiny.make_heads(), tiny.make_split(6)
    optimizer = tiny.make_optimizer(method)
    params = tiny.make_params(method, split)
    labels = method.init_labels(split, jax.random.key(0))
    state = tiny.new_state(
        method, optimizer, {"params": params}, split, jax.random.key(0)
    )
    state = state.replace(epoch=jnp.asarray(measure.EPOCH - 1))
    order = jnp.arange(4)[None]
    trained, *_ = tiny.quick(
        lambda state: train_epoch(method, optimizer, state, split, order, Rules(4, 1))
    )(state)
    batch = tiny.gather(split, order[0])
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2), 0)
    step = tiny.quick(measure.make_step(method, optimizer))
    start = ({"params": params}, optimizer.init(params), labels)
    (variables, moments, labels), by_text = step(start, batch, key)
    tiny.assert_close(variables["params"], trained.params, 1e-6)
    tiny.assert_close(labels, trained.labels, 1e-6)
    assert by_text.shape == batch.text.shape and bool((by_text != 0).any())
    frozen = measure.make_step(method, optimizer, to_text=False)
    same, nothing = jax.eval_shape(frozen, start, batch, key)
    assert nothing is None
    assert jax.tree.structure(same) == jax.tree.structure((variables, moments, labels))


def test_a_step_moves_running_statistics_too():
    """Shapes in are shapes out; a network's statistics start as its own do."""
    settings = PAPERS["tfn"].config()
    method = methods.make(settings, FeatureEncoder(), SMALL.label_range)
    batches = shapes.make_batches(SMALL, LENGTHS, 4, 1)
    variables = measure.draw_variables(method, batches[0])
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["batch_stats"]):
        assert (leaf == ("running_var" in jax.tree_util.keystr(path))).all()
    optimizer = optim.make_optimizer(settings.optim.groups, method.groups)
    labels = method.init_labels(shapes.make_split(SMALL, batches), jax.random.key(0))
    state = variables, optimizer.init(variables["params"]), labels
    step = measure.make_step(method, optimizer)
    after, _ = jax.eval_shape(step, state, batches[0], jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_competitors_take_turns():
    calls = []
    runs = {name: lambda i, name=name: calls.append((name, i)) for name in "ab"}
    times = measure.alternate(runs, 3)
    assert calls[:2] == [("a", 0), ("b", 0)]  # to warm up
    assert calls[2:] == [(n, i) for i, n in enumerate(("ba", "ab", "ba")) for n in n]
    assert len(times["a"].wall) == len(times["b"].cpu) == 3


def test_a_row_tells_times_of_a_batch_and_the_share_of_the_peak():
    def times(seconds):
        return measure.Times([seconds, seconds], [2 * seconds] * 2, 0.1)

    stepped = {"ours, padded": times(4), "ours, packed": times(2), "torch": times(8)}
    ours = measure.Side(print, print, 3.0, 5_000_000, 6e9)
    sizes = {"peak": 12e9, "batches": 4}
    row, torch_row = (
        table.step_row("mmcl", "true", name, side, stepped, stepped, **sizes)
        for name, side in (
            ("ours, padded", ours),
            ("torch", measure.Side(print, print)),
        )
    )
    assert (row["step_ms"], row["step_cpu_ms"], row["evaluate_ms"]) == (1e3, 2e3, 1e3)
    assert (row["gflop_per_second"], row["share_of_peak"]) == (6, 0.5)
    assert (row["memory_mb"], row["compile_seconds"]) == (5, 3)
    assert torch_row["gflop"] is torch_row["share_of_peak"] is None
    # Our fastest side against this one.
    assert (row["ours_over_this"], torch_row["ours_over_this"]) == (0.5, 0.25)
