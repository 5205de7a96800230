"""A small split, a small Self-MM and a smaller stand-in: what several tests share."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.interpreters import partial_eval

from msa_jax.config.fields import change, get
from msa_jax.data.batches import gather
from msa_jax.data.sealed_test import Frozen, recall, state_hash
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Batch, Method, Outputs, Split, TrainState
from msa_jax.layers.dense import ScoreHead
from msa_jax.methods import label_rules, multitask, self_mm, ulgm
from msa_jax.methods.paper import Paper
from msa_jax.text.encoders import Encoder, FeatureEncoder, pool
from msa_jax.text.tokens import Tokenizer, definition
from msa_jax.training import loop, optim
from msa_jax.training import train as training
from msa_jax.training.program import make_program
from msa_jax.training.train_state import devices_of, new_state, seed_keys

RATES = {
    name: {"rate": rate, "decay": 1e-3}
    for name, rate in (("audio", 3e-3), ("vision", 1e-3), ("other", 1e-2))
}
MODEL = {
    "audio_hidden": 4,
    "vision_hidden": 5,
    "audio_width": 3,
    "vision_width": 4,
    "fusion_head": 8,
    "text_head": 6,
    "audio_head": 4,
    "vision_head": 5,
}


def make_split(n: int, seed: int = 0) -> Split:
    """Draw features of 1 to 4, 6 and 5 steps; the labels depend on the text."""
    rng = np.random.default_rng(seed)

    def sequence(steps, width):
        length = rng.integers(1, steps + 1, n).astype(np.int32)
        x = rng.normal(size=(n, steps, width)).astype(np.float32)
        x[np.arange(steps) >= length[:, None]] = 0
        return x, length

    text, audio, vision = sequence(4, 6), sequence(6, 3), sequence(5, 4)
    label = 2 * text[0][:, 0, 0] + 0.3 * rng.normal(size=n)
    label = np.clip(label, -3, 3).astype(np.float32)
    unimodal = np.full((n, 3), np.nan, np.float32)
    return jax.device_put(Split(*text, *audio, *vision, label, unimodal))


def make_self_mm(encoder: nn.Module | None = None, dropout: float = 0.1) -> Method:
    """Return Self-MM on text features (or another encoder), all dropouts alike."""
    rates = {f"{t}_head_dropout": dropout for t in TARGETS}
    model = {**MODEL, **rates, "audio_dropout": dropout, "vision_dropout": dropout}
    network = self_mm.SelfMM(encoder or FeatureEncoder(), "mean", **model)
    rule = label_rules.relative(ulgm.Rules(), network.widths())
    return label_rules.method(network, rule, multitask.loss, self_mm.group)


class Heads(nn.Module):
    """Self-MM without recurrence: it compiles in a fifth of the time."""

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Score the mean over time of each modality."""
        x = {
            m: pool(getattr(batch, m), getattr(batch, f"{m}_length"), "mean")
            for m in TARGETS[1:]
        }
        x["fusion"] = jnp.concatenate(list(x.values()), axis=-1)
        scores, features = [], {}
        for target in TARGETS:
            rate = 0.1 if target == "fusion" else 0.0
            head = ScoreHead(4, rate, hidden_layers=1, name=target)
            score, features[target] = head(x[target], train=train)
            scores.append(score)
        return Outputs(jnp.stack(scores), features)


def make_heads(**rules) -> Method:
    """Return Self-MM's losses and labels around `Heads`; every group is "other"."""
    method = make_self_mm()
    widths = dict.fromkeys(TARGETS, 4)

    def update(labels, outputs, batch, epoch):
        return ulgm.update_tables(
            labels,
            outputs.feature,
            batch.index,
            batch.valid,
            epoch,
            ulgm.Rules(**rules),
        )

    return method._replace(
        model=Heads(),
        init_labels=lambda split, key: ulgm.init_tables(split.label, widths),
        update_labels=update,
        groups=lambda path: "other",
    )


def make_proof(params=None) -> Frozen:
    """Return what opens a sealed test split: some parameters, leading seed axis."""
    params = {"weight": np.zeros((1, 1))} if params is None else params
    count = len(jax.tree.leaves(params)[0])
    seeds = [
        jax.tree.map(lambda x, i=i: np.asarray(x[i]), params) for i in range(count)
    ]
    hashes = tuple(state_hash(seed, None) for seed in seeds)
    return recall({"params": params}, None, hashes)


