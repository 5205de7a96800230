"""Replay of SUGRM's label bookkeeping: losses, labels, centre and maximum distance."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.ground.names import TARGETS
from msa_jax.ground.types import Outputs
from msa_jax.methods import multitask, ulgm_distance
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.studies.parity.replays.self_mm import labels_only

Arrays = Mapping[str, np.ndarray]


def steps(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay label generation batch by batch."""
    if table.where[1] == "error_no_extreme_labels":
        _no_extreme_labels(table, dtype)
        return
    label = jnp.asarray(z["labels_m"], dtype)
    n, high = label.shape[0], float(z["H"])
    rules = ulgm_distance.Rules(
        label_range=(-high, high),
        zero_is_positive=not bool(z["exclude_zero"]),
        undefined="nan",  # the originals' rule
    )
    tables = ulgm_distance.init_tables(
        label,
        z["feat_fusion"].shape[-1],
        jnp.asarray(z["init_order"], jnp.int32),
        int(z["init_batch_size"]),
        rules,
    )
    for side, name in enumerate(("p3", "n3")):
        name = f"feat_{name}_index_list"
        counts = np.bincount(z[name], minlength=n)
        table.add(name, tables.extreme_weight[side], counts, 0.0)

    @jax.jit
    def one(tables, outputs, index, epoch):
        valid = index >= 0
        batch = labels_only(jnp.where(valid, index, n), valid, label)
        _, parts = multitask.loss(outputs, batch, tables)
        # The original takes the distance only where it makes labels.
        distance = ulgm_distance.maximum_distance(tables)
        distance = jnp.where(epoch > 1, distance, jnp.nan)
        args = (tables, outputs.feature, batch.index, valid, epoch, rules)
        return ulgm_distance.update_tables(*args), parts, distance

    seen, distances = [], []
    for s in range(z["epoch"].shape[0]):
        feature = {t: jnp.asarray(z[f"feat_{t}"][s], dtype) for t in TARGETS}
        score = jnp.stack([jnp.asarray(z[f"pred_{t}"][s], dtype) for t in TARGETS])
        index = jnp.asarray(z["indexes"][s], jnp.int32)
        epoch = jnp.asarray(z["epoch"][s], jnp.int32)
        tables, parts, distance = one(tables, Outputs(score, feature), index, epoch)
        seen.append((parts, tables))
        distances.append(distance)
    for row, t in enumerate(TARGETS):
        losses = [parts[f"loss_{t}"] for parts, _ in seen]
        labels = [tables.value[row] for _, tables in seen]
        table.add(f"loss_{t}", np.stack(losses), z[f"loss_{t}"], tolerance)
        table.add(f"label_{t}", np.stack(labels), z[f"label_{t}"], tolerance)
    for side, name in enumerate(("pos", "neg")):
        centers = np.stack([tables.center[side] for _, tables in seen])
        table.add(f"center_{name}", centers, z[f"center_{name}"], tolerance)
    table.add("max_diff", np.stack(distances), z["max_diff"], tolerance)


def _no_extreme_labels(table: Comparison, dtype: type) -> None:
    """The original raises without a sample at +-H; ours takes the farthest labels."""
    label = jnp.asarray([2.0, -1.0, 0.5, 2.0], dtype)
    rules = ulgm_distance.Rules()
    tables = ulgm_distance.init_tables(label, 1, jnp.arange(4), 3, rules)
    found, expected = tables.extreme_weight, [[2, 0, 0, 1], [0, 2, 0, 0]]
    table.add("farthest labels in place of +-H, no error", found, expected, 0.0)
    table.add("label width", tables.extreme_label, [2, -1], 0.0)
