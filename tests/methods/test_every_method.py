"""What holds of every method: each paper, data set, variant and choice, none by name.

What need not run is only traced, for all platforms: shapes, fields, groups, what is
read (whole epochs: tests/training/test_lowered.py). Every network with parameters that
no earlier variant of its paper has is compiled once, with its gradients, and asked
everything. A new paper gets all of this from `methods.PAPERS`.
"""

import dataclasses
import itertools
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from msa_jax import config, methods
from msa_jax.config import fields
from msa_jax.data.batches import gather
from msa_jax.data.check.known import KNOWN
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Method, Outputs, Split
from msa_jax.methods import PAPERS, network
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import optim

# They share what is compiled, which counts for the test that comes first.
pytestmark = [pytest.mark.xdist_group("methods"), pytest.mark.long(90)]
WEIGH = ("query_kernel", "query_bias", "key_kernel", "key_bias")
N, ROWS, REAL = 24, 8, 3  # samples; of a batch; of them no padding where some is
RANGE = (-3.0, 3.0)
paper = pytest.mark.parametrize("name", PAPERS)


def made_up(n: int, seed: int = 0) -> Split:
    """Return a split that also has emotions and unimodal labels."""
    rng = np.random.default_rng(seed)
    emotion = jnp.asarray(rng.integers(-2, 3, (n, 6)).clip(0), jnp.float32)
    unimodal = jnp.asarray(rng.uniform(-3, 3, (n, 3)), jnp.float32)
    split = tiny.make_split(n, seed)
    return dataclasses.replace(split, emotion=emotion, unimodal_label=unimodal)


TRAIN = made_up(N)
BATCH = gather(TRAIN, jnp.arange(ROWS))
KEY = jax.random.key(0)
PADDED = gather(TRAIN, jnp.array([3, 1, 4, *[N] * (ROWS - REAL)]))


def make(c: ConfigDict) -> Method:
    return methods.make(c, FeatureEncoder(), RANGE)


def cut(tree, rows):
    """Return these rows of a batch, or of outputs."""
    if isinstance(tree, Outputs):
        kept = {name: x[rows] for name, x in tree.feature.items()}
        return Outputs(tree.prediction[:, rows], kept)
    return jax.tree.map(lambda x: x[rows], tree)


def names(tree) -> list[str]:
    return jax.tree.leaves(optim.group_labels(tree, lambda path: path))


# --- Traced --------------------------------------------------------------------------


def apply(method: Method, params, batch: Batch, key=None) -> Outputs:
    """Run the network, in training where there is a key; running statistics are 1."""
    running = jax.tree.map(jnp.asarray, statistics(method.model))
    variables = {"params": params, **running}
    if key is None:
        return network.answer(method, variables, batch)
    return network.learn(method, variables, batch, key)[0]


def total(method: Method, params, batch: Batch, labels, key):
    """Return the losses of all phases, and what they are made from."""
    outputs = apply(method, params, batch, key)
    value, parts = losses(method, outputs, batch, labels)
    return value, (outputs, parts)


def losses(method: Method, outputs: Outputs, batch: Batch, labels):
    """Return the sum over all phases, and the parts of each."""
    of_phases = [phase.loss for phase in method.phases] or [method.loss]
    each = [loss(outputs, batch, labels) for loss in of_phases]
    return sum(value for value, _ in each), [parts for _, parts in each]


def variables_for(model, batch: Batch):
    """Return the shapes of a network's parameters and running statistics."""
    start = partial(model.init, train=False)
    return jax.eval_shape(start, jax.random.key(0), batch)


@cache
def variables(model):
    """Return them for the batch that most tests take."""
    return variables_for(model, BATCH)


def shapes(model):
    return variables(model)["params"]


@cache
def statistics(model) -> dict[str, Any]:
    kept = {name: tree for name, tree in variables(model).items() if name != "params"}
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), kept)


@paper
def test_every_data_set_and_variant_is_a_configuration(name):
    """Also two variants together, where their checks do not refuse it."""
    known = PAPERS[name]
    words = itertools.product(("", *known.datasets()), ("", *known.variants))
    for both in words:
        c = known.config("+".join(filter(None, both)))
        methods.check(c)
        assert c.method == name and c.task in known.tasks
        assert c.data.name == (both[0] or next(iter(known.data)))
    for two in itertools.combinations(known.variants, 2):
        methods.check(known.config("+".join(two)))


