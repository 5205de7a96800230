"""What the benchmark counts, times and compares with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msa_jax import bert, config
from msa_jax.bench import (
    count,
    count_ucrn,
    measure,
    shapes,
    table,
)
from msa_jax.errors import UserError
from msa_jax.layers.spt import Readings
from msa_jax.layers.windows import Sampling
from msa_jax.step import Rules, train_epoch
from msa_jax.types import MODALITIES
from tests import tiny
from tests.bench_small import LENGTHS, SMALL


def test_operations_of_the_transformer_by_hand():
    window = Sampling(1, 1, "S")
    readings = Readings(2, 1, 2, Sampling(5, 1), window, window)
    steps = {"text": 5, "audio": 10, "vision": 5}  # hidden: 1, 2, 1
    widths = {"text": 3, "audio": 1, "vision": 2}
    parts = count.spt(readings, steps, widths, ("text",))
    # A query: two maps 16, three keys 24, feed-forward 64. A key and its value: 16.
    maps = {"text": 8 * 5 * 3, "audio": 8 * 10 * 1, "vision": 8 * 5 * 2}
    assert parts["input"].forward == sum(maps.values()) + 2 * 4 * 104
    assert parts["input"].backward == sum(maps.values()) + maps["text"] + 4 * 4 * 104
    assert parts["cross"] == (2 * (8 * 104 + 8 * 16), 4 * (8 * 104 + 8 * 16))
    assert parts["self"] == (2 * (4 * 104 + 4 * 16), 4 * (4 * 104 + 4 * 16))
    entries = count.spt(readings, steps, widths, (), per_entry=True)
    assert entries["cross"].forward == 2 * (8 * 104 + 8 * 3 * 16)
    rows = 2 * 3 * (1 * 3 + 2 * 1 + 1 * 2)  # rounds, window, queries times width
    assert entries["input"].forward == 8 * rows + 2 * 4 * 104


def test_operations_of_everything_else_by_hand():
    params = {
        "audio_lstm": {"input_kernel": (3, 8), "state_kernel": (2, 8), "bias": (8,)},
        "text_head_net": {"layer_1": {"kernel": (5, 2), "bias": (2,)}},
        "recalibration": {"squeeze_map": {"kernel": (4, 1)}},
    }
    params = jax.tree.map(jnp.zeros, params, is_leaf=lambda x: isinstance(x, tuple))
    steps = {"text": 1.0, "audio": 7.0, "vision": 1.0}
    made = count.step(params, steps, 4, readings=None, gradient=("text",), tables=10)
    products = 2 * 24 * 4 * 7, 2 * 16 * 4 * 7
    assert made["audio_lstm"] == (sum(products), products[0] + 2 * products[1])
    assert made["heads"] == (80, 160)
    assert made["recalibration"] == (32, 64)
    assert made["ulgm"].total == 40


def test_the_peak_is_a_rate():
    assert 1e7 < count.matmul_peak(64, 2) < 1e16


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
    start = (params, optimizer.init(params), labels)
    (params, _, labels), by_text = step(start, batch, key)
    tiny.assert_close(params, trained.params, 1e-6)
    tiny.assert_close(labels, trained.labels, 1e-6)
    assert by_text.shape == batch.text.shape and bool((by_text != 0).any())


def test_competitors_take_turns():
    calls = []
    runs = {name: lambda i, name=name: calls.append((name, i)) for name in "ab"}
    times = measure.alternate(runs, 3)
    assert calls[:2] == [("a", 0), ("b", 0)]  # to warm up
    assert calls[2:] == [(n, i) for i, n in enumerate(("ba", "ab", "ba")) for n in n]
    assert len(times["a"].wall) == len(times["b"].cpu) == 3


@pytest.mark.parametrize("causal", [True, False])
def test_operations_of_ucrn_by_hand(causal):
    """Two layers, width 3 and 9 together, 2 steps of text, 1 of the others."""

    def stack(width):
        square = {f"{n}_kernel": (2, width, width) for n in ("query", "key", "value")}
        square |= {"output_kernel": (2, width, width), "output_bias": (2, width)}
        square |= {"rise_kernel": (2, width, 4 * width)}
        square |= {"fall_kernel": (2, 4 * width, width)}
        return {"layers": {k: jnp.zeros(v) for k, v in square.items()}}

    params = {f"{m}_stack": stack(3) for m in MODALITIES}
    params |= {f"{m}_kernel": jnp.zeros((5, 3)) for m in MODALITIES}
    params |= {"crossmodal_stack": stack(9)}
    params["head"] = {"layer_1": {"kernel": jnp.zeros((9, 9)), "bias": jnp.zeros(9)}}
    model = config.ucrn("code" if causal else "paper").model
    lengths = {"text": np.array([1, 3]), "audio": [1], "vision": [1]}
    made = count_ucrn.ucrn(params, lengths, 4, model)
    # A position of a layer: 12 products of 3 x 3. Pairs of steps: 1 and 6, or 1 and 9.
    text = 4 * 2 * (2 * 12 * 9 * 2 + 4 * 3 * (3.5 if causal else 5))
    assert made["text_stack"] == (text, 2 * text)
    assert made["text_map"] == (4 * 2 * 2 * 15, 2 * 4 * 2 * 2 * 15)
    assert made["audio_map"] == (4 * 2 * 15, 4 * 2 * 15)
    assert made["head"] == (4 * 2 * 81, 2 * 4 * 2 * 81)


def test_operations_of_bert_by_hand():
    shape = bert.Shape(hidden_size=2, num_hidden_layers=3, intermediate_size=5)
    made = count.bert(shape, np.array([1, 3]), 4)
    # A token of a layer: four maps of 2 x 2, two of 2 x 5; 1 and 9 pairs of tokens.
    assert made.forward == 4 * 3 * (2 * (16 + 20) * 2 + 4 * 2 * 5)
    assert made.backward == 2 * made.forward


def test_a_row_tells_times_of_a_batch_and_the_share_of_the_peak():
    def times(seconds):
        return measure.Times([seconds, seconds], [2 * seconds] * 2, 0.1)

    stepped = {"ours, padded": times(4), "ours, packed": times(2), "torch": times(8)}
    side = measure.Side(print, print, 3.0, 5_000_000)
    sizes = {"need": 6e9, "peak": 12e9, "batches": 4}
    row, torch_row = (
        table.step_row("mmcl", "true", name, side, stepped, stepped, **sizes)
        for name in ("ours, padded", "torch")
    )
    assert (row["step_ms"], row["step_cpu_ms"], row["evaluate_ms"]) == (1e3, 2e3, 1e3)
    assert (row["gflop_per_second"], row["share_of_peak"]) == (6, 0.5)
    assert (row["memory_mb"], row["compile_seconds"]) == (5, 3)
    # Our fastest side against this one.
    assert (row["ours_over_this"], torch_row["ours_over_this"]) == (0.5, 0.25)
