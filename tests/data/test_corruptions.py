"""Corruptions: identity at 0, nothing beyond lengths, one program, right amounts."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import assert_close, assert_same, leaves, make_split, quick

from msa_jax.data import corruptions
from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES

KEY = jax.random.key(7)
SPLIT = make_split(40)
INDEX = jnp.array([5, 0, 7, 39, 2, 40])  # the last is a padding row


def batch_of(tokens=False):
    batch = gather(SPLIT, INDEX)
    assert batch.valid.tolist() == [True] * 5 + [False]
    if not tokens:
        return batch
    ids = 10 + jnp.arange(6 * 3 * 9, dtype=jnp.int32).reshape(6, 3, 9)
    return replace(batch, text=ids, text_length=jnp.array([9, 2, 1, 5, 3, 9]))


ALL = {
    "additive": corruptions.bernoulli_noise,
    "multiplicative": partial(corruptions.bernoulli_noise, form="multiplicative"),
    "by sample": partial(corruptions.bernoulli_noise, presence="sample"),
    "gaussian": corruptions.gaussian_noise,
    "frames": corruptions.missing_frames,
    "modalities": corruptions.missing_modalities,
}
QUICK = {name: quick(corrupt) for name, corrupt in ALL.items()}
ON_TOKENS = {k: ALL[k] for k in ("frames", "modalities")}


@pytest.fixture(params=[*ALL, *(f"{k}, ids" for k in ON_TOKENS)])
def case(request):
    """Return a corruption and a batch that it takes."""
    name, _, ids = request.param.partition(", ")
    return QUICK[name], batch_of(bool(ids))


def test_nothing_happens_at_severity_0(case):
    corrupt, batch = case
    batch = replace(batch, audio=batch.audio.at[0, 0, 0].set(-0.0))
    found = corrupt(KEY, batch, 0.0)
    assert_same(found, batch)
    assert np.signbit(found.audio[0, 0, 0])


def test_one_program_serves_all_severities(case):
    corrupt, batch = case
    traced = []

    @quick
    def run(severities):
        traced.append(severities)
        return jax.vmap(lambda s: corrupt.__wrapped__(KEY, batch, s))(severities)

    for severities in ([0.0, 0.5, 1.0], [0.0, 0.2, 0.9]):
        found = run(jnp.array(severities))
        assert_same(jax.tree.map(lambda x: x[0], found), batch)
        for i, severity in enumerate(severities):
            alone = corrupt(KEY, batch, severity)
            assert_close(jax.tree.map(lambda x, i=i: x[i], found), alone, 1e-5)
    assert len(traced) == 1


def test_padding_rows_and_steps_stay(case):
    corrupt, batch = case
    found, changed = corrupt(KEY, batch, 1.0), False
    for m in MODALITIES:
        length = getattr(batch, f"{m}_length")
        before, after = (np.asarray(getattr(b, m)) for b in (batch, found))
        if before.dtype.kind == "i":
            np.testing.assert_array_equal(before[:, 1:], after[:, 1:])
            before, after = before[:, 0, :, None], after[:, 0, :, None]
        inside = np.arange(before.shape[1]) < np.asarray(length)[:, None]
        inside &= np.asarray(batch.valid)[:, None]
        np.testing.assert_array_equal(before[~inside], after[~inside])
        changed |= (before != after).any()
        np.testing.assert_array_equal(getattr(found, f"{m}_length"), length)
    assert changed


def test_a_sample_is_corrupted_alike_in_every_batch(case):
    corrupt, batch = case
    order = jnp.array([3, 1, 4, 0])
    other = jax.tree.map(lambda x: x[order], batch)
    found = jax.tree.map(lambda x: x[order], corrupt(KEY, batch, 0.5))
    assert_same(corrupt(KEY, other, 0.5), found)
    one, two = (corrupt(jax.random.key(seed), batch, 0.5) for seed in (7, 8))
    pairs = zip(leaves(one), leaves(two), strict=True)
    assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("name", ["frames", "modalities", "additive"])
def test_what_is_gone_stays_gone_at_higher_severities(name):
    batch = batch_of()
    gone = []
    for severity in (0.3, 0.6, 1.0):
        found = QUICK[name](KEY, batch, severity)
        pairs = zip(*map(leaves, (found, batch)), strict=True)
        gone.append([a != b for a, b in pairs])
    for less, more in zip(gone[:-1], gone[1:], strict=True):
        assert all((~a | b).all() for a, b in zip(less, more, strict=True))


def big(modality="audio"):
    """Return a batch of 300 samples with 50 steps of 4 features, all valid."""
    batch = gather(SPLIT, jnp.zeros(300, jnp.int32))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(300, 50, 4)), jnp.float32)
    changes = {modality: x, f"{modality}_length": jnp.full(300, 50)}
    return replace(batch, index=jnp.arange(300), **changes)


def test_shares():
    batch = big()
    only = {"modalities": ("audio",)}

    def share(found, axes=(), value=None):
        after = np.asarray(found.audio)
        gone = after != batch.audio if value is None else after == value
        return gone.all(axis=axes).mean() if axes else gone.mean()

    def run(name, rate):
        return quick(partial(ALL[name], **only))(KEY, batch, rate)

    for rate in (0.2, 0.5):
        noise = run("additive", rate)
        assert share(noise) == pytest.approx(rate, abs=0.02)
        added = np.asarray(noise.audio - batch.audio)
        np.testing.assert_allclose(added[noise.audio != batch.audio], 1, atol=1e-6)
        erased = run("multiplicative", rate)
        assert share(erased, value=0) == pytest.approx(rate, abs=0.02)
        frames = run("frames", rate)
        assert share(frames, value=0) == pytest.approx(rate, abs=0.02)
        assert share(frames, (2,), 0) == pytest.approx(rate, abs=0.02)  # whole steps
        whole = run("modalities", rate)
        assert share(whole, (1, 2), 0) == pytest.approx(rate, abs=0.08)
        sample = run("by sample", rate)
        touched = (np.asarray(sample.audio) != batch.audio).mean((1, 2))
        assert (touched > 0).mean() == pytest.approx(rate, abs=0.08)
        assert touched[touched > 0].mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(whole.text, batch.text)


def test_signal_to_noise_ratio():
    batch = big()
    scaled = replace(batch, audio=batch.audio * jnp.array([[[1e-3, 1, 50, 0]]]))
    for decibels in (-10, 0, 20):
        severity = corruptions.amplitude(decibels)
        found = QUICK["gaussian"](KEY, scaled, severity)
        noise = np.asarray(found.audio - scaled.audio, float)
        signal = np.square(np.asarray(scaled.audio, float)).mean((0, 1))
        ratio = 10 * np.log10(signal[:3] / np.square(noise).mean((0, 1))[:3])
        np.testing.assert_allclose(ratio, decibels, atol=0.2)
        assert not noise[:, :, 3].any()
    assert corruptions.amplitude(jnp.inf) == 0


def test_gaussian_noise_measures_valid_steps_only():
    batch = batch_of()
    loud = replace(batch, audio=jnp.where(batch.audio == 0, 1e6, batch.audio))
    a, b = (QUICK["gaussian"](KEY, x, 1.0) for x in (batch, loud))
    inside = np.asarray(batch.audio != 0)
    np.testing.assert_array_equal(a.audio[inside], b.audio[inside])


def test_tokens_between_the_ends_are_replaced():
    batch = batch_of(tokens=True)
    found = corruptions.missing_frames(KEY, batch, 1.0, replacement=3)
    expected = np.array(batch.text)
    for row, length in enumerate([9, 2, 1, 5, 3]):
        expected[row, 0, 1 : length - 1] = 3
    np.testing.assert_array_equal(found.text, expected)
    alone = corruptions.missing_frames(KEY, batch, 0.5, modalities=("text",))
    np.testing.assert_array_equal(alone.audio, batch.audio)


def test_every_combination_in_one_program():
    batch, traced = batch_of(), []

    @jax.jit
    def run(absent):
        traced.append(absent)
        return corruptions.without(batch, absent)

    for absent in np.ndindex(2, 2, 2):
        found = run(jnp.array(absent, bool))
        for gone, m in zip(absent, MODALITIES, strict=True):
            before, after = (getattr(b, m)[:5] for b in (batch, found))
            np.testing.assert_array_equal(after, before * (1 - gone))
    assert len(traced) == 1


def test_refusals():
    with pytest.raises(ValueError, match="token ids"):
        corruptions.gaussian_noise(KEY, batch_of(tokens=True), 1.0)
    found = corruptions.bernoulli_noise(
        KEY, batch_of(tokens=True), 1.0, modalities=("audio", "vision")
    )
    np.testing.assert_array_equal(found.text, batch_of(tokens=True).text)
    with pytest.raises(ValueError, match="unknown modalities"):
        corruptions.missing_frames(KEY, batch_of(), 1.0, modalities=("video",))