PUBLISHED = [(n, words) for n, known in PAPERS.items() for words in known.parameters]


@pytest.mark.parametrize("name, words", PUBLISHED)
def test_parameters_are_as_many_as_published(name, words):
    """On features as wide as the data set's, text as bert-base gives it."""
    known = KNOWN[words.partition("+")[0]]
    wide = {"text": 768, "audio": known.audio.width, "vision": known.vision.width}
    steps = {"text": known.tokens, "audio": 7, "vision": 9}
    arrays = {m: jnp.zeros((ROWS, steps[m], wide[m])) for m in MODALITIES}
    c = PAPERS[name].config(words)
    c.text.encoder = "features"
    method = make(c)
    wide_batch = dataclasses.replace(BATCH, **arrays)
    params = variables_for(method.model, wide_batch)["params"]
    groups = optim.group_labels(params, method.groups)
    trained = jax.tree.map(lambda x, g: x.size if g != "frozen" else 0, params, groups)
    assert sum(jax.tree.leaves(trained)) == PAPERS[name].parameters[words]


@pytest.mark.platforms
@paper
def test_what_is_read_is_what_the_configuration_says(name):
    """A data set may lack the others; every parameter has a part in what comes out."""
    networks, moved = {}, set()
    for words in ("", *PAPERS[name].variants):
        c = tiny.small(PAPERS[name], words)
        of_network = names(shapes(make(c).model)), config.reads(c)
        networks.setdefault(str(of_network), (words, c))
    for words, c in networks.values():
        method = make(c)
        params = shapes(method.model)
        program, _ = traced(method.model, method.streams)
        reads, batch, _ = tiny.used(program, params, PADDED, KEY)
        seen = {m for m in MODALITIES if getattr(batch, m)}
        assert seen == set(config.reads(c)), words
        absent = set(MODALITIES) - seen
        assert not any(getattr(batch, f"{m}_length") for m in absent), words
        gone = {m: jnp.zeros((ROWS, 1, 1)) for m in absent}  # nor does its width count
        if gone:
            without = variables_for(method.model, dataclasses.replace(BATCH, **gone))
            tiny.assert_same_shapes(without["params"], params)
        assert not batch.label and not batch.index
        assert batch.valid == bool(statistics(method.model)), words  # of valid rows
        idle = {
            path
            for path, read in zip(names(params), jax.tree.leaves(reads), strict=True)
            if not read
        }
        groups = {path: method.groups(path) for path in names(params)}
        assert idle <= {p for p, group in groups.items() if group == "frozen"}, words
        assert set(groups.values()) <= {*c.optim.groups, "frozen"}, words
        moved |= {method.groups("text_encoder/a"), method.groups("text_encoder/bias")}
        moved |= set(groups.values())
    # Every group moves something; SPT may be a choice of a field alone.
    assert {*PAPERS[name].rates} - {"spt"} <= moved


@pytest.mark.platforms
@paper
def test_every_choice_of_every_field_is_built(name):
    """What `--help` lists: network, loss, label tables and answers of the task."""
    base, known = tiny.small(PAPERS[name]), PAPERS[name]
    choices = {
        f.path: f.choices or (False, True)
        for f in known.fields()
        if f.path.partition(".")[0] in known.sections and (f.choices or f.kind is bool)
    }
    choices["task"] = known.tasks
    pairs = [(path, value) for path, values in choices.items() for value in values]
    for path, value in pairs:
        c = ConfigDict(base)
        if fields.get(c, path) == value:
            continue
        fields.change(c, {path: value})
        try:
            methods.check(c)
        except UserError:  # it needs another field's value, too: a variant has both
            continue
        build(c, f"{path} = {value}")


@cache
def traced(model, streams: tuple[str, ...]) -> tuple[Any, Outputs]:
    """Return a network in training as a program, and the shapes of what it puts out."""
    method = Method(None, model, None, None, streams=streams)  # type: ignore[arg-type]
    trace = jax.make_jaxpr(partial(apply, method), return_shape=True)
    return trace(shapes(model), PADDED, KEY)


