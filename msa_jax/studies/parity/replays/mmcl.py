"""Replays of MMCL: formulas, layers as torch has them, public code that it cites."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.evaluation import metrics
from msa_jax.layers import cutoff
from msa_jax.methods import contrastive, contrastive_total, losses
from msa_jax.methods.contrastive_total import Readings, Views, Weights
from msa_jax.studies.parity.replays import mmcl_layers
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.training import optim

Arrays = Mapping[str, np.ndarray]
UNI = {
    "eq4_literal": "literal",
    "prose": "prose",
    "inbatch_keys": "keys",
    "simclr": "simclr",
}
PAIRINGS = ("origin_origin", "predict_predict", "origin_predict", "predict_origin")
SENTIMENT = ("log_outside_sum", "log_outside_mean", "log_inside")
UNIFORMITY = {
    "eq7_literal": "literal",
    "wi_mean_PG": "wang_isola",
    "wi_union": "union",
    "allpairs_PxG": "all_pairs",
}
PARTS = dict(
    zip(
        Weights._fields,
        ("L_uni", "L_sent", "L_cross", "L_align", "L_uniform"),
        strict=True,
    )
)
# Tolerances in float64 and in float32. Stored in float32 themselves: the LSTMs and the
# encoder, compared at what float32 sums in another order differ by.
FORMULA = (1e-10, 1e-5)
LSTM = (1e-6, 1e-6)
ENCODER = (2e-6, 5e-6)
FLOAT32_METRICS = (1e-6, 1e-6)
COPIES = (0.0, 0.0)
# Raw scores reach 470 at temperature .05, where float32 has steps of 3e-5.
RAW_FLOAT32 = 1e-4


def replay(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay one file; the rest of its name says which."""
    name = table.where[0].removesuffix(".npz")
    del tolerance  # every kind of file has its own
    for start, (run, tolerances) in replays().items():
        if name.startswith(start):
            run(z, table, dtype, tolerances[dtype is np.float32])
            return
    table.note("nothing of this file is replayed")


def replays() -> dict[str, tuple[Callable[..., None], tuple[float, float]]]:
    """Return, by start of the name, what replays a file and its tolerances."""
    return {
        "mmcl_formula_infonce": (info_nce, FORMULA),
        "mmcl_formula_icl": (cross_contrast, FORMULA),
        "mmcl_formula_align_uniform": (align_uniform, FORMULA),
        "mmcl_formula_scl": (sentiment_contrast, FORMULA),
        "mmcl_formula_total": (total, FORMULA),
        "mmcl_formula_cutoff": (formula_cutoff, FORMULA),
        "mmcl_formula_schedule": (schedule, FORMULA),
        "mmcl_peer_align_uniform": (peer_align_uniform, FORMULA),
        "mmcl_peer_mmim_cpc": (peer_cpc, FORMULA),
        "mmcl_peer_mmim_metrics": (peer_metrics, FLOAT32_METRICS),
        "mmcl_peer_dim_cutoff": (peer_cutoff, COPIES),
        "mmcl_torch_blstm": (mmcl_layers.bidirectional_lstm, LSTM),
        "mmcl_torch_slstm": (mmcl_layers.sequence_lstm, LSTM),
        "mmcl_torch_transformer": (mmcl_layers.encoder, ENCODER),
        "mmcl_torch_cnn": (mmcl_layers.convolutions, FORMULA),
    }


