"""Several sentences in a row: text that costs what its tokens cost, not its padding.

A batch of sentences is laid into rows of one width, each row holding as many sentences
as fit; tokens attend within their own sentence. How many rows that takes depends on the
batch, but programs have fixed shapes: so a step is compiled for a few numbers of rows,
and for the padded batch, and `by_size` runs the smallest that fits.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from msa_jax.ground.array_rules import largest, move
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Batch, Split

MULTIPLE = 16  # a row's width; products over odd widths are slower on accelerators
COUNTS = 2  # numbers of rows that a step is compiled for; each costs a compilation
DRAWS = 256  # random batches that decide which


class Sizes(NamedTuple):
    """What a step is compiled for, beside the padded batch.

    width: tokens of a row, at least the longest sentence.
    rows: numbers of rows of a shard, rising; none: the padded batch costs no more.
    shards: devices that share a batch; each packs the sentences it has.
    """

    width: int
    rows: tuple[int, ...]
    shards: int = 1


class Plan(NamedTuple):
    """Where the sentences of a shard go.

    row, start: of each sentence; rows are taken from 0 up.
    count: rows that are needed.
    """

    row: Int[Array, " b"]
    start: Int[Array, " b"]
    count: Int[Array, ""]


class Packed(NamedTuple):
    """A batch's text in rows; the leading axis is shards of the batch.

    sentence: which of the shard's sentences a token belongs to, -1 where none is.
    source: the token's place in the shard's padded text, b * t where none is.
    place: of a padded token in the shard's rows, r * w where it is padding.
    """

    ids: Int[Array, "s r w"]
    position: Int[Array, "s r w"]
    segment: Int[Array, "s r w"]
    sentence: Int[Array, "s r w"]
    source: Int[Array, "s r w"]
    place: Int[Array, "s b t"]


def plan_rows(length: Int[Array, " b"], width: int) -> Plan:
    """Lay sentences into rows: the longest first, each where least room is left.

    Args:
        length: tokens of each sentence, at most `width`; 0: it needs no room.
        width: tokens of a row.

    Source: best-fit decreasing, as known from bin packing.
    """
    order = jnp.argsort(-length)

    def put(free, length):
        row = jnp.argmin(jnp.where(free >= length, free, width + 1))
        return free.at[row].add(-length), (row, width - free[row])

    free = jnp.full_like(length, width)
    free, (row, start) = jax.lax.scan(put, free, length[order])
    back = jnp.argsort(order)
    return Plan(row[back], start[back], (free < width).sum())


def pack(
    tokens: Int[Array, "b 3 t"],
    length: Int[Array, " b"],
    plan: Plan,
    rows: int,
    width: int,
) -> Packed:
    """Lay the first `length` tokens of each sentence out as planned; no shard axis."""
    b, _, t = tokens.shape
    row, step = jnp.arange(rows)[:, None, None], jnp.arange(width)[None, :, None]
    position = step - plan.start[None, None]
    inside = (row == plan.row[None, None]) & (position >= 0)
    inside &= position < length[None, None]  # [r w b], at most one sentence each
    used = inside.any(axis=-1)
    sentence = jnp.where(used, inside.argmax(axis=-1), -1)
    position = jnp.where(used, step[:, :, 0] - plan.start[sentence], 0)
    source = jnp.where(used, sentence * t + position, b * t)
    flat = tokens.swapaxes(0, 1).reshape(3, b * t)
    ids, _, segment = flat.at[:, source].get(mode="fill", fill_value=0)
    to = plan.row[:, None] * width + plan.start[:, None] + jnp.arange(t)[None]
    place = jnp.where(jnp.arange(t)[None] < length[:, None], to, rows * width)
    return Packed(ids, position, segment, sentence, source, place)


def unpack(hidden: Float[Array, "s r w h"], text: Packed) -> Float[Array, "b t h"]:
    """Lay hidden states of rows out as the padded batch was; padding becomes 0."""
    shards, *sentences, steps = text.place.shape
    flat = hidden.reshape(shards, -1, hidden.shape[-1])
    place, source = (x.reshape(shards, -1) for x in (text.place, text.source))
    return jax.vmap(move)(flat, place, source).reshape(
        shards * sentences[0], steps, hidden.shape[-1]
    )


def by_size(sizes: Sizes | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` run on batches with packed text.

    The function takes a batch and more; it is compiled for every size. Put gradients
    inside it: what a backward pass keeps would otherwise be kept for all sizes.
    """
    if sizes is None or not sizes.rows:
        return function

    def run(batch: Batch, *others: Any) -> Any:
        tokens = _split(batch.text, sizes.shards)
        length = jnp.where(batch.valid, batch.text[:, 1].sum(-1), 0)
        length = _split(length, sizes.shards)
        plans = jax.vmap(partial(plan_rows, width=sizes.width))(length)
        number = (largest(plans.count.max()) > jnp.asarray(sizes.rows)).sum()

        def packed(rows: int, batch: Batch, *others: Any) -> Any:
            lay = partial(pack, rows=rows, width=sizes.width)
            text = jax.vmap(lay)(tokens, length, plans)
            return function(replace(batch, text=text), *others)

        branches = [partial(packed, rows) for rows in sizes.rows]
        return jax.lax.switch(number, [*branches, function], batch, *others)

    return run