def build(c: ConfigDict, words: str) -> None:
    """Trace the network, and what reads it with traced fields as inputs."""

    def run(outputs, hyper, key):
        method = make(config.with_values(c, hyper))
        labels = method.init_labels(TRAIN, key)
        value = losses(method, outputs, PADDED, labels)[0]
        after = method.update_labels(labels, outputs, PADDED, jnp.asarray(2))
        error = method.task.error(method.task.read(outputs), PADDED)
        return value, labels, after, error, method.label_values(after)

    values = jax.tree.map(jnp.float32, methods.traced_values(c))
    given = traced(make(c).model, make(c).streams)[1], values, KEY
    value, labels, after, error, _ = jax.eval_shape(run, *given)
    assert value.shape == () and error.shape == (ROWS,), words
    tiny.assert_same_shapes(after, labels)


# --- Compiled ------------------------------------------------------------------------


class Compiled(NamedTuple):
    """A network with its loss, at the smallest sizes; arrays are NumPy's.

    words: of its variant.
    answer: (parameters, batch) -> outputs.
    learn: (parameters, batch, labels, key) -> ((loss, (outputs, its parts)), gradient).
    """

    words: str
    settings: ConfigDict
    method: Method
    params: Any
    labels: Any
    answer: Any
    learn: Any


@cache
def compiled(name: str) -> list[Compiled]:
    """Compile every network of a paper that has parameters of a new name."""
    seen, found = set(), []
    for words in ("", *PAPERS[name].variants):
        c = tiny.small(PAPERS[name], words)
        method = make(c)
        of_network = set(names(shapes(method.model)))
        # What reads padding and what does not are two networks, too.
        of_network |= {f"padding: {PAPERS[name].reads_padding(c)}"}
        if of_network <= seen:
            continue
        seen |= of_network
        labels = tiny.quick(method.init_labels)(TRAIN, jax.random.key(0))
        rng = np.random.default_rng(3)
        labels = jax.tree.map(  # else unimodal losses weigh nothing
            lambda x, rng=rng: (
                x + rng.normal(size=x.shape).astype(np.float32)
                if np.issubdtype(x.dtype, np.floating)
                else np.asarray(x)
            ),
            jax.tree.map(np.asarray, labels),
        )
        loss = partial(total, method)
        run = Compiled(
            words,
            c,
            method,
            tiny.make_params(method, TRAIN),
            labels,
            tiny.quick(partial(apply, method)),
            tiny.quick(jax.value_and_grad(loss, has_aux=True)),
        )
        found.append(run)
    return found


def learn(run: Compiled, batch: Batch, key: int = 0, labels=None):
    given = run.labels if labels is None else labels
    return run.learn(run.params, batch, given, jax.random.key(key))