def info_nce(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay L_uni in every reading, of raw and of normalised vectors."""
    query, key = (jnp.asarray(z[k], dtype) for k in ("q", "k"))
    valid = jnp.ones(len(query), bool)
    lengthened = contrastive.unit(query, valid), contrastive.unit(key, valid)
    for stored in _stored(z, *(f"{k}/" for k in UNI)):
        name, tau, form, what = stored.split("/")
        q, k = lengthened if form == "norm" else (query, key)
        reading: Any = UNI[name]
        ours = contrastive.info_nce(q, k, valid, _after(tau, "tau"), reading)
        ours = ours if what == "per" else losses.masked_mean(ours, valid)
        loose = form == "raw" and dtype is np.float32
        table.add(stored, ours, z[stored], RAW_FLOAT32 if loose else tolerance)


def cross_contrast(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay L_cross: each pairing, their sum and mean."""
    predicted, target, valid = _predicted(z, dtype)
    sides = {"origin": target, "predict": predicted}
    for stored in _stored(z, "tau"):
        tau, what = stored.split("/")
        temperature = _after(tau, "tau")
        if what in PAIRINGS:
            query, key = (sides[side] for side in what.split("_"))
            ours = contrastive.info_nce(query, key, valid, temperature, "keys")
        else:
            reduce: Any = what.removesuffix("3")
            ours = contrastive.cross_contrast(
                predicted, target, valid, temperature, reduce
            )
        table.add(stored, losses.masked_mean(ours, valid), z[stored], tolerance)


def align_uniform(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay L_align and L_uniform in every reading."""
    predicted, target, valid = _predicted(z, dtype)
    distances: dict[str, tuple[float, Any]] = {
        "align_lambda1": (1.0, "euclidean"),
        "align_lambda2": (2.0, "euclidean"),
        "align_elementwise_L1_mean": (1.0, "taxicab"),
    }
    for stored, (power, norm) in distances.items():
        ours = contrastive.alignment(predicted, target, valid, power, norm)
        table.add(stored, losses.masked_mean(ours, valid), z[stored], tolerance)
    alone = {"wi_P": predicted, "wi_G": target}
    for stored in _stored(z, *UNIFORMITY, *alone):
        name, _, kappa = stored.rpartition("_kappa")
        first, second = alone.get(name, predicted), alone.get(name, target)
        reading: Any = UNIFORMITY.get(name, "wang_isola")
        ours = contrastive.uniformity(first, second, valid, float(kappa), reading)
        table.add(stored, ours, z[stored], tolerance)


def sentiment_contrast(
    z: Arrays, table: Comparison, dtype: type, tolerance: float
) -> None:
    """Replay L_sent in every reading; NaN stands for an anchor without positives."""
    predicted, target, valid = _predicted(z, dtype)
    label = jnp.asarray(z["y"], dtype)
    table.add("cls", jnp.sign(label), z["cls"], 0.0)
    pools: dict[str, Any] = {
        "GP": map(jnp.concatenate, ([target, predicted], [label] * 2, [valid] * 2)),
        "Gonly": (target, jnp.asarray(z["y_singleton"], dtype), valid),
    }
    pools = {name: tuple(pool) for name, pool in pools.items()}
    for stored in _stored(z, "GP/", "Gonly/"):
        pool, name, self_too, tau, *per = stored.split("/")
        reading: Any = name
        vectors, labels, rows = pools[pool]
        temperature, with_self = _after(tau, "tau"), self_too == "self"
        ours, counted = contrastive.sentiment_contrast(
            vectors, labels, rows, temperature, reading, with_self
        )
        mean = losses.masked_mean(ours, counted)
        ours = jnp.where(counted, ours, jnp.nan) if per else mean
        table.add(stored, ours, z[stored], tolerance)


def total(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay Eq. 10: every part and their sum."""
    names = ("F", "F_aug", "P_raw", "G_raw")
    views = {
        u: Views(*(jnp.asarray(z[f"{u}/{n}"], dtype) for n in names)) for u in "av"
    }
    label, prediction = (jnp.asarray(z[k], dtype) for k in ("y", "yhat"))
    valid = jnp.ones(len(label), bool)
    readings = Readings(
        temperature=float(z["tau"]),
        kappa=float(z["kappa"]),
        align_power=float(z["lam"]),
    )
    parts = contrastive_total.parts(views, label, valid, readings)
    error = losses.masked_mean(losses.absolute_error(prediction, label), valid)
    weights = Weights(*(float(z[k]) for k in ("mu", "eta", "alpha", "beta", "gamma")))
    table.add("L_reg", error, z["L_reg"], tolerance)
    for name, stored in PARTS.items():
        table.add(stored, parts[name], z[stored], tolerance)
    ours = contrastive_total.total(error, parts, weights)
    table.add("total", ours, z["total"], tolerance)


def formula_cutoff(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the cut with the stored channels; ours are drawn as many per sample."""
    kept = jnp.asarray(z["dim_mask"] != 0)
    table.add("y", cutoff.cut(jnp.asarray(z["x"], dtype), kept), z["y"], tolerance)
    batch, width = kept.shape
    drawn = cutoff.kept_channels(jax.random.key(0), batch, width, float(z["ratio"]))
    table.add("channels kept", drawn.sum(1), z["dim_mask"].sum(1), 0.0)


def schedule(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the factors of the rates."""
    for stored, decay in (
        ("warmup_then_linear_decay", True),
        ("warmup_then_constant", False),
    ):
        factor = optim.warmed_up(int(z["total"]), int(z["warmup"]), decay=decay)
        ours = jax.vmap(factor)(jnp.asarray(z["step"], dtype))
        table.add(stored, ours, z[stored], tolerance)


def peer_align_uniform(
    z: Arrays, table: Comparison, dtype: type, tolerance: float
) -> None:
    """Replay Wang and Isola's own code, gradients included."""
    x, y = (jnp.asarray(z[k], dtype) for k in ("x", "y"))
    valid = jnp.ones(len(x), bool)

    def align(x, y, power):
        return losses.masked_mean(contrastive.alignment(x, y, valid, power), valid)

    def combined(x, y):
        return align(x, y, 2.0) + contrastive.uniformity(x, y, valid, 2.0)

    for power in (1, 2):
        stored = f"align_{power}"
        table.add(stored, align(x, y, float(power)), z[stored], tolerance)
    for name, one in (("x", x), ("y", y)):
        for kappa in (1, 2):
            stored = f"uniform_{name}_t{kappa}"
            ours = contrastive.uniformity(one, one, valid, float(kappa))
            table.add(stored, ours, z[stored], tolerance)
    value, gradients = jax.value_and_grad(combined, argnums=(0, 1))(x, y)
    stored = "combo_align2_plus_mean_uniform_t2"
    table.add(stored, value, z[stored], tolerance)
    for name, gradient in zip("xy", gradients, strict=True):
        table.add(f"dcombo_d{name}", gradient, z[f"dcombo_d{name}"], tolerance)


def peer_cpc(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay MMIM's contrast of a vector with its prediction: in-batch keys."""
    x, y, kernel, bias = (jnp.asarray(z[k], dtype) for k in ("x", "y", "W", "b"))
    valid = jnp.ones(len(x), bool)
    predicted = contrastive.unit(y @ kernel.T + bias[None], valid)
    ours = contrastive.info_nce(
        contrastive.unit(x, valid), predicted, valid, 1.0, "keys"
    )
    table.add("nce", losses.masked_mean(ours, valid), z["nce"], tolerance)


def peer_metrics(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay MMIM's metrics; those without label 0 are printed with 4 decimals."""
    del dtype
    ours = metrics.score("mosi", z["preds"], z["truths"])
    names = {"mae": "mae", "corr": "corr", "mult": "acc7"} | {
        "f1": "f1_has0",
        "acc2": "acc2_has0",
    }
    for stored, name in names.items():
        table.add(stored, ours[name], z[stored], tolerance)
    printed = dict(
        line.split(":") for line in str(z["stdout"]).splitlines() if ":" in line
    )
    for title, name in (("F1 score", "f1"), ("Accuracy", "acc2")):
        values = printed[f"{title} all/non0"].split(" over ")[0]
        table.add(
            f"stdout/{name}_non0",
            ours[f"{name}_non0"],
            float(values.split("/")[1]),
            0.501e-4,
        )
    acc5 = float(printed["mult_acc_5"])
    table.add("stdout/acc5", ours["acc5"], acc5, tolerance)


def peer_cutoff(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the cut of the public code with the channels that it drew."""
    kept = jnp.asarray(~z["dim_zeroed"])
    table.add("y", cutoff.cut(jnp.asarray(z["x"], dtype), kept), z["y"], tolerance)
    most = int(z["dim_zeroed"].sum(1).max())
    table.add("requested", int(z["requested"]), max(most, int(z["requested"])), 0.0)
    table.note("which channels it drew is torch's chance; ours draws no channel twice")


def _predicted(z: Arrays, dtype: type) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return P and G, normalised, and that all rows are valid."""
    valid = jnp.ones(len(z["P_raw"]), bool)
    predicted, target = (
        contrastive.unit(jnp.asarray(z[k], dtype), valid) for k in ("P_raw", "G_raw")
    )
    return predicted, target, valid


def _stored(z: Arrays, *starts: str) -> list[str]:
    return [k for k in z if k.startswith(starts)]


def _after(text: str, start: str) -> float:
    return float(text.removeprefix(start))
