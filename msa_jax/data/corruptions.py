"""Batches with noise, or with frames, tokens or whole modalities missing.

Every function is pure, (key, batch, severity, ...) -> batch, and

- is the identity, to the bit, at severity 0;
- takes a severity that may be traced, so one compiled program serves all severities;
- touches neither rows that are not `valid` nor steps beyond a sequence's length, nor
  lengths;
- draws for a sample from the key and the sample's index alone: the same whatever the
  batch it stands in, and growing with the severity (what is missing at .3 is missing
  at .5).

Text as token ids: ids can be missing, but noise cannot be added to them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch

Severity = Float[Array, ""] | float
Form = Literal["additive", "multiplicative"]
Presence = Literal["element", "sample"]
# A row's key, its sequence [t d] (or ids [t]) and the severity -> the corrupted one.
Corrupt = Callable[[PRNGKeyArray, Array, Severity], Array]


def bernoulli_noise(
    key: PRNGKeyArray,
    batch: Batch,
    severity: Severity,
    *,
    modalities: tuple[str, ...] = MODALITIES,
    form: Form = "additive",
    presence: Presence = "element",
) -> Batch:
    """Add 1 to features at random, or set them to 0.

        element  each number by itself, with probability `severity`
        sample   half of a sample's numbers in a modality; the sample and modality are
                 chosen with probability `severity`

    Args:
        key: of the draws.
        batch: what to corrupt.
        severity: probability, 0 to 1; the paper's is .5.
        modalities: which; token ids are refused.
        form: x + b, or x (1 - b), with b = 1 where there is noise.
        presence: see above.

    Source: UCRN, section 4.4 ("noise that follows a Bernoulli distribution is randomly
        added on the entire modality features with a probability of noise presence
        0.5"): b in {0, 1}, whatever the features' scale, is the plainest reading.
    """

    def corrupt(key: PRNGKeyArray, x: Array, severity: Severity) -> Array:
        for_sample, for_elements = jax.random.split(key)
        drawn = jax.random.uniform(for_elements, x.shape)
        if presence == "sample":
            chosen = jax.random.uniform(for_sample) < severity
            present = chosen & (drawn < 0.5)
        else:
            present = drawn < severity
        return noisy(x, present, form)

    return _every_row(key, batch, severity, _features(batch, modalities), corrupt)


def noisy(
    x: Float[Array, "*any"], present: Bool[Array, "*any"], form: Form
) -> Float[Array, "*any"]:
    """Apply drawn noise: x + 1 or 0 where present, x elsewhere."""
    return jnp.where(present, x + 1 if form == "additive" else 0, x)


def gaussian_noise(
    key: PRNGKeyArray,
    batch: Batch,
    severity: Severity,
    *,
    modalities: tuple[str, ...] = MODALITIES,
) -> Batch:
    """Add Gaussian noise in proportion to each feature's own size.

    The size is the root mean square over the sample's valid steps; a feature that is 0
    throughout stays 0.

    Args:
        key: of the draws.
        batch: what to corrupt.
        severity: amplitude of the noise over that of the signal, see `amplitude`.
        modalities: which; token ids are refused.

    Source: none; the field's signal-to-noise ratio, per feature, because features of
        one modality differ by orders of magnitude.
    """

    def corrupt(
        key: PRNGKeyArray, x: Array, severity: Severity, valid: Bool[Array, " t"]
    ) -> Array:
        count = jnp.maximum(valid.sum(), 1)
        power = jnp.where(valid[:, None], jnp.square(x), 0).sum(axis=0) / count
        drawn = jax.random.normal(key, x.shape, x.dtype)
        louder = x + severity * jnp.sqrt(power)[None] * drawn
        return jnp.where(severity > 0, louder, x)

    chosen = _features(batch, modalities)
    return _every_row(key, batch, severity, chosen, corrupt, with_valid=True)


def amplitude(decibels: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Return the severity of `gaussian_noise` at a signal-to-noise ratio in dB.

    20 dB is .1, 0 dB is 1; infinity is 0.
    """
    return 10 ** (-jnp.asarray(decibels) / 20)


def missing_frames(
    key: PRNGKeyArray,
    batch: Batch,
    severity: Severity,
    *,
    modalities: tuple[str, ...] = MODALITIES,
    replacement: int = 0,
) -> Batch:
    """Leave steps out, each with probability `severity`.

    Features of a step become 0. Token ids become `replacement`; the first and the last
    token of a sentence, [CLS] and [SEP], stay, and so do mask and length.

    Args:
        key: of the draws.
        batch: what to corrupt.
        severity: missing rate, 0 to 1.
        modalities: which.
        replacement: the encoder's id of [PAD] or [MASK].

    Source: none of one paper; frame-level missing rates are the field's protocol.
    """

    def corrupt(key: PRNGKeyArray, x: Array, severity: Severity) -> Array:
        drawn = jax.random.uniform(key, x.shape[:1]) < severity
        gone = drawn if x.ndim == 1 else drawn[:, None]
        return jnp.where(gone, _blank(x, replacement), x)

    return _every_row(key, batch, severity, modalities, corrupt)


def missing_modalities(
    key: PRNGKeyArray,
    batch: Batch,
    severity: Severity,
    *,
    modalities: tuple[str, ...] = MODALITIES,
    replacement: int = 0,
) -> Batch:
    """Leave whole modalities out, each of a sample with probability `severity`.

    All of a sample's modalities may be gone. What is left of one: see `missing_frames`.

    Args:
        key: of the draws.
        batch: what to corrupt.
        severity: missing rate, 0 to 1; 1 leaves `modalities` out of every sample.
        modalities: which.
        replacement: the encoder's id of [PAD] or [MASK].
    """

    def corrupt(key: PRNGKeyArray, x: Array, severity: Severity) -> Array:
        gone = jax.random.uniform(key) < severity
        return jnp.where(gone, _blank(x, replacement), x)

    return _every_row(key, batch, severity, modalities, corrupt)


def without(batch: Batch, absent: Bool[Array, "3"], *, replacement: int = 0) -> Batch:
    """Leave the same modalities out of every sample.

    Args:
        batch: what to corrupt.
        absent: in the order text, audio, vision; may be traced, so one compiled
            program serves all combinations.
        replacement: the encoder's id of [PAD] or [MASK].

    Source: UCRN, section 4.4 ("features of a modality will be masked").
    """
    for which, m in enumerate(MODALITIES):
        gone = jnp.asarray(absent)[which].astype(jnp.float32)
        batch = missing_modalities(
            jax.random.key(0), batch, gone, modalities=(m,), replacement=replacement
        )
    return batch


def has_token_ids(batch: Batch) -> bool:
    """Return whether the text is token ids, not features."""
    return jnp.issubdtype(batch.text.dtype, jnp.integer)


def _features(batch: Batch, modalities: tuple[str, ...]) -> tuple[str, ...]:
    if "text" in modalities and has_token_ids(batch):
        raise ValueError("noise cannot be added to token ids: leave text out")
    return modalities


def _blank(x: Array, replacement: int) -> Array:
    return jnp.full_like(x, replacement if x.ndim == 1 else 0)


def _every_row(
    key: PRNGKeyArray,
    batch: Batch,
    severity: Severity,
    modalities: tuple[str, ...],
    corrupt: Corrupt | Callable[..., Array],
    *,
    with_valid: bool = False,
) -> Batch:
    """Corrupt each valid row's valid steps, with a key for each sample and modality."""
    unknown = set(modalities) - set(MODALITIES)
    if unknown:
        raise ValueError(f"unknown modalities {sorted(unknown)}: {MODALITIES}")
    changed = {}
    for which, m in enumerate(MODALITIES):
        if m not in modalities:
            continue
        ids = m == "text" and has_token_ids(batch)
        x = batch.text[:, 0] if ids else getattr(batch, m)
        touched = _touched(x, getattr(batch, f"{m}_length"), batch.valid, ids)
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, which)))(
            batch.index
        )
        run = jax.vmap(lambda k, x, valid: corrupt(k, x, severity, *valid))
        made = run(keys, x, (touched,) if with_valid else ())
        kept = touched if ids else touched[:, :, None]
        made = jnp.where(kept, made, x)
        changed[m] = batch.text.at[:, 0].set(made) if ids else made
    return replace(batch, **changed)


def _touched(
    x: Array, length: Int[Array, " b"], valid: Bool[Array, " b"], ids: bool
) -> Bool[Array, "b t"]:
    """Return which steps may change: valid ones; of token ids, without the ends."""
    step = jnp.arange(x.shape[1])[None]
    inside = (step < length[:, None]) & valid[:, None]
    return inside & (step > 0) & (step < length[:, None] - 1) if ids else inside
