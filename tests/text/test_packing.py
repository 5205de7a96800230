"""Packed text gives what padded text gives: states, gradients, dropout, whole epochs.

Measured, float32: states 2e-7 of their largest number; dropout's bits are the same.
"""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from test_bert import SHAPE, assert_relative, make_params, make_tokens

from msa_jax import methods
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.text import bert, packing
from msa_jax.text.layout import TextLayout
from msa_jax.training import epoch_program
from msa_jax.training.train_state import devices_of, make_mesh

ENCODER = bert.OwnBertEncoder(SHAPE)
STEPS, WIDTH = 9, 16
# Rows of 16 that best fit needs, by hand: 9 7 | 5 4 3 2 1 | nothing for the empty one.
MIXED = np.array([9, 3, 5, 1, 0, 7, 2, 4])


def laid(tokens, length, rows, shards=1):
    """Pack a batch."""
    tokens, length = (
        jnp.asarray(x).reshape(shards, -1, *x.shape[1:]) for x in (tokens, length)
    )
    plan = jax.vmap(partial(packing.plan_rows, width=WIDTH))(length)
    lay = partial(packing.pack, rows=rows, width=WIDTH)
    return jax.vmap(lay)(tokens, length, plan)


def test_packed_text_has_no_states_between_layers():
    packed = jax.eval_shape(lambda: laid(make_tokens(MIXED), MIXED, 3))
    run = partial(ENCODER.apply, train=False, between=lambda layer, x: x)
    with pytest.raises(ValueError, match="packed text has no states"):
        jax.eval_shape(run, make_params(), packed)


# --- Where sentences go ---------------------------------------------------------------


def best_fit(lengths, width):
    """Rows as lists of lengths, by the rule in words."""
    rows = []
    for n in sorted(lengths, reverse=True):
        fitting = [row for row in rows if sum(row) + n <= width]
        if fitting:
            max(fitting, key=sum).append(n)
        else:
            rows.append([n])
    return rows


def test_sentences_lie_side_by_side_in_the_fewest_rows_that_the_rule_finds():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 13, (50, 12)).astype(np.int32)
    lengths[0] = 12  # a row each
    lengths[1] = 4  # three to a row
    find = jax.jit(jax.vmap(partial(packing.plan_rows, width=12)))
    plans = jax.tree.map(np.asarray, find(lengths))
    for i, length in enumerate(lengths):
        taken = np.zeros((12, 12), int)
        for n, row, start in zip(length, plans.row[i], plans.start[i], strict=True):
            assert start + n <= 12
            taken[row, start : start + n] += 1
        assert taken.max() == 1
        full = taken.any(axis=1)
        assert full[: plans.count[i]].all() and not full[plans.count[i] :].any()
        expected = best_fit([n for n in length.tolist() if n], 12)
        assert sorted(map(sum, expected)) == sorted(taken.sum(axis=1)[full])
    assert plans.count[0] == 12 and plans.count[1] == 4


@pytest.mark.parametrize("shards", [1, 2])
def test_tokens_go_there_and_come_back(shards):
    tokens = make_tokens(MIXED, STEPS)
    text = laid(tokens, MIXED, rows=3, shards=shards)
    assert text.ids.shape == (shards, 3, WIDTH)
    assert ((text.sentence >= 0).sum((1, 2)) == MIXED.reshape(shards, -1).sum(1)).all()
    for name, row in (("ids", 0), ("segment", 2)):
        back = packing.unpack(getattr(text, name)[..., None].astype(float), text)
        np.testing.assert_array_equal(back[..., 0], tokens[:, row] * tokens[:, 1])
    position = packing.unpack(text.position[..., None].astype(float), text)[..., 0]
    np.testing.assert_array_equal(position, np.arange(STEPS) * tokens[:, 1])


def test_gradients_come_back_to_the_tokens_they_belong_to():
    text = laid(make_tokens(MIXED, STEPS), MIXED, rows=3)
    weight = jnp.arange(8.0 * STEPS).reshape(8, STEPS, 1) + 1
    hidden = jnp.zeros((1, 3, WIDTH, 1))
    found = jax.grad(lambda x: (packing.unpack(x, text) * weight).sum())(hidden)
    filled = np.append(weight, 0)  # empty places have source 8 * STEPS
    np.testing.assert_array_equal(found[..., 0], filled[np.asarray(text.source)])
    assert (text.source == 8 * STEPS).sum() == 3 * WIDTH - MIXED.sum()


# --- BERT -----------------------------------------------------------------------------


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_rows_of_a_draw_are_those_of_the_whole_draw(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 2)
    index = jnp.array([[5, 0, 6], [2, 2, 1]])

    def both(key):
        whole = jax.random.bernoulli(key, 0.7, (7, 11))
        return whole[index], bert.rows_of_draw(key, 0.7, (7, 11), index)

    expected, found = both(keys[0])
    np.testing.assert_array_equal(found, expected)
    assert found.any() and not found.all()
    if impl != "rbg":  # which draws otherwise under vmap
        expected, found = jax.jit(jax.vmap(both))(keys)
        np.testing.assert_array_equal(found, expected)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(*both(keys[0]))


