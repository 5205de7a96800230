"""Replays of UCRN: its formulas, its metrics, and public code's own outputs."""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np

from msa_jax.data import corruptions
from msa_jax.evaluation import metrics
from msa_jax.ground.names import EMOTIONS
from msa_jax.layers.encoder_stack import mean_step
from msa_jax.layers.quality import ReluGate, SqueezeGate
from msa_jax.methods import divergence, losses
from msa_jax.studies.parity.replays import ucrn_network
from msa_jax.studies.parity.replays.compare import Comparison

Arrays = Mapping[str, np.ndarray]
# Tolerances in float64 and in float32.
FORMULA = (1e-10, 1e-5)
PEER = (1e-5, 1e-5)
FULL_SIZE = (1e-4, 1e-4)
EXACT = (0.0, 0.0)
ROUNDED = 0.501e-4


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
        "ucrn_formula_mjs": (formula_divergence, FORMULA),
        "ucrn_formula_sqil": (gates, FORMULA),
        "ucrn_formula_urm_layer": (ucrn_network.layer, FORMULA),
        "ucrn_formula_emotion_metrics": (emotions, FORMULA),
        "ucrn_formula_noise": (noise, FORMULA),
        "ucrn_formula_acc7_binning": (seven_classes, EXACT),
        "ucrn_peer_encoder": (ucrn_network.encoder, PEER),
        "ucrn_peer_sqlayer": (peer_gate, PEER),
        "ucrn_peer_model_": (ucrn_network.model, PEER),
        "ucrn_peer_fullsize": (ucrn_network.full_size, FULL_SIZE),
        "ucrn_peer_multijsd": (peer_divergence, PEER),
        "ucrn_peer_metrics": (peer_metrics, PEER),
        "ucrn_peer_tbje_binning": (peer_classes, EXACT),
    }


def formula_divergence(
    z: Arrays, table: Comparison, dtype: type, tolerance: float
) -> None:
    """Replay Eq. 7 and 8, where a softmax saturates too, and the public formula."""
    x = {k: jnp.asarray(z[f"x_{k}"], dtype) for k in "lav"}
    valid = jnp.ones(len(x["l"]), bool)
    for pair in ("la", "av", "vl"):
        ours = divergence.jensen_shannon(x[pair[0]], x[pair[1]])
        table.add(f"js_{pair}/per", ours, z[f"js_{pair}/per"], tolerance)
        mean = losses.masked_mean(ours, valid)
        table.add(f"js_{pair}", mean, z[f"js_{pair}"], tolerance)
    total = losses.masked_mean(divergence.multimodal(x, valid), valid)
    table.add("L_M_sum3", total, z["L_M_sum3"], tolerance)
    table.add("L_M_mean3", total / 3, z["L_M_mean3"], tolerance)
    far = divergence.jensen_shannon(60 * x["l"], 60 * x["a"])
    table.add("scaled60/js_la/per", far, z["scaled60/js_la/per"], tolerance)
    apart = divergence.jensen_shannon(
        *(1e3 * jnp.eye(1, 2, k, dtype=dtype) for k in (0, 1))
    )
    table.add("upper_bound_pair_ln2", apart[0], z["upper_bound_pair_ln2"], tolerance)
    published = losses.masked_mean(divergence.multimodal(x, valid, "code"), valid)
    stored = "code_closed_form_three"
    table.add(stored, published, z[stored], tolerance)


def peer_divergence(
    z: Arrays, table: Comparison, dtype: type, tolerance: float
) -> None:
    """Replay the public loss: of three and of two modalities, over several steps."""
    for scenario in dict.fromkeys(k.split("/")[0] for k in z):
        x = [jnp.asarray(z[f"{scenario}/h{i}"].swapaxes(0, 1), dtype) for i in range(3)]
        ours = {
            "one": 0.0,
            "two_default": divergence.published_pair(x[0], x[1], softmax=True).mean(),
        }
        for softmax, name in ((False, "raw"), (True, "softmax")):
            every = jnp.stack(
                [
                    divergence.published_pair(a, b, softmax=softmax)
                    for a, b in combinations(x, 2)
                ]
            )
            ours[f"three_{name.replace('raw', 'default')}"] = every.mean()
            ours[f"pair_{name}_01"] = every[0].sum()
        if x[0].shape[1] == 1:
            kept = {str(i): h[:, 0] for i, h in enumerate(x)}
            valid = jnp.ones(len(x[0]), bool)
            two = {k: kept[k] for k in "01"}
            for name, of in (("three_default", kept), ("two_default", two)):
                found = divergence.multimodal(of, valid, "code")
                ours[name] = losses.masked_mean(found, valid)
        for name, value in ours.items():
            stored = f"{scenario}/{name}"
            table.add(stored, value, z[stored], tolerance)