def close(a, b, tolerance: float = 2e-5) -> None:
    """Agree but for the order of sums; NaN where both are."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def differs(a, b) -> bool:
    return bool((np.abs(np.asarray(a) - np.asarray(b)) > 1e-5).any())


def with_rubbish(batch: Batch, modalities) -> Batch:
    """Put numbers behind the lengths, where zeros are."""
    changed = {}
    for m in modalities:
        x, length = (np.array(getattr(batch, m + end)) for end in ("", "_length"))
        x[np.arange(x.shape[1])[None] >= length[:, None]] = 7
        assert (x == 7).any()
        changed[m] = x
    return dataclasses.replace(batch, **changed)


@paper
def test_answers_depend_on_a_sample_s_own_steps_alone(name):
    """Nor on its place; on padding only where `reads_padding` says so."""
    for run in compiled(name):
        answers = run.answer(run.params, BATCH)
        turned = run.answer(run.params, cut(BATCH, np.arange(ROWS)[::-1]))
        close(cut(turned, np.arange(ROWS)[::-1]), answers)
        others = gather(TRAIN, jnp.array([0, *range(ROWS, 2 * ROWS - 1)]))
        alone = run.answer(run.params, others)
        close(cut(alone, np.arange(1)), cut(answers, np.arange(1)))
        assert differs(alone.prediction[:, 1:], answers.prediction[:, 1:])
        read = config.reads(run.settings)
        reads_padding = PAPERS[name].reads_padding(run.settings)
        dirty = run.answer(run.params, with_rubbish(BATCH, read))
        if reads_padding:
            assert differs(dirty.prediction, answers.prediction), run.words
        else:
            close(dirty, answers)


@paper
def test_padding_rows_reach_no_loss_no_gradient_and_no_label(name):
    for run in compiled(name):
        found = learn(run, PADDED)
        index = np.minimum(np.asarray(PADDED.index), N - 1)
        index[REAL:] = [5, 6, 7, 8, 9]
        others = gather(TRAIN, jnp.asarray(index))
        others = dataclasses.replace(others, index=PADDED.index, valid=PADDED.valid)
        others = dataclasses.replace(others, label=others.label.at[REAL:].set(9))
        (value, (outputs, parts)), gradient = learn(run, others)
        close(((value, parts), gradient), ((found[0][0], found[0][1][1]), found[1]))
        padding = np.arange(REAL, ROWS)
        padded = cut(outputs, padding), cut(found[0][1][0], padding)
        same = not differs(*(each.prediction for each in padded))
        assert not same or statistics(run.method.model)  # batch norm may empty them
        # As many rows as are real, and no padding: the same loss and label tables.
        after = tiny.quick(partial(after_a_batch, run.method))
        rows = np.arange(REAL)
        few = after(cut(found[0][1][0], rows), cut(PADDED, rows), run.labels)
        close(few[0], found[0][0])
        if jax.tree.leaves(run.labels):  # else there is the loss alone: see above
            close(after(outputs, others, run.labels), few)
        seen = np.asarray(PADDED.index[:REAL])
        for old, new in zip(*map(jax.tree.leaves, (run.labels, few[1])), strict=True):
            assert old.shape == new.shape
            if old.shape[:1] == (N,):  # a row per sample
                same = np.delete(np.asarray(new), seen, 0), np.delete(old, seen, 0)
                np.testing.assert_array_equal(*same)


def after_a_batch(method: Method, outputs, batch, labels):
    value, _ = losses(method, outputs, batch, labels)
    return value, method.update_labels(labels, outputs, batch, jnp.asarray(2))


@paper
def test_dropout_follows_its_key_and_every_parameter_learns(name):
    for run in compiled(name):
        first, again, other = (learn(run, BATCH, key) for key in (0, 0, 1))
        tiny.assert_same(first, again)
        owned = {f.path for f in PAPERS[name].fields() if f.path.endswith("dropout")}
        drops = any(fields.get(run.settings, path) > 0 for path in owned)
        assert differs(first[0][0], other[0][0]) == drops, run.words
        # A ReLU that is shut in every row opens with other parameters.
        turned = run._replace(params=jax.tree.map(np.negative, run.params))
        every = first[1], other[1], learn(turned, BATCH)[1]
        still = {
            path
            for path, *each in zip(
                names(run.params), *map(jax.tree.leaves, every), strict=True
            )
            if not any(map(np.any, each))
        }
        frozen = {p for p in names(run.params) if run.method.groups(p) == "frozen"}
        # Attention over a single step weighs it 1, whatever query and key say.
        weigh = {p for p in names(run.params) if p.split("/")[-1].startswith(WEIGH)}
        # A gradient of what is frozen may be there; the optimiser does not follow it.
        assert still - weigh <= frozen, run.words
        assert not weigh or weigh - still, run.words


@paper
def test_empty_clips_are_finite(name):
    """One step of zeros in each modality, every label 0."""
    for run in compiled(name):
        empty = {m: np.zeros_like(getattr(BATCH, m)) for m in MODALITIES}
        empty |= {f"{m}_length": np.ones(ROWS, np.int32) for m in MODALITIES}
        batch = dataclasses.replace(BATCH, label=BATCH.label * 0, **empty)
        for leaf in jax.tree.leaves((learn(run, batch), run.answer(run.params, batch))):
            assert np.isfinite(leaf).all(), run.words
