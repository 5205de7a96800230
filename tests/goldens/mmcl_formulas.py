"""MMCL's formulas and the code that it cites, in plain NumPy loops over float64.

Independent of msa_jax. Source: MMCL, Eq. 4 to 10, in the readings that docs/fidelity.md
lists; declare-lab/Multimodal-Infomax (metrics); dinghanshen/Cutoff.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np

Arrays = dict[str, np.ndarray]
Rows = list[np.ndarray]
TEMPERATURES = np.asarray([0.05, 0.1, 0.7])  # of files that name none
KAPPAS = np.asarray([1.0, 2.0, 3.0])


def _units(x: np.ndarray) -> Rows:
    """Scale every row to length 1; zeros stay zeros."""
    lengths = [math.sqrt(math.fsum(v * v for v in row)) for row in x]
    return [r / n if n > 0 else r for r, n in zip(x, lengths, strict=True)]


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum(p * q for p, q in zip(a, b, strict=True))


def _square(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def _log_sum(scores: Iterable[float]) -> float:
    """Return log sum exp."""
    scores = list(scores)
    top = max(scores)
    return top + math.log(math.fsum(math.exp(s - top) for s in scores))


def _temperatures(z: Arrays) -> list[float]:
    return [float(t) for t in z.get("temperatures", TEMPERATURES)]


def _text(number: float) -> str:
    return f"{number:g}"


def uni(q: Rows, k: Rows, tau: float, reading: str) -> list[float]:
    """Eq. 4 per query, in one of its readings."""
    found = []
    for i, query in enumerate(q):
        queries = [_dot(query, c) / tau for c in q]
        keys = [_dot(query, c) / tau for c in k]
        others = queries[:i] + queries[i + 1 :]
        among = {
            "eq4_literal": queries,
            "prose": [keys[i], *others],
            "inbatch_keys": keys,
            "simclr": keys + others,
        }
        found.append(_log_sum(among[reading]) - keys[i])
    return found


def info_nce(z: Arrays) -> Arrays:
    """Every reading of Eq. 4, of lengthened and of raw vectors."""
    raw, found = (list(z["q"]), list(z["k"])), {}
    lengthened = _units(z["q"]), _units(z["k"])
    for tau in _temperatures(z):
        for reading in ("eq4_literal", "prose", "inbatch_keys", "simclr"):
            name = f"{reading}/tau{_text(tau)}"
            per = uni(*lengthened, tau, reading)
            found[f"{name}/norm/per"] = np.asarray(per)
            found[f"{name}/norm/mean"] = np.asarray(_mean(per))
            per = uni(*raw, tau, reading)
            found[f"{name}/raw/mean"] = np.asarray(_mean(per))
    return found


def cross(p: Rows, g: Rows, tau: float) -> dict[str, float]:
    """Eq. 5: each pairing of queries and keys; sum and mean of the paper's three."""
    sides = {"origin": g, "predict": p}
    found = {
        f"{a}_{b}": _mean(uni(sides[a], sides[b], tau, "inbatch_keys"))
        for a in sides
        for b in sides
    }
    named = ("origin_origin", "predict_predict", "origin_predict")
    total = math.fsum(found[name] for name in named)
    return found | {"sum3": total, "mean3": total / 3}


def cross_contrast(z: Arrays) -> Arrays:
    """Eq. 5 at each temperature."""
    p, g = _units(z["P_raw"]), _units(z["G_raw"])
    return {
        f"tau{_text(tau)}/{name}": np.asarray(value)
        for tau in _temperatures(z)
        for name, value in cross(p, g, tau).items()
    }


def align(p: Rows, g: Rows, power: float) -> float:
    """Eq. 6."""
    return _mean(math.sqrt(_square(a, b)) ** power for a, b in zip(p, g, strict=True))


def spread(x: Rows, kappa: float) -> float:
    """Wang and Isola's uniformity: log of the mean over the distinct pairs of a set."""
    pairs = [_square(x[i], x[j]) for i in range(len(x)) for j in range(i)]
    return math.log(_mean(math.exp(-kappa * d) for d in pairs))


