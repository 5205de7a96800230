"""The replay of a reference file of schema 2: any method, by its `Paper` alone.

Per case: answers, features, intermediate values and loss terms of evaluation; the same
with clean padding; loss, gradients and running statistics of a training pass; the same
with recorded dropout masks; whole epochs through the loop's own functions.
"""

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import msa_jax.methods as methods
from msa_jax.config import fields
from msa_jax.data.batches import gather
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Batch, PyTree, Split, TrainState
from msa_jax.layers.draws import DRAWS
from msa_jax.layers.recurrence import States
from msa_jax.methods import network
from msa_jax.methods.paper import Paper
from msa_jax.methods.torch_names import from_torch, to_torch
from msa_jax.studies.parity.replays.compare import Comparison, floats
from msa_jax.studies.parity.replays.training import StubEncoder
from msa_jax.studies.parity.schema import Case, cases
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training import epoch_program, optim, step
from msa_jax.training.train_state import new_state

Arrays = Mapping[str, np.ndarray]
# Values that references name otherwise.
_VALUES = {"regression": "sentiment"}
# Of `hp`: what the arrays are and how answers were chosen, no settings of a network.
_FACTS = re.compile(
    r"void_.+|\w+_(features|steps)|data_set|label_high|answer|select_on|reduce"
    r"|aligned_file|align_blocks|average_time|audio_vision|use_bert|window"
)


def replay(
    arrays: Arrays, file: str, precisions: tuple[str, ...]
) -> list[Comparison] | None:
    """Replay every case of a file in each precision; None: no method of ours.

    Args:
        arrays: of the file.
        file: its name.
        precisions: of "float64" and "float32".

    Raises:
        KeyError: the file lacks an array.
        UserError: weights or recorded masks do not fit the network.
    """
    paper = methods.PAPERS.get(str(arrays["method"]))
    if paper is None or paper.torch is None:
        return None
    tables = []
    for case in cases(arrays):
        for precision in precisions:
            with floats(precision):
                run = Replay(case, file, paper, precision)
                run.every_stage()
                tables.append(run.table)
    return tables