def size_note(sizes: Sizes, padded: int) -> str:
    """Say in a sentence what was chosen; `padded`: steps of the padded text."""
    if not sizes.rows:
        return "Text is not packed: sentences fill their batches as they are."
    numbers = " or ".join(map(str, sizes.rows))
    where = f" on each of {sizes.shards} devices" if sizes.shards > 1 else ""
    return (
        f"Text packed: {numbers} rows of {sizes.width} tokens per batch{where}, padded "
        f"to {padded} where a batch has more."
    )


def _split(x: Array, shards: int) -> Array:
    return x.reshape(shards, -1, *x.shape[1:])


def choose_sizes(
    splits: dict[str, Split], batch_size: int, *, shards: int = 1, together: int = 1
) -> Sizes:
    """Choose the sizes that cost least on random batches of "train".

    Args:
        splits: what is going to be packed.
        batch_size: sentences of a batch, a multiple of `shards`.
        shards: see `Sizes`.
        together: seeds that run as one program, and so need the same size.

    Raises:
        UserError: a mask is not that of a sentence followed by padding.
    """
    for name, split in splits.items():
        _require_sentences(name, split)
    longest = max(int(split.text_length.max()) for split in splits.values())
    padded = splits["train"].text.shape[-1]
    width = -(-longest // MULTIPLE) * MULTIPLE
    length = np.asarray(splits["train"].text_length)
    rng = np.random.default_rng(0)
    drawn = rng.choice(length, (DRAWS * together * shards, batch_size // shards))
    count = jax.jit(jax.vmap(lambda x: plan_rows(x, width).count))(drawn)
    count = np.asarray(count).reshape(DRAWS, -1).max(axis=1)
    # In tokens, per shard; a batch that fits no number of rows stays padded.
    full = batch_size // shards * padded
    best, cheapest = (), float(full)
    numbers = [n for n in np.unique(count).tolist() if n * width < full]
    for size in range(1, COUNTS + 1):
        for rows in combinations(numbers, size):
            costs = np.array([*(n * width for n in rows), full])
            cost = costs[np.searchsorted(rows, count)].mean()
            if cost < cheapest:
                best, cheapest = rows, cost
    return Sizes(width, best, shards)


def _require_sentences(name: str, split: Split) -> None:
    """Refuse masks other than a one for each of `text_length` tokens, then zeros."""
    length, mask = np.asarray(split.text_length), np.asarray(split.text[:, 1])
    wanted = np.arange(mask.shape[1]) < length[:, None]
    wrong = np.flatnonzero(((mask > 0) != wanted).any(axis=1))
    if len(wrong):
        raise UserError(
            f"config.text.packing: the mask of sample {wrong[0]} of {name} is "
            f"not {length[wrong[0]]} ones and then zeros; prepare the data anew or use "
            "--config.text.packing=none"
        )