def loss_and_gradient(length, rows, shards=1, dtype=np.float32):
    """Return (tokens, length, packed) -> states where sentences are, and gradients."""
    rng = np.random.default_rng(2)
    shape = len(length), STEPS, SHAPE.hidden_size
    weight = rng.normal(size=shape).astype(dtype)

    def loss(params, tokens, length, packed):
        valid = jnp.arange(STEPS)[None] < length[:, None]
        text = laid(tokens, length, rows, shards) if packed else tokens
        rngs = {"dropout": jax.random.key(5)}
        hidden = ENCODER.apply(params, text, train=True, rngs=rngs)
        if packed:  # nothing but zeros elsewhere
            weighted = hidden * weight
        else:
            hidden = jnp.where(valid[:, :, None], hidden, 0)
            weighted = hidden * weight
        return weighted.sum(), hidden

    gradient = tiny.quick(jax.grad(loss, has_aux=True), static_argnums=3)
    params = make_params(dtype=dtype)
    return lambda *args: gradient(params, *args)[::-1]


@pytest.mark.usefixtures("form")
def test_packed_equals_padded_with_dropout():
    """Mixed lengths, all equal, all longest, all but one empty; padding holds ids."""
    run = loss_and_gradient(MIXED, rows=8)
    for length in (MIXED, [4] * 8, [STEPS] * 8, [0] * 7 + [1]):
        length = np.array(length)
        tokens = make_tokens(length, STEPS)
        found, expected = (run(tokens, length, packed) for packed in (True, False))
        assert_relative(found, expected, 1e-5)
        other = make_tokens(length, STEPS, seed=7)
        tokens = np.where(tokens[:, 1:2] > 0, tokens, other)
        tiny.assert_same(run(tokens, length, True), found)


def test_packed_equals_padded_in_float64_on_two_devices_and_alone():
    with jax.enable_x64(True):
        for length, rows, shards in ((MIXED, 2, 2), (MIXED[:1], 1, 1)):
            tokens = make_tokens(length, STEPS)
            run = loss_and_gradient(length, rows, shards, np.float64)
            found, expected = (run(tokens, length, packed) for packed in (True, False))
            assert_relative(found, expected, 1e-10)


def test_the_order_of_sentences_changes_nothing():
    params, tokens = make_params(), make_tokens(MIXED, STEPS)

    def encode(tokens, length):
        text = laid(tokens, length, rows=2)
        return ENCODER.apply(params, text, train=False)

    run, order = tiny.quick(encode), np.array([3, 7, 1, 0, 4, 6, 2, 5])
    expected = run(tokens, MIXED)[order]
    found = run(tokens[order], MIXED[order])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# --- Which size a batch gets ----------------------------------------------------------

SIZES = packing.Sizes(WIDTH, (1, 3))


def batch_of(length, valid=None):
    length = np.asarray(length)
    valid = np.ones(len(length), bool) if valid is None else np.asarray(valid)
    made = tiny.gather(tiny.make_split(len(length)), jnp.arange(len(length)))
    return made.replace(text=jnp.asarray(make_tokens(length, STEPS)), valid=valid)


def rows_used(batch, sizes=SIZES):
    """Return the rows that the function sees (the padded batch has as many samples)."""

    def see(batch):
        packed = isinstance(batch.text, packing.Packed)
        rows = batch.text.ids.shape[:2] if packed else (0, 0)
        tokens = batch.text.sentence >= 0 if packed else batch.text[:, 1]
        return jnp.array(rows), tokens.sum()

    return packing.by_size(sizes, see)(batch)


@pytest.mark.parametrize(
    "length, rows",
    [
        ([9, 7, 0, 0], (1, 1)),  # fills its row to the last place
        ([9, 7, 1, 0], (1, 3)),
        ([9, 9, 9, 0], (1, 3)),
        ([9, 9, 9, 8], (0, 0)),  # more than the largest number of rows: padded
    ],
)
def test_the_smallest_size_that_fits(length, rows):
    seen, tokens = rows_used(batch_of(length))
    assert tuple(seen.tolist()) == rows and tokens == sum(length)


def test_padding_rows_of_a_batch_need_no_room():
    seen, tokens = rows_used(batch_of([9, 9, 9, 7], [True, False, False, True]))
    assert tuple(seen.tolist()) == (1, 1) and tokens == 16