class Replay:
    """One case at one precision; every stage adds rows to `table`."""

    def __init__(self, case: Case, file: str, paper: Paper, precision: str):
        """Build the method that the case describes, with its weights."""
        assert paper.torch is not None
        self.case, self.names = case, paper.torch
        self.table = Comparison(file, case.name, precision)
        self.precision, self.dtype = precision, np.dtype(precision).type
        self.left = case.expected()  # keys that nothing has compared yet
        self.settings, unused = settings_of(case, paper)
        if unused:
            self.table.note(f"settings without a field of ours: {', '.join(unused)}")
        still = self.settings.copy_and_resolve_references()
        dropouts = (f.path for f in paper.fields() if f.path.endswith("dropout"))
        fields.change(still, dict.fromkeys(dropouts, 0.0))
        encoder, high = text_encoder(case), case.get("hp/label_high")
        high = 3.0 if high is None else float(high)
        self.method, self.dropping = (
            paper.make(s, encoder, (-high, high)) for s in (still, self.settings)
        )
        self.split = split_of(case, "", self.dtype)
        self.stored = split_of(case, "", self.dtype, seen=False)
        rows = case.get("rows")
        count = self.split.label.shape[0]
        self.rows = np.arange(count) if rows is None else rows
        self.variables = self._load(case.under("w/"))
        self.labels = self.method.init_labels(self.split, jax.random.key(0))
        apply = self.method.model.apply
        self.evaluated = jax.jit(
            partial(apply, train=False, capture_intermediates=True)
        )

    def every_stage(self) -> None:
        """Replay whatever the case has; then name what was not compared."""
        stages = {
            ("out/", "feature/", "part/", "mid/"): self.evaluation,
            ("clean/",): self.clean,
            ("loss/", "grad/"): self.loss,
            ("dropped/",): self.dropped,
            ("steps/",): self.training,
        }
        expected = self.case.expected()
        for prefixes, stage in stages.items():
            if any(key.startswith(prefixes) for key in expected):
                stage()
        if self.case.under("seen/"):
            self.preparation()
        if self.left:
            listed = ", ".join(sorted(self.left))
            self.table.note(f"{len(self.left)} keys not compared: {listed}")

    def evaluation(self) -> None:
        """Answers, features, intermediate values and loss terms of one batch."""
        batch = gather(self.split, jnp.asarray(self.rows))
        outputs, inner = self._evaluate(batch)
        self._outputs(outputs, "")
        values = {f"feature/{t}": x for t, x in outputs.feature.items()}
        for path, value in _flat(inner).items():
            values[f"mid/{self.names.module(path)}"] = value
            if path.startswith("feature_"):  # the answer is found without forming it
                values[path.replace("feature_", "feature/")] = value
            if path.startswith("steps_"):  # of every step, time first
                values[path.replace("steps_", "mid/steps/", 1)] = value
        for key, value in values.items():
            self._add(key, value)
        _, parts = self.method.loss(outputs, batch, self.labels)
        self._parts(parts, "part/")

    def preparation(self) -> None:
        """What the network makes of stored sequences, where it says so by "seen_"."""
        _, inner = self._evaluate(gather(self.stored, jnp.asarray(self.rows)))
        for m in MODALITIES:
            seen = self.case.get(f"seen/{m}")
            if seen is not None and f"seen_{m}" in inner:
                self._compare(f"seen/{m}", inner[f"seen_{m}"][0], seen[self.rows])

    def clean(self) -> None:
        """Answers from sequences that are 0 behind their lengths."""
        batch = gather(self.stored, jnp.asarray(self.rows))
        outputs, _ = self._evaluate(_cleaned(batch))
        self._outputs(outputs, "clean/")

    def loss(self) -> None:
        """Loss, its gradient, and running statistics of a training pass."""
        batch, drawn = self._training_batch(), self._drawn("loss/draw/")

        def objective(params):
            variables = self.variables | {"params": params} | drawn
            key = jax.random.key(0)
            outputs, after = network.learn(self.method, variables, batch, key)
            loss, parts = self.method.loss(outputs, batch, self.labels)
            return loss, (outputs, parts, after)

        both = jax.jit(jax.value_and_grad(objective, has_aux=True))
        (loss, (outputs, parts, after)), grad = both(self.variables["params"])
        self._add("loss/total", loss)
        self._parts(parts, "loss/part/")
        self._outputs(outputs, "loss/")
        for name, value in to_torch(self.names, after).items():
            self._add(f"loss/buffers/{name}", value)
        gradient = to_torch(self.names, grad)
        for name, value in gradient.items():
            self._add(f"grad/{name}", value)
        for key in ("no_gradient", "zero_gradient"):
            self.left.discard(key)
            for name in self.case.names(key):
                if name in gradient:
                    zero = np.zeros_like(gradient[name])
                    self._compare(f"{key}/{name}", gradient[name], zero)
                else:
                    self.left.add(f"{key}/{name}")

    def dropped(self) -> None:
        """The same training pass with recorded dropout masks, found by name.

        A call that drops of all steps at once, time first, takes the masks of as many.
        """
        batch = self._training_batch()
        order, rate = self.case.names("dropped/order"), self.case.need("dropped/rate")
        waiting = {
            name: [i for i, n in enumerate(order) if n == name] for name in order
        }

        def kept(name):
            if not waiting.get(name):
                where = " ".join(self.table.where)
                raise UserError(f"{where}: dropped/order lacks a call of {name}")
            i = waiting[name].pop(0)
            return self.case.need(f"dropped/mask/{i:03d}") / (1 - rate[i])

        def feed(call, args, kwargs, context):
            if not isinstance(context.module, nn.Dropout):
                return call(*args, **kwargs)
            name = self.names.module("/".join(context.module.path))
            if not context.module.rate and name not in waiting:
                return call(*args, **kwargs)
            x, scale = args[0], kept(name)
            if scale.ndim < x.ndim:
                scale = np.stack([scale, *(kept(name) for _ in range(1, len(x)))])
            return x * scale.astype(self.dtype)

        @jax.jit
        def run(variables):
            with nn.intercept_methods(feed):
                key = jax.random.key(0)
                outputs, _ = network.learn(self.dropping, variables, batch, key)
            return outputs, self.dropping.loss(outputs, batch, self.labels)[1]

        outputs, parts = run(self.variables | self._drawn("loss/draw/"))
        self._outputs(outputs, "dropped/")
        self._parts(parts, "dropped/part/")
        unused = {
            name: [i for i in numbers if rate[i]]
            for name, numbers in waiting.items()
            if not re.search(self.names.ignored, name)
        }
        self.left |= {f"dropped/mask/{i:03d}" for n in unused.values() for i in n}

    def training(self) -> None:
        """Whole epochs: every loss, validation's answers, the stop, the weights."""
        of_steps = bool(self.case.under("steps/in/"))
        train = split_of(self.case, "steps/", self.dtype) if of_steps else self.split
        variables = self.variables
        if weights := self.case.under("steps/w0/"):
            variables = self._load(self.case.under("w/") | weights)
        rows, epochs = self.case.need("steps/rows"), self.case.need("steps/epoch")
        steps = len(rows) // self.settings.optim.accumulate_batches
        of_run = self.settings.optim, self.method.groups, steps, int(epochs.max())
        optimizer = optim.from_settings(*of_run)
        state = new_state(self.method, optimizer, variables, train, jax.random.key(0))
        epoch, drawn = self._epoch(optimizer, train), self.case.under("steps/draw/")
        scripted = self.case.get("steps/scripted_valid_loss")
        logs, values, states, stopped = [], [], {}, None
        for number in np.unique(epochs):
            order = rows[epochs == number]
            order = np.where(order < 0, train.label.shape[0], order)
            own = {k: self._cast(v[epochs == number]) for k, v in drawn.items()}
            state, parts, valued = epoch(state, jnp.asarray(order, jnp.int32), own)
            logs.append(parts)
            values.append(valued)
            states[int(number)] = state
            score = valued.get("steps/valid_loss", jnp.inf)
            if scripted is not None:
                score = scripted[len(logs) - 1]
            state = self._judged(state, jnp.asarray(score, self.dtype))
            if stopped is None and not state.selection.active:
                stopped = number
        for name in logs[0]:
            key = "loss" if name == "loss" else f"part/{name.removeprefix('loss_')}"
            self._add(f"steps/{key}", np.concatenate([log[name] for log in logs]))
        for key in values[0]:
            self._add(key, np.stack([valued[key] for valued in values]))
        self._add("steps/best_epoch", state.selection.epoch)
        if stopped is not None:
            self._add("steps/stopped_after_epoch", stopped)
        self._weights(states, variables)

    def _epoch(self, optimizer: Any, train: Split) -> Any:
        """Return one epoch: (state, its batches, their draws) -> the state after it,
        losses and validation's answers.
        """
        rules = epoch_program.rules(self.settings)
        rows = self.case.get("steps/valid_rows")

        def evaluated(state):
            if rows is None:
                return {}
            kept = jnp.asarray(rows[rows >= 0], jnp.int32)
            valid = jax.tree.map(lambda x: x[kept], train)
            variables = network.variables(state)
            answers, error = step.judged(self.method, variables, valid, rows.shape[1])
            own = rules._replace(
                batch_size=rows.shape[1], valid_mean="batches", round_decimals=None
            )
            rounded = own._replace(round_decimals=4)
            return {
                "steps/valid_out/fusion": answers,
                "steps/valid_loss": step.valid_loss(error, own),
                "steps/valid_loss_rounded": step.valid_loss(error, rounded),
            }

        def train_on(method, state, order):
            return step.train_epoch(method, optimizer, state, train, order, rules)

        def one_batch(state, given):
            rows, draws = given
            method = self.method._replace(model=_Drawn(self.method.model, draws))
            after, parts, _ = train_on(method, state, rows[None])
            parts = jax.tree.map(lambda x: x[0], parts)
            return dataclasses.replace(after, epoch=state.epoch), parts

        @jax.jit
        def epoch(state, order, drawn):
            if drawn:  # those of each batch: an epoch of its own
                state, parts = jax.lax.scan(one_batch, state, (order, drawn))
                state = dataclasses.replace(state, epoch=state.epoch + 1)
            else:
                state, parts, _ = train_on(self.method, state, order)
            return state, parts, evaluated(state)

        return epoch

    def _judged(self, state: TrainState, score: jax.Array) -> TrainState:
        """Let the rules of selection, stopping and schedules see an epoch's score."""
        chosen = step.select(
            state.selection,
            state.params,
            score,
            state.epoch,
            epoch_program.rules(self.settings),
            state.statistics,
        )
        opt_state = optim.after_epoch(state.opt_state, score)
        return dataclasses.replace(state, selection=chosen, opt_state=opt_state)

    def _weights(self, states: Mapping[int, Any], variables: PyTree) -> None:
        """Compare weights after the epochs that the reference kept."""
        every = [int(e) for e in self.case.need("steps/after_epochs")]
        after = [
            to_torch(self.names, network.variables(states[epoch])) for epoch in every
        ]
        noise = self.case.names("noise_gradient")
        if self.precision == "float32":
            noise += self.case.names("noise_gradient32")
        for name in after[0]:
            key = f"steps/after/{name}"
            reference = self.case.get(key)
            if reference is None:
                continue
            self.left.discard(key)
            ours = np.stack([w[name] for w in after])
            kept = _settled(name, reference.shape[1:], noise)
            if kept.any():
                self._compare(key, ours[:, kept], reference[:, kept])
        if noise:
            self.table.note(f"of rounding only, not compared: {', '.join(noise)}")
        start, end = to_torch(self.names, variables), after[-1]
        self.left.discard("steps/unchanged")
        for name in self.case.names("steps/unchanged"):
            if name in end:
                self._compare(f"steps/unchanged/{name}", end[name], start[name])

    def _training_batch(self) -> Batch:
        rows = self.case.get("loss/rows")
        rows = self.rows if rows is None else rows
        return gather(self.split, jnp.asarray(rows, jnp.int32))

    def _load(self, weights: Arrays) -> network.Variables:
        batch = gather(self.split, jnp.arange(2))
        init = partial(network.start, self.method, jax.random.key(0))
        shapes = jax.eval_shape(init, batch)
        like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, self.dtype), shapes)
        try:
            return jax.tree.map(jnp.asarray, from_torch(self.names, weights, like))
        except ValueError as error:
            raise UserError(f"{' '.join(self.table.where)}: {error}") from error

    def _evaluate(self, batch: Batch) -> tuple[Any, PyTree]:
        variables = self.variables | self._drawn("draw/")
        outputs, inner = self.evaluated(variables, batch)
        return outputs, inner["intermediates"]

    def _drawn(self, prefix: str) -> dict[str, dict[str, jax.Array]]:
        """Return recorded draws as a collection of variables; {} where none are."""
        drawn = {k: self._cast(v) for k, v in self.case.under(prefix).items()}
        return {DRAWS: drawn} if drawn else {}

    def _outputs(self, outputs: Any, prefix: str) -> None:
        """Compare answers: a score per target, or rows of logits of the fusion."""
        for target, reference in self.case.under(f"{prefix}out/").items():
            answers = outputs.prediction
            if reference.ndim > 1:
                answers = _link(answers.T, str(self.case.get("hp/answer")))
            elif TARGETS.index(target) < len(answers):
                answers = answers[TARGETS.index(target)]
            else:
                continue
            self._add(f"{prefix}out/{target}", answers)

    def _parts(self, parts: Mapping[str, Any], prefix: str) -> None:
        for name, value in parts.items():
            self._add(prefix + name.removeprefix("loss_"), value)

    def _add(self, key: str, ours: Any) -> None:
        """Compare an array of the case, if it has that key."""
        reference = self.case.get(key)
        if reference is not None:
            self.left.discard(key)
            self._compare(key, ours, reference)

    def _compare(self, key: str, ours: Any, reference: np.ndarray) -> None:
        tolerance = self.case.tolerance(key, self.precision)
        self.table.add(key, ours, reference, tolerance)

    def _cast(self, x: np.ndarray) -> jax.Array:
        return jnp.asarray(x, self.dtype if x.dtype.kind == "f" else x.dtype)