def gates(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the ReLU gate, alone, stacked and on sequences, and the squeezing gate."""

    def array(name: str) -> Any:
        return jnp.asarray(z[name], dtype)

    def relu(x: Any, kernel: str, bias: str) -> Any:
        params = {"linear": {"kernel": array(kernel), "bias": array(bias)}}
        return ReluGate().apply({"params": params}, x)

    x, sequence = array("x"), array("x_seq")
    gate = relu(x, "W", "b")
    table.add("gate_relu", gate, z["gate_relu"], tolerance)
    table.add("y_relu", x * gate, z["y_relu"], tolerance)
    twice = x * gate * relu(x * gate, "stack_W2", "stack_b2")
    table.add("y_relu_stack2", twice, z["y_relu_stack2"], tolerance)
    pooled = mean_step(sequence, jnp.ones(sequence.shape[:2], bool))
    ours = sequence * relu(pooled, "W", "b")[:, None]
    table.add("y_seq_gap_time", ours, z["y_seq_gap_time"], tolerance)
    params = {"squeeze_kernel": array("se_W1"), "excite_kernel": array("se_W2")}
    squeeze = SqueezeGate(x.shape[1] // z["se_W1"].shape[1])
    ours = x * squeeze.apply({"params": params}, x)
    table.add("y_se_sigmoid", ours, z["y_se_sigmoid"], tolerance)


def peer_gate(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the public gate, of one step and of the mean over several."""
    params = {
        "squeeze_kernel": jnp.asarray(z["w/fc.0.weight"].T, dtype),
        "excite_kernel": jnp.asarray(z["w/fc.2.weight"].T, dtype),
    }
    gate = SqueezeGate(int(z["reduction"]))
    for stored in (k for k in z if k.startswith("x_")):
        x = jnp.asarray(z[stored], dtype)
        every = jnp.ones((x.shape[1], x.shape[0]), bool)
        pooled = mean_step(x.swapaxes(0, 1), every)
        weight: Any = gate.apply({"params": params}, pooled)
        name = stored.replace("x_", "y_")
        table.add(name, x * weight[None], z[name], tolerance)
    table.add("channel", len(params["squeeze_kernel"]), z["channel"], 0.0)


def emotions(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the emotions' metrics, their loss, and the answer "absent" to all."""
    logit, truth = z["logits"].astype(dtype), z["truth"]
    ours = metrics.score("emotion", logit, truth)
    names = {"weighted_acc": "wa", "acc": "acc", "weighted_f1": "f1"}
    names["acc_all_negative"] = "acc_none"
    for stored, name in names.items():
        each = [ours[f"{name}_{e}"] for e in EMOTIONS]
        table.add(stored, each, z[stored], tolerance)
    table.add("avg_wa", ours["wa_avg"], z["avg_wa"], tolerance)
    table.add("avg_acc", ours["acc_avg"], z["avg_acc"], tolerance)
    never = metrics.score("emotion", np.full_like(logit, -1), truth)
    none = [never[f"wa_{e}"] for e in EMOTIONS]
    table.add("wa_all_negative", none, z["wa_all_negative"], tolerance)
    error = losses.binary_cross_entropy(jnp.asarray(logit), jnp.asarray(truth > 0))
    table.add("bce_mean", error.mean(), z["bce_mean"], tolerance)


def noise(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the noise with the stored draws."""
    x, drawn = jnp.asarray(z["x"], dtype), jnp.asarray(z["bern"] > 0)
    ours = {
        "x_additive": corruptions.noisy(x, drawn, "additive"),
        "x_mult_drop": corruptions.noisy(x, ~drawn, "multiplicative"),
        "x_additive_if_present": corruptions.noisy(
            x, drawn & jnp.asarray(z["present"] > 0), "additive"
        ),
    }
    for stored, value in ours.items():
        table.add(stored, value, z[stored], tolerance)


def seven_classes(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay both ways to seven classes."""
    score = z["score"].astype(dtype)
    table.add("sdk_class", metrics.sdk_class(score) + 3, z["sdk_class"], 0.0)
    ours = metrics.rounded_class(score) + 3
    table.add("round_class", ours, z["round_class"], tolerance)


def peer_classes(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay TBJE's classes; its two divide at 0, which is positive."""
    score = z["score"].astype(dtype)
    ours = metrics.sdk_class(score) + 3
    table.add("cls7", ours, z["cls7"], tolerance)
    table.add("cls2", score >= 0, z["cls2"], tolerance)


def peer_metrics(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the public metrics: rounded ones, those of MulT, weighted accuracy."""
    del dtype  # the originals compute in float32
    prediction, truth = z["preds"], z["truths"]
    ours = metrics.score("mosi", prediction, truth)
    names = {"Mult_acc_5": "acc5", "Mult_acc_7": "acc7", "MAE": "mae", "Corr": "corr"}
    for kind in ("has0", "non0"):
        names |= {f"{kind.title()}_acc_2": f"acc2_{kind}"}
        names |= {f"{kind.title()}_F1_score": f"f1_{kind}"}
    for stored, name in names.items():
        table.add(f"reg/{stored}", ours[name], z[f"reg/{stored}"], ROUNDED)
    last = (ours["mae"], ours["corr"])
    excluding = (ours["f1_non0_legacy"], ours["acc2_non0"], *last)
    table.add("senti_excl0", excluding, z["senti_excl0"], tolerance)
    # MulT's other reading counts label 0 as negative, as SIMS does.
    positive = metrics.score("sims", prediction, truth)
    including = (positive["f1_legacy"], positive["acc2"], *last)
    table.add("senti_incl0", including, z["senti_incl0"], tolerance)
    each = metrics.score("emotion", z["emo_logits"], z["emo_truth"])
    wa = [each[f"wa_{e}"] for e in EMOTIONS]
    table.add("emo_wa", wa, z["emo_wa"], tolerance)
