"""UCRN's formulas and the field's classes and metrics, in plain NumPy loops.

Independent of msa_jax. Source: UCRN, Eq. 3 to 9 and section 4.4, in the readings that
docs/fidelity.md lists.
"""

import math

import numpy as np

Arrays = dict[str, np.ndarray]


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def _js(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found = []
    for x, y in zip(a, b, strict=True):
        p, q = _softmax(x), _softmax(y)
        found.append((_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2)
    return np.asarray(found)


def divergence(z: Arrays) -> Arrays:
    """Eq. 7 and 8, and the public formula's closed form."""
    x = {k: z[f"x_{k}"] for k in "lav"}
    found, total, published = {}, 0.0, 0.0
    for pair in ("la", "av", "vl"):
        a, b = x[pair[0]], x[pair[1]]
        found[f"js_{pair}/per"] = _js(a, b)
        found[f"js_{pair}"] = np.mean(_js(a, b))
        total += np.mean(_js(a, b))
        published += ((np.exp(a) - np.exp(b)) * (a - b)).sum() / 4
    return found | {
        "L_M_sum3": np.asarray(total),
        "L_M_mean3": np.asarray(total / 3),
        "upper_bound_pair_ln2": np.asarray(math.log(2)),
        "scaled60/js_la/per": _js(60 * x["l"], 60 * x["a"]),
        "code_closed_form_three": np.asarray(published / 3 / len(x["l"])),
    }


def gates(z: Arrays) -> Arrays:
    """Eq. 9 with ReLU, on sequences, twice, and squeezed through a sigmoid."""

    def relu_gate(x: np.ndarray, kernel: str, bias: str) -> np.ndarray:
        return np.maximum(x @ z[kernel] + z[bias], 0)

    x, sequence = z["x"], z["x_seq"]
    once = x * relu_gate(x, "W", "b")
    over_time = [s * relu_gate(s.mean(0), "W", "b") for s in sequence]
    squeezed = np.maximum(x @ z["se_W1"], 0) @ z["se_W2"]
    return {
        "gate_relu": relu_gate(x, "W", "b"),
        "y_relu": once,
        "y_seq_gap_time": np.stack(over_time),
        "y_se_sigmoid": x / (1 + np.exp(-squeezed)),
        "y_relu_stack2": once * relu_gate(once, "stack_W2", "stack_b2"),
    }


def layer(z: Arrays) -> Arrays:
    """Eq. 3 to 6, sample by sample and head by head."""
    heads, found = int(z["heads"]), {}
    size = z["x"].shape[2] // heads
    for name in ("causal", "full"):
        rows: list[list[np.ndarray]] = []
        for x in z["x"]:
            parts = []
            for k in range(heads):
                own = x[:, k * size : (k + 1) * size]
                q, key, v = (own @ z[f"W{n}{k}"] + z[f"b{n}{k}"] for n in "qkv")
                mixed = []
                for t in range(len(x)):
                    last = t + 1 if name == "causal" else len(x)
                    weight = _softmax(key[:last] @ q[t] / math.sqrt(size))
                    mixed.append(weight @ v[:last])
                parts.append(np.stack(mixed) + own)
            eq3 = np.concatenate(parts, axis=1)
            eq4 = eq3 @ z["fc1_W"] + z["fc1_b"]
            centred = eq4 - eq4.mean(1, keepdims=True)
            scale = np.sqrt((centred**2).mean(1, keepdims=True) + float(z["ln_eps"]))
            normed = centred / scale * z["ln_g"] + z["ln_b"]
            hidden = np.maximum(normed @ z["fc2_W"] + z["fc2_b"], 0)
            eq5 = hidden @ z["fc3_W"] + z["fc3_b"] + eq4
            rows.append([eq3, eq4, eq5, eq5[-1]])
        names = ("eq3", "eq4", "eq5", "eq6_last")
        for stored, values in zip(names, zip(*rows, strict=True), strict=True):
            found[f"{name}/{stored}"] = np.stack(values)
    return found


def _wa(found: np.ndarray, truth: np.ndarray) -> float:
    """The SDK's: (TP N / P + TN) / 2N with N negatives and P positives."""
    positive, negative = np.sum(truth), np.sum(~truth)
    right = np.sum(found & truth) * (negative / positive) + np.sum(~found & ~truth)
    return right / (2 * negative)


def _f1(found: np.ndarray, truth: np.ndarray) -> float:
    total = 0.0
    for side in (True, False):
        hits = np.sum((found == side) & (truth == side))
        support, guessed = np.sum(truth == side), np.sum(found == side)
        total += support * 2 * hits / (support + guessed) if support else 0
    return total / len(truth)


def emotions(z: Arrays) -> Arrays:
    """Metrics per emotion, their averages, cross-entropy, and the answer "absent"."""
    truth, x = z["truth"] > 0, z["logits"]
    found, never = x > 0, np.zeros_like(truth)
    wa = [_wa(a, b) for a, b in zip(found.T, truth.T, strict=True)]
    acc = (found == truth).mean(0)
    chance = 1 / (1 + np.exp(-x))
    return {
        "weighted_acc": np.asarray(wa),
        "acc": acc,
        "weighted_f1": np.asarray(
            [_f1(a, b) for a, b in zip(found.T, truth.T, strict=True)]
        ),
        "avg_wa": np.mean(wa),
        "avg_acc": acc.mean(),
        "bce_mean": -np.log(np.where(truth, chance, 1 - chance)).mean(),
        "acc_all_negative": (~truth).mean(0),
        "wa_all_negative": np.asarray(
            [_wa(a, b) for a, b in zip(never.T, truth.T, strict=True)]
        ),
    }


def noise(z: Arrays) -> Arrays:
    """Noise with given draws."""
    x, b = z["x"], z["bern"]
    return {
        "x_additive": x + b,
        "x_mult_drop": x * b,
        "x_additive_if_present": x + b * z["present"],
    }


def sdk_class(score: float) -> int:
    """The seven classes by magnitude rounded up, from 0."""
    edges = ((-2, 0), (-1, 1), (0, 2))
    for edge, number in edges:
        if score < edge:
            return number
    return 3 if score == 0 else 4 if score <= 1 else 5 if score <= 2 else 6


def seven_classes(z: Arrays) -> Arrays:
    """Both ways to seven classes, from 0."""
    rounded = [round(min(max(float(s), -3), 3)) + 3 for s in z["score"]]
    return {
        "sdk_class": np.asarray([sdk_class(s) for s in z["score"]]),
        "round_class": np.asarray(rounded),
    }


def tbje_classes(z: Arrays) -> Arrays:
    """TBJE's seven and two classes."""
    seven = np.asarray([sdk_class(s) for s in z["score"]])
    return {"cls7": seven, "cls2": (z["score"] >= 0).astype(int)}


def peer_metrics(z: Arrays) -> Arrays:
    """What the public evaluation prints; "reg" is rounded to 4 decimals."""
    p, y = z["preds"], z["truths"]
    mae = np.mean(np.abs(p - y))
    corr = np.corrcoef(p, y)[0][1]

    def rounded(limit: int) -> float:
        a, b = (np.round(np.clip(v, -limit, limit)) for v in (p, y))
        return float(np.mean(a == b))

    kept = y != 0
    reg = {
        "Has0_acc_2": np.mean((p >= 0) == (y >= 0)),
        "Has0_F1_score": _f1(p >= 0, y >= 0),
        "Non0_acc_2": np.mean((p[kept] > 0) == (y[kept] > 0)),
        "Non0_F1_score": _f1(p[kept] > 0, y[kept] > 0),
        "Mult_acc_5": rounded(2),
        "Mult_acc_7": rounded(3),
        "MAE": mae,
        "Corr": corr,
    }

    def swapped(rows: np.ndarray) -> np.ndarray:
        a, b = p[rows] > 0, y[rows] > 0
        return np.asarray([_f1(b, a), np.mean(a == b), mae, corr])

    truth, found = z["emo_truth"] > 0, z["emo_logits"] > 0
    wa = [_wa(a, b) for a, b in zip(found.T, truth.T, strict=True)]
    return {
        **{f"reg/{k}": np.asarray(round(float(v), 4)) for k, v in reg.items()},
        "senti_excl0": swapped(kept),
        "senti_incl0": swapped(np.ones(len(p), bool)),
        "emo_wa": np.asarray(wa),
    }