def make_params(method: Method, split: Split, seed: int = 0):
    """Draw parameters with NumPy: compiling jax's initialisers takes seconds.

    So does `jnp.asarray`, a program for each shape; `jax.device_put` needs none.
    """
    rng = np.random.default_rng(seed)
    batch = gather(split, jnp.arange(2))
    init = partial(method.model.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), batch)["params"]
    drawn = jax.tree.map(
        lambda s: rng.uniform(-0.4, 0.4, s.shape).astype(s.dtype), shapes
    )
    return jax.device_put(drawn)


def make_optimizer(method: Method):
    """Return Adam with the rates above."""
    return optim.make_optimizer(RATES, method.groups)


# Compiles without optimisation: twice as fast, for what runs once or twice.
quick = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def small(paper: Paper, words: str = "", **changes) -> Any:
    """Return a paper's configuration with the smallest sizes that its checks take.

    A term of the loss that weighs 0 as published, whose gradient is zeros, weighs 1.

    Args:
        paper: one of `methods.PAPERS`.
        words: data set and variants.
        changes: further fields; `a__b` stands for the field a.b.
    """
    c = paper.config(words)
    c.text.encoder, c.seeds = "features", (1, 2)
    c.optim.batch_size, c.optim.accumulate_batches = 8, 1
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    change(c, changes)
    fields = [f for f in paper.fields() if f.path.partition(".")[0] in paper.sections]
    for field in fields:
        value = get(c, field.path)
        if field.path in changes:
            continue
        if value == 0 and field.traced and not field.traced.zero_is_constant:
            change(c, {field.path: 1.0})
        if field.kind is not int or field.choices:
            continue
        deep = field.path.endswith(("layers", "rounds"))
        for size in (1,) if deep else (4, 6, 8, 12, 16, 320):
            if size < value and _takes(paper, c, field.path, size):
                break
        else:
            change(c, {field.path: value})
    paper.refuse(c)
    return c


def _takes(paper: Paper, config, path: str, value: int) -> bool:
    change(config, {path: value})
    try:
        paper.check(config)
    except UserError:
        return False
    return True


def used(program, *given) -> Any:
    """Say of every leaf of `given` whether what a program returns depends on it.

    Args:
        program: from `jax.make_jaxpr` of a function of `given`.
    """
    outputs = [True] * len(program.jaxpr.outvars)
    _, read = partial_eval.dce_jaxpr(program.jaxpr, outputs)
    return jax.tree.unflatten(jax.tree.structure(given), read)


def leaves(tree) -> list[np.ndarray]:
    """Return a tree's leaves as NumPy arrays, keys as their bits."""

    def plain(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    return [plain(x) for x in jax.tree.leaves(tree)]


def assert_same(a, b) -> None:
    """Two trees agree to the bit, NaN included."""
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def assert_same_shapes(a, b) -> None:
    """Two trees, or what stands for them, have the same structure, shapes and types."""

    def described(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype), tree)

    assert described(a) == described(b)


def assert_close(a, b, tolerance: float) -> None:
    """Two trees agree to `tolerance`, absolute."""
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


def make_states(method: Method, split: Split, seeds) -> TrainState:
    """Start every seed from parameters drawn by `make_params`, on one device."""
    params = [make_params(method, split, seed) for seed in seeds]
    params = jax.tree.map(lambda *x: jnp.stack(x), *params)

    def start(params, key):
        start = {"params": params}
        return new_state(method, make_optimizer(method), start, split, key)

    return jax.vmap(start)(params, seed_keys(seeds))


def fit(
    config,
    train,
    valid,
    encoder,
    mesh,
    label_range,
    metrics_kind,
    on_epoch=lambda epoch: None,
    saved=None,
    keep=lambda state, epoch: None,
):
    """Train as `run.complete_run` does, without its files; return what was selected."""
    devices = devices_of(config, mesh)
    program = make_program(config, train, valid, encoder, devices, label_range)
    state, tally = training.start(program, config.seeds, saved)
    steps = loop.epochs(program, state, tally, metrics_kind)
    for state, tally, epoch in steps:
        on_epoch(epoch)
        loop.require_finite(program, epoch, lambda lane: f"seed {config.seeds[lane]}")
        keep(state, epoch)
    return training.fitted(config, program, state, tally)


def tokens(
    encoder: Encoder, sentences: list[str], most: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids, mask and segments of sentences, and how long they are uncut."""
    described = definition(encoder.tokenizer)
    assert described is not None
    return Tokenizer(described).tokens(sentences, most)
