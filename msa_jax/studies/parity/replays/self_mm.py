"""Replays of Self-MM: label bookkeeping, forward pass and gradients, training."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.data.batches import gather
from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Batch, LabelTables, Method, Outputs
from msa_jax.layers import recurrence
from msa_jax.layers.recurrence import Sequence
from msa_jax.methods import label_rules, multitask, self_mm, ulgm
from msa_jax.methods.torch_names import to_torch
from msa_jax.studies.parity.replays import training
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.studies.parity.replays.training import StubEncoder, load, split, under

Arrays = Mapping[str, np.ndarray]
HEADS = {"fusion": "M", "text": "T", "audio": "A", "vision": "V"}
FEATURES = {"fusion": "f", "text": "t", "audio": "a", "vision": "v"}
TORCH = {"fusion": "fusion", "text": "text", "audio": "audio", "vision": "video"}


def ulgm_steps(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay label generation step by step: losses, labels and centres."""
    label = jnp.asarray(z["labels_m"], dtype)
    n, high = label.shape[0], float(z["H"])
    rules = ulgm.Rules(
        label_range=(-high, high),
        zero_is_positive=not bool(z["exclude_zero"]),
        undefined="nan",  # the originals' rule
    )
    widths = {t: z[f"feat_{t}"].shape[-1] for t in TARGETS}
    tables = ulgm.init_tables(label, widths)

    @jax.jit
    def one(tables, outputs, index, epoch, reference):
        valid = index >= 0
        batch = labels_only(jnp.where(valid, index, n), valid, label)
        _, parts = multitask.loss(outputs, batch, tables)
        args = (tables, outputs.feature, batch.index, valid, epoch, rules)
        tables = ulgm.update_tables(*args)
        ties = jnp.zeros((), int)
        if dtype is np.float32:
            tables, ties = _decide_ties(tables, reference, batch.index, rules)
        return tables, parts, ties

    seen, decided = [], 0
    for s in range(z["epoch"].shape[0]):
        feature = {t: jnp.asarray(z[f"feat_{t}"][s], dtype) for t in TARGETS}
        score = jnp.stack([jnp.asarray(z[f"pred_{t}"][s], dtype) for t in TARGETS])
        index = jnp.asarray(z["indexes"][s], jnp.int32)
        epoch = jnp.asarray(z["epoch"][s], jnp.int32)
        reference = jnp.asarray(np.stack([z[f"label_{t}"][s] for t in TARGETS]), dtype)
        outputs = Outputs(score, feature)
        tables, parts, ties = one(tables, outputs, index, epoch, reference)
        decided += int(ties)
        seen.append((parts, tables))
    if decided:
        table.note(f"labels at exactly 0, sign from the reference: {decided}")
    for row, t in enumerate(TARGETS):
        losses = [parts[f"loss_{t}"] for parts, _ in seen]
        labels = [tables.value[row] for _, tables in seen]
        table.add(f"loss_{t}", np.stack(losses), z[f"loss_{t}"], tolerance)
        table.add(f"label_{t}", np.stack(labels), z[f"label_{t}"], tolerance)
        for side, name in enumerate(("pos", "neg")):
            centers = np.stack([tables.center[t][side] for _, tables in seen])
            table.add(f"center_{t}_{name}", centers, z[f"center_{t}_{name}"], tolerance)


def _decide_ties(
    tables: LabelTables, reference: jax.Array, index: jax.Array, rules: ulgm.Rules
) -> tuple[LabelTables, jax.Array]:
    """Give the batch's labels that are zero but for rounding the reference's class.

    A sample at +-H whose new labels are -+H, -+H, +-H in epochs 2, 3 and 4 has a label
    of exactly 0 on paper. In float64 the reference holds +-2e-16 there, and that sign
    chooses the class; no float32 arithmetic, PyTorch's included, can know it.

    Returns:
        Tables in which such labels are the reference's, and how many there were.
    """
    nearly_zero = 1e-6 * rules.label_range[1]
    rows = jnp.zeros(reference.shape[1], bool).at[index].set(True, mode="drop")
    value = tables.value
    tie = (jnp.abs(value) <= nearly_zero) & (jnp.abs(reference) <= nearly_zero)
    tie &= rows[None] & (jnp.sign(value) != jnp.sign(reference))
    value = jnp.where(tie, reference, value)
    center = {
        t: ulgm.class_centers(tables.feature[t], value[row], tables.center[t], rules)[0]
        for row, t in enumerate(TARGETS)
    }
    return dataclasses.replace(tables, value=value, center=center), tie.sum()