def align_uniform(z: Arrays) -> Arrays:
    """Eq. 6 and 7 in every reading."""
    p, g = _units(z["P_raw"]), _units(z["G_raw"])
    taxicab = _mean(np.abs(a - b).sum() for a, b in zip(p, g, strict=True))
    found = {
        "align_lambda1": align(p, g, 1),
        "align_lambda2": align(p, g, 2),
        "align_elementwise_L1_mean": taxicab,
    }
    for kappa in z.get("kappas", KAPPAS):
        matched = [_square(a, b) for a, b in zip(p, g, strict=True)]
        crossed = [_square(a, b) for a in p for b in g]
        readings = {
            "eq7_literal": math.log(_mean(math.exp(-kappa * d) for d in matched)),
            "wi_P": spread(p, kappa),
            "wi_G": spread(g, kappa),
            "wi_mean_PG": (spread(p, kappa) + spread(g, kappa)) / 2,
            "wi_union": spread(p + g, kappa),
            "allpairs_PxG": math.log(_mean(math.exp(-kappa * d) for d in crossed)),
        }
        found |= {f"{k}_kappa{_text(kappa)}": v for k, v in readings.items()}
    return {k: np.asarray(v) for k, v in found.items()}


def sentiment(
    pool: Rows, y: np.ndarray, tau: float, reading: str, with_self: bool
) -> list[float]:
    """Eq. 8 per anchor; NaN for an anchor without positives."""
    found = []
    for i, anchor in enumerate(pool):
        candidates = [j for j in range(len(pool)) if with_self or j != i]
        scores = {j: _dot(anchor, pool[j]) / tau for j in candidates}
        near = [scores[j] for j in candidates if np.sign(y[j]) == np.sign(y[i])]
        if not near:
            found.append(math.nan)
            continue
        found.append(
            _log_sum(scores.values())
            - {
                "log_outside_sum": _log_sum(near),
                "log_outside_mean": _log_sum(near) - math.log(len(near)),
                "log_inside": _mean(near),
            }[reading]
        )
    return found


def _counted_mean(values: list[float]) -> float:
    return _mean(v for v in values if not math.isnan(v))


def sentiment_contrast(z: Arrays) -> Arrays:
    """Eq. 8 in every reading, over targets and predictions and over targets alone."""
    p, g = _units(z["P_raw"]), _units(z["G_raw"])
    pools = {"GP": (g + p, np.tile(z["y"], 2)), "Gonly": (g, z["y_singleton"])}
    found = {"cls": np.sign(z["y"])}
    for name, (pool, y) in pools.items():
        for reading in ("log_outside_sum", "log_outside_mean", "log_inside"):
            for how in ("noself", "self"):
                for tau in _temperatures(z):
                    per = sentiment(pool, y, tau, reading, how == "self")
                    key = f"{name}/{reading}/{how}/tau{_text(tau)}"
                    found[f"{key}/per"] = np.asarray(per)
                    found[key] = np.asarray(_counted_mean(per))
    return found


def total(z: Arrays) -> Arrays:
    """Eq. 10 and its parts, each summed over audio and vision."""
    tau, kappa = float(z["tau"]), float(z["kappa"])
    errors = [abs(a - b) for a, b in zip(z["yhat"], z["y"], strict=True)]
    found = dict.fromkeys(("L_uni", "L_sent", "L_cross", "L_align", "L_uniform"), 0.0)
    for u in "av":
        names = ("F", "F_aug", "P_raw", "G_raw")
        f, augmented, p, g = (_units(z[f"{u}/{n}"]) for n in names)
        per = sentiment(g + p, np.tile(z["y"], 2), tau, "log_outside_sum", False)
        found["L_uni"] += _mean(uni(f, augmented, tau, "prose"))
        found["L_sent"] += _counted_mean(per)
        found["L_cross"] += cross(p, g, tau)["mean3"]
        found["L_align"] += align(p, g, float(z["lam"]))
        found["L_uniform"] += (spread(p, kappa) + spread(g, kappa)) / 2
    names = ("mu", "eta", "alpha", "beta", "gamma")
    weighted = [float(z[n]) * v for n, v in zip(names, found.values(), strict=True)]
    found |= {"L_reg": _mean(errors), "total": math.fsum([_mean(errors), *weighted])}
    return {k: np.asarray(v) for k, v in found.items()}