def test_shards_have_the_size_of_the_fullest():
    sizes = SIZES._replace(shards=2)
    seen, tokens = rows_used(batch_of([9, 7, 9, 9]), sizes)
    assert tuple(seen.tolist()) == (2, 3) and tokens == 34
    assert tuple(rows_used(batch_of([9, 7, 9, 1]), sizes)[0].tolist()) == (2, 1)


def test_seeds_side_by_side_share_a_size_and_run_no_other():
    lengths = [9, 7, 0, 0], [9, 9, 1, 0]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(batch_of, lengths))
    program = jax.jit(jax.vmap(rows_used)).lower(stacked).compile()
    assert program(stacked)[0].tolist() == [[1, 3], [1, 3]]
    assert "conditional" in program.as_text()
    in_turn = jax.lax.map(rows_used, stacked)
    assert in_turn[0].tolist() == [[1, 1], [1, 3]]


def test_without_sizes_nothing_is_wrapped():
    def function(batch):
        return batch

    assert packing.by_size(None, function) is function
    assert packing.by_size(packing.Sizes(WIDTH, ()), function) is function


# --- Choosing sizes -------------------------------------------------------------------


def splits(length, steps=20):
    length = np.asarray(length)
    mask = (np.arange(steps) < length[:, None]).astype(np.int32)
    text = np.stack([mask] * 3, axis=1)
    return {"train": SimpleNamespace(text=text, text_length=length)}


def test_equal_sentences_have_one_size():
    found = packing.choose_sizes(splits([5] * 40), 8)
    assert found == packing.Sizes(16, (3,), 1)  # three to a row


def test_full_sentences_stay_padded():
    found = packing.choose_sizes(splits([20] * 40), 8)
    assert found.rows == ()
    assert packing.size_note(found, 20).startswith("Text is not packed")


def test_sizes_follow_the_totals_of_batches():
    rng = np.random.default_rng(0)
    length = rng.integers(2, 20, 300)
    width, rows, _ = packing.choose_sizes(splits(length), 16)
    assert width == 32 and len(rows) == packing.COUNTS
    mean = 16 * length.mean() / width
    assert rows[0] <= np.ceil(mean) <= rows[1] < 16 * 20 / width
    together = packing.choose_sizes(splits(length), 16, together=8)
    assert together.rows[0] > mean
    shared = packing.choose_sizes(splits(length), 16, shards=4)
    assert shared.shards == 4 and shared.rows[-1] <= 3
    said = packing.size_note(packing.Sizes(32, (6, 7), 2), 20)
    assert said.startswith(
        "Text packed: 6 or 7 rows of 32 tokens per batch on each of 2"
    )


def test_masks_with_holes_are_refused():
    made = splits([5] * 4)
    made["train"].text[2, 1, 1] = 0
    with pytest.raises(UserError, match="mask of sample 2 of train is not 5 ones"):
        packing.choose_sizes(made, 2)


@pytest.mark.parametrize(
    "method, changes, message",
    [
        ("self_mm", {}, None),
        ("self_mm", {"model.recalibrate": "masked"}, None),
        (
            "self_mm",
            {"model.recalibrate": "mean"},
            "reads with config.model.recalibrate = 'mean'",
        ),
        ("self_mm", {"model.sequence": "spt"}, "config.spt.respect_lengths = False"),
        (
            "self_mm",
            {"text.finetune": False},
            "config.text.finetune = True, not F",
        ),
        ("self_mm", {"text.encoder": "features"}, "needs config.text.encoder = 'bert'"),
        ("self_mm", {"text.implementation": "transformers"}, "implementation = 'own'"),
        ("sugrm", {}, "leaves out padding, which sugrm reads"),
        (
            "sugrm",
            {"model.recalibrate": "masked", "spt.respect_lengths": True},
            None,
        ),
        (
            "spt",
            {"spt.respect_lengths": False},
            "spt reads with config.spt.respect_lengths = False",
        ),
        ("mmcl", {}, None),
        ("ucrn", {}, None),
        (
            "ucrn",
            {"model.respect_lengths": False},
            "ucrn reads with config.model.respect_lengths = ",
        ),
    ],
)
def test_methods_that_read_padding_are_refused(method, changes, message):
    settings: ConfigDict = PAPERS[method].config()
    settings.text.update(
        {"encoder": "bert", "packing": "tokens", "implementation": "own"}
    )
    settings.update_from_flattened_dict(changes)
    if message is None:
        methods.check(settings)
    else:
        with pytest.raises(UserError, match=message):
            methods.check(settings)
    settings.text.packing = "auto"  # refused nowhere
    methods.check(settings)
    given, cpu = splits([5] * 4), devices_of(settings, make_mesh(1, 1, 1))
    chosen = epoch_program.text_layout(settings, given, cpu)
    assert (chosen == TextLayout()) == (message is not None)
    gpu = cpu._replace(platform="gpu")
    assert epoch_program.text_layout(settings, given, gpu) == TextLayout()