class _Drawn(NamedTuple):
    """A network to which its draws are given."""

    model: nn.Module
    draws: dict[str, jax.Array]

    def apply(self, variables: network.Variables, batch: Batch, **given: Any) -> Any:
        """Apply it."""
        return self.model.apply(variables | {DRAWS: self.draws}, batch, **given)


def settings_of(case: Case, paper: Paper) -> tuple[Any, list[str]]:
    """Return the configuration of a case, and its `hp` that no field of ours takes."""
    config = paper.config()
    # What is not given is off in the reference, whatever the paper's values are.
    plain = {f.path: f.default for f in paper.fields() if f.path.startswith("optim.")}
    off = [f.path for f in paper.fields() if f.path.endswith((".decay", "dropout"))]
    fields.change(config, plain | dict.fromkeys(off, 0.0))
    given = {name: value.item() for name, value in case.under("hp/").items()}
    changes, unused = {}, []
    for name, value in given.items():
        paths = _fields_of(config, paper, name, given)
        if not paths and not _FACTS.fullmatch(name):
            unused.append(f"{name} = {value}")
        changes |= dict.fromkeys(paths, _VALUES.get(value, value))
    fields.change(config, changes)
    return config, sorted(unused)


def _fields_of(config: Any, paper: Paper, name: str, given: Mapping) -> list[str]:
    """Return the fields that a name of `hp` stands for."""
    if name in paper.vocabulary:
        return list(paper.vocabulary[name])
    group, _, what = name.rpartition("_")
    if what in ("rate", "decay"):
        every = list(config.optim.groups)
        rest = [g for g in every if f"{g}_{what}" not in given]
        if groups := rest if not group else [g for g in every if g == group]:
            return [f"optim.groups.{g}.{what}" for g in groups]
    if name in config:
        return [name]
    sections = ["model", "loss", "optim", "selection"]
    sections += [s for s in paper.sections if s not in sections]
    return [f"{s}.{name}" for s in sections if name in config.get(s, {})][:1]