def forward(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the model in evaluation mode: states, features, scores, gradients."""
    weights = under(z, "w/")
    method = _method(weights, ulgm.Rules())
    b = z["audio"].shape[0]
    batch = Batch(
        text=jnp.asarray(z["text_bert"], jnp.int32),
        text_length=jnp.asarray(z["text_bert"][:, 1].sum(-1), jnp.int32),
        audio=jnp.asarray(z["audio"], dtype),
        audio_length=jnp.asarray(z["audio_lengths"], jnp.int32),
        vision=jnp.asarray(z["vision"], dtype),
        vision_length=jnp.asarray(z["vision_lengths"], jnp.int32),
        label=jnp.asarray(z["label_fusion"], dtype),
        index=jnp.arange(b),
        valid=jnp.ones(b, bool),
    )
    params = load(self_mm.TORCH, weights, dtype, method.model, batch, train=False)
    widths = {t: weights[f"post_{TORCH[t]}_layer_1.bias"].shape[0] for t in TARGETS}
    tables = ulgm.init_tables(batch.label, widths)
    stored = [jnp.asarray(z[f"label_{t}"], dtype) for t in TARGETS]
    tables = dataclasses.replace(tables, value=jnp.stack(stored))

    def objective(params):
        outputs, inner = method.model.apply(
            {"params": params}, batch, train=False, capture_intermediates=True
        )
        loss, parts = method.loss(outputs, batch, tables)
        return loss, (outputs, parts, inner["intermediates"])

    (loss, (outputs, parts, inner)), grad = jax.jit(
        jax.value_and_grad(objective, has_aux=True)
    )(params)
    hidden = inner["text_encoder"]["__call__"][0]
    # Tokens beyond the mask reach nothing; the original encodes them all the same.
    table.add("text_hidden", hidden, z["text_hidden"], tolerance)
    for name in ("audio", "vision"):
        # The network runs both LSTMs in one loop; its result is what "sub" is made of.
        alone = recurrence.run(
            [Sequence(getattr(batch, name), getattr(batch, f"{name}_length"))],
            [inner[f"{name}_lstm"]["__call__"][0]],
        )[0]
        table.add(f"{name}_lstm_h", alone.hidden, z[f"{name}_lstm_h"], tolerance)
        projected = inner[f"{name}_projection"]["__call__"][0]
        table.add(f"{name}_sub", projected, z[f"{name}_sub"], tolerance)
    for row, t in enumerate(TARGETS):
        feature = z[f"Feature_{FEATURES[t]}"]
        table.add(f"Feature_{FEATURES[t]}", outputs.feature[t], feature, tolerance)
        score = z[f"out_{HEADS[t]}"][:, 0]
        table.add(f"out_{HEADS[t]}", outputs.prediction[row], score, tolerance)
        table.add(f"loss_{t}", parts[f"loss_{t}"], z[f"loss_{t}"], tolerance)
    table.add("loss", loss, z["loss"], tolerance)
    reference = under(z, "grad/")
    # Reference gradients are stored in float32: half a unit in the last place is 6e-8.
    for name, ours in to_torch(self_mm.TORCH, grad).items():
        table.add(f"grad/{name}", ours, reference[name], max(tolerance, 1e-7))


def whole_training(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay whole training: every loss, u-label, centre and weight, and the stop."""
    weights = under(z, "w_init/Model.")
    hp = under(z, "hp/")
    high = float(hp["H"])
    exclude_zero = table.where[1].startswith("zero_excl") or hp.get("exclude_zero", 0)
    rules = ulgm.Rules((-high, high), not exclude_zero, undefined="nan")
    method = _method(weights, rules)
    example = gather(split(z, "train", dtype), jnp.arange(1))
    params = load(self_mm.TORCH, weights, dtype, method.model, example, train=False)
    states = training.replay(
        z, table, dtype, tolerance, method, _groups(hp), params, self_mm.TORCH
    )
    for t in TARGETS:
        for side, name in enumerate(("pos", "neg")):
            centers = np.stack([s.labels.center[t][side] for s in states])
            table.add(f"center_{t}_{name}", centers, z[f"center_{t}_{name}"], tolerance)


def _groups(hp: Arrays) -> dict[str, dict[str, float]]:
    rates = {"bert": "bert", "audio": "audio", "vision": "video", "other": "other"}
    groups = {
        ours: {
            "rate": float(hp[f"learning_rate_{theirs}"]),
            "decay": float(hp[f"weight_decay_{theirs}"]),
        }
        for ours, theirs in rates.items()
    }
    groups["bert_no_decay"] = {"rate": groups["bert"]["rate"], "decay": 0.0}
    return groups


def _method(weights: Arrays, rules: ulgm.Rules) -> Method:
    """Build Self-MM with the sizes of a PyTorch state dict, without dropout."""
    model: dict = {"audio_width": weights["audio_model.linear_1.bias"].shape[0]}
    model["vision_width"] = weights["video_model.linear_1.bias"].shape[0]
    model["audio_hidden"] = weights["audio_model.rnn.weight_hh_l0"].shape[1]
    model["vision_hidden"] = weights["video_model.rnn.weight_hh_l0"].shape[1]
    for t in TARGETS:
        model[f"{t}_head"] = weights[f"post_{TORCH[t]}_layer_1.bias"].shape[0]
        model[f"{t}_head_dropout"] = 0.0
    encoder = StubEncoder(*weights["text_model.emb.weight"].shape)
    network = self_mm.SelfMM(encoder, "first", **model)
    rule = label_rules.relative(rules, network.widths())
    return label_rules.method(network, rule, multitask.loss, self_mm.group)


def labels_only(index: jax.Array, valid: jax.Array, label: jax.Array) -> Batch:
    """A batch without inputs, for replaying what happens after the model."""
    b, rows = index.shape[0], jnp.minimum(index, label.shape[0] - 1)
    nothing, one = jnp.zeros((b, 1, 1), label.dtype), jnp.ones(b, jnp.int32)
    return Batch(nothing, one, nothing, one, nothing, one, label[rows], index, valid)