def cutoff(z: Arrays) -> Arrays:
    """Whole channels of a sample become 0, as the mask says."""
    y = z["x"].copy()
    for sample, mask in zip(y, z["dim_mask"], strict=True):
        for channel, kept in enumerate(mask):
            if not kept:
                sample[:, channel] = 0
    return {"y": y}


def peer_cutoff(z: Arrays) -> Arrays:
    """Cutoff's, with the channels that it drew."""
    requested = np.asarray(int(z["x"].shape[2] * float(z["ratio"])))
    return cutoff({"x": z["x"], "dim_mask": ~z["dim_zeroed"]}) | {
        "requested": requested
    }


def schedule(z: Arrays) -> Arrays:
    """Linear warm-up, then linear decay to 0 or a constant rate."""
    total, warmup = int(z["total"]), int(z["warmup"])
    decaying, constant = [], []
    for step in (int(s) for s in z["step"]):
        rising = step < warmup
        constant.append(step / warmup if rising else 1.0)
        left = max(0, total - step) / max(1, total - warmup)
        decaying.append(step / warmup if rising else left)
    return {
        "warmup_then_linear_decay": np.asarray(decaying),
        "warmup_then_constant": np.asarray(constant),
    }


def _weighted_f1(found: list[bool], truth: list[bool]) -> float:
    both = list(zip(found, truth, strict=True))
    value = 0.0
    for side in (True, False):
        support, guessed = truth.count(side), found.count(side)
        if support:
            f1 = 2 * both.count((side, side)) / (support + guessed)
            value += support / len(truth) * f1
    return value


def _share(found: list, truth: list) -> float:
    return _mean(float(a == b) for a, b in zip(found, truth, strict=True))


def peer_metrics(z: Arrays) -> Arrays:
    """MMIM's evaluation: values and what it prints."""
    p, y = ([float(v) for v in z[k]] for k in ("preds", "truths"))
    dp, dy = ([v - _mean(x) for v in x] for x in (p, y))
    spreads = math.fsum(v * v for v in dp) * math.fsum(v * v for v in dy)
    corr = math.fsum(a * b for a, b in zip(dp, dy, strict=True)) / math.sqrt(spreads)
    mae = np.float32(_mean(abs(a - b) for a, b in zip(p, y, strict=True)))

    def rounded(limit: int) -> float:  # Python's round is half to even, too
        a, b = ([round(min(max(v, -limit), limit)) for v in x] for x in (p, y))
        return _share(a, b)

    kept = [(a, b) for a, b in zip(p, y, strict=True) if b != 0]
    sides: dict[str, tuple[list[bool], list[bool]]] = {
        "has0": ([v >= 0 for v in p], [v >= 0 for v in y]),
        "non0": ([a > 0 for a, _ in kept], [b > 0 for _, b in kept]),
    }

    def pair(score: Callable[[list[bool], list[bool]], float]) -> str:
        return "/".join(f"{round(score(*sides[k]), 4)}" for k in sides)

    lines = (
        f"MAE:  {mae}",
        f"Correlation Coefficient:  {corr}",
        f"mult_acc_7:  {rounded(3)}",
        f"mult_acc_5:  {rounded(2)}",
        f"F1 score all/non0: {pair(_weighted_f1)} over {len(p)}/{len(kept)}",
        f"Accuracy all/non0: {pair(_share)}",
        "-" * 50 + "\n",
    )
    return {
        "mae": np.asarray(mae),
        "corr": np.asarray(corr),
        "mult": np.asarray(rounded(3)),
        "f1": np.asarray(_weighted_f1(*sides["has0"])),
        "acc2": np.asarray(_share(*sides["has0"])),
        "stdout": np.asarray("\n".join(lines)),
    }