def text_encoder(case: Case) -> nn.Module:
    """Return what encodes the case's text: the stand-in for BERT, or nothing."""
    table = case.get("w/text_model.emb.weight")
    return FeatureEncoder() if table is None else StubEncoder(*table.shape)


def split_of(case: Case, prefix: str, dtype: Any, *, seen: bool = True) -> Split:
    """Return the case's samples.

    Args:
        case: of which file.
        prefix: "" or "steps/", of the keys; a case may have the latter only.
        dtype: of sequences and labels.
        seen: sequences as the network receives them. False: as they are stored, those
            that differ in the float32 in which means over time were taken.
    """
    sequences: dict[str, jax.Array] = {}
    prefix = prefix if case.under(f"{prefix}in/") else "steps/"
    n = len(next(iter(case.under(f"{prefix}in/").values())))
    for m in MODALITIES:
        stored, received = case.get(f"{prefix}in/{m}"), case.get(f"{prefix}seen/{m}")
        x, kind = (stored if received is None else received), dtype
        if received is not None and stored is not None and not seen:
            x, kind = stored, stored.dtype if case.get("hp/average_time") else dtype
        if m == "text" and x is None:
            x, kind = _tokens(case, prefix), jnp.int32
        if x is None:
            x = np.zeros((n, 1, 1))
        length = case.get(f"{prefix}in/{m}_length")
        length = np.full(n, x.shape[1]) if length is None else length
        sequences[m] = jnp.asarray(x, kind)
        steps = x.shape[-1] if x.dtype.kind == "i" else x.shape[1]
        sequences[f"{m}_length"] = jnp.asarray(np.minimum(length, steps), jnp.int32)

    def labels(name):
        value = case.get(f"{prefix}in/{name}")
        return np.full(n, np.nan) if value is None else value

    unimodal = np.stack([labels(f"label_{m}") for m in MODALITIES], axis=1)
    emotion = case.get(f"{prefix}in/emotion")
    return Split(
        **sequences,
        label=jnp.asarray(labels("label"), dtype),
        unimodal_label=jnp.asarray(unimodal, dtype),
        emotion=None if emotion is None else jnp.asarray(emotion, dtype),
    )


def _tokens(case: Case, prefix: str) -> np.ndarray | None:
    """Return ids, mask and segments [n, 3, t]; None where text is no tokens."""
    ids = case.get(f"{prefix}in/text_ids")
    if ids is None:
        return case.get(f"{prefix}in/text_bert")
    return np.stack([ids, ids != 0, np.zeros_like(ids)], axis=1)


def _cleaned(batch: Batch) -> Batch:
    """Set everything behind the true lengths to 0."""
    changes = {}
    for m in MODALITIES:
        x, length = getattr(batch, m), getattr(batch, f"{m}_length")
        axis = 2 if x.dtype.kind == "i" else 1
        inside = jnp.arange(x.shape[axis])[None] < length[:, None]
        spread = inside[:, None] if axis == 2 else inside[:, :, None]
        changes[m] = jnp.where(spread, x, 0)
    return dataclasses.replace(batch, **changes)


def _link(logits: jax.Array, answer: str) -> jax.Array:
    """Return logits [b, k] as the reference gives its answers."""
    if answer == "probabilities":
        return jax.nn.softmax(logits)
    return jax.nn.log_softmax(logits) if answer == "log_probabilities" else logits


def _flat(inner: PyTree, path: str = "") -> dict[str, jax.Array]:
    """Return what each module gave last, by its path; of an LSTM its last state.

    What a module keeps besides goes by its own name.
    """
    values: dict[str, jax.Array] = {}
    for name, value in inner.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{path}/{name}".removeprefix("/"))
            continue
        here = path if name == "__call__" else name
        last = value[-1].hidden if isinstance(value[-1], States) else value[-1]
        if isinstance(last, jax.Array):
            values[here] = last
    return values


def _settled(name: str, shape: tuple[int, ...], noise: list[str]) -> np.ndarray:
    """Return which entries of a trained array its reference determines.

    Args:
        name: of the array.
        shape: its shape.
        noise: names, or "name[a:b]" for rows a to b - 1, of arrays that rounding moves.
    """
    kept = np.ones(shape, bool)
    for text in noise:
        whole, _, part = text.partition("[")
        if whole == name:
            start, stop = part.rstrip("]").split(":") if part else ("0", str(len(kept)))
            kept[int(start) : int(stop)] = False
    return kept
