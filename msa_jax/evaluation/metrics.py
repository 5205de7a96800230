"""The field's metrics, each defined once: as sums over samples (docs/metrics.md).

Every metric here is a function of a few sums over samples. `terms` says what is summed,
`values` what metrics follow from the sums, in natural units and unrounded. A test set
as it is weighs each sample once (`score`); a resampled one is the same samples with
other counts, so ten thousand resamples are one matrix product, counts times terms.

Scores are compared in float32, as in the public code: a float32 0.1 then counts as
<= 0.1, which after conversion to float64 it would not.
"""

from collections.abc import Mapping

import numpy as np

from msa_jax.evaluation.metric_names import ANSWERS, METRICS
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import EMOTIONS

Values = dict[str, np.ndarray]

# Scores are clipped to +-limit and rounded, halves to the even.
ROUNDED = {"acc3": 1, "acc5": 2, "acc7": 3}
# Classes of CH-SIMS are open below and closed above.
SIMS_EDGES = {"acc3": (-0.1, 0.1), "acc5": (-0.7, -0.1, 0.1, 0.7)}
# A variance below this share of the mean square is rounding: the values are constant.
_CONSTANT = 1e-10
_OF_EMOTIONS = ("acc", "wa", "f1", "acc_none", "f1_none")


def score(kind: str, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Compute the metrics of a kind: `values` of every sample once.

    Args:
        kind: of a data set's sentiment, "mosi" (also MOSEI) or "sims"; or of another
            task, under its name in `tasks.make`.
        prediction: scores [n]; for other tasks logits [n, outputs]. One that is not
            finite makes every metric NaN that depends on answers: a comparison with
            NaN is an answer like any other, and a diverged model must not score.
        truth: labels [n]; emotions' intensities [n, 6].

    Returns: metric -> value; MAE is the mean in float32, to the bit as the originals.

    Raises:
        UserError: an unknown kind.
        ValueError: other shapes, no samples, or labels that are not finite.
    """
    p, y = _checked(kind, prediction, truth)
    finite = np.isfinite(p)
    once = terms(kind, np.where(finite, p, 0)[None, None], y)
    of_sums = values(kind, {name: term.sum(axis=-1) for name, term in once.items()})
    found = {name: float(value[0, 0]) for name, value in of_sums.items()}
    if "mae" in found:
        found["mae"] = float(np.mean(once["error"][0, 0].astype(np.float32)))
    if not finite.all():
        found = {k: v if "_none_" in k else float("nan") for k, v in found.items()}
    return found


def terms(kind: str, prediction: np.ndarray, label: np.ndarray) -> Values:
    """Return what must be summed over samples to get the metrics of a kind.

        mosi        mae, corr of the scores as they are; acc2, f1 with label 0 as
                    positive (has0) or left out (non0); acc3, acc5, acc7 (`ROUNDED`);
                    f1_*_legacy, the weighted F1 with its arguments swapped, as
                    published by much of the field
        sims        the same of scores and labels clipped to +-1: acc2, f1 with 0 as
                    negative; acc3, acc5 (`SIMS_EDGES`)
        two_class   the more likely of negative, positive against the label's sign:
                    acc2, f1 as of mosi
        seven_class, seven_class_sdk
                    the most likely of -3 to 3 against the label's class
                    (`rounded_class`, `sdk_class`): acc7, f1, and mae7, the mean
                    distance of the two classes
        emotion     of each e of `EMOTIONS`, present if its intensity is above 0 and
                    found if its logit is: acc_e, f1_e; wa_e, the mean of sensitivity
                    and specificity; acc_none_e, f1_none_e of the answer "absent" to
                    all; and the means acc_avg, ... over emotions that have a value

    Args:
        kind: as `score` takes it.
        prediction: of systems g and their seeds s, [g, s, n]; logits [g, s, n, k].
            Finite.
        label: [n], or of emotions [n, 6], 0 to 3 (or 0 and 1).

    Returns: name -> [g, s, n] float64, or [1, 1, n] where only labels matter. A term
        is the same function of one sample's answer for all systems, so that swapping
        the answers of two systems swaps their terms.

    Source: thuiar/MMSA@a94e65d and thuiar/Self-MM@1786283, evaluation of MOSI, MOSEI
        and SIMS; UCRN, Tables 1 and 2 (classes); CMU-MultimodalSDK (present: above 0);
        jbdel/MOSEI_UMONS (logits, above 0; "sdk"); amanshenoy/multilogue-net and the
        SDK's weighted accuracy, (TP N / P + TN) / 2N, scikit-learn's balanced one.
    Differs: not rounded to 4 decimals. What has no value is NaN, without a warning:
        non0 where every label is 0 (the originals raise IndexError), corr of constant
        predictions, wa_e where all samples or none show e. acc3 of MOSI is reported.
    """
    match kind:
        case "mosi" | "sims":
            p, y = (np.asarray(x, np.float32) for x in (prediction, label))
            if kind == "sims":
                p, y = np.clip(p, -1, 1), np.clip(y, -1, 1)
                found = _two("", p > 0, y > 0)
                for name, edges in SIMS_EDGES.items():
                    at = np.asarray(edges, np.float32)
                    found[name] = np.searchsorted(at, p) == np.searchsorted(at, y)
            else:
                found = _two("has0", p >= 0, y >= 0)
                found |= _two("non0", p > 0, y > 0, y != 0)
                for name, limit in ROUNDED.items():
                    whole = (np.round(np.clip(x, -limit, limit)) for x in (p, y))
                    found[name] = np.equal(*whole)
            found |= _distance(p, y)
        case "two_class":
            answer = prediction.argmax(axis=-1) == 1
            found = _two("has0", answer, label >= 0)
            found |= _two("non0", answer, label > 0, label != 0)
        case "seven_class" | "seven_class_sdk":
            bins = sdk_class if kind == "seven_class_sdk" else rounded_class
            answer, truth = prediction.argmax(axis=-1), bins(label) + 3
            found = {"distance": np.abs(answer - truth)}
            for c in range(7):
                found |= _two(f"{c}", answer == c, truth == c)
        case "emotion":
            found = {}
            for i, name in enumerate(EMOTIONS):
                found |= _two(name, prediction[..., i] > 0, label[:, i] > 0)
        case _:
            raise _unknown(kind)
    found["total"] = np.ones(len(label))
    shapes = {1: (1, 1, len(label)), 3: prediction.shape[:3]}
    return {
        name: np.broadcast_to(x, shapes[x.ndim]).astype(np.float64)
        for name, x in found.items()
    }


def values(kind: str, sums: Mapping[str, np.ndarray]) -> Values:
    """Return the metrics whose terms have these weighted sums, elementwise.

    Args:
        kind: as in `terms`.
        sums: name -> sums, of shapes that broadcast together.

    Returns: the metrics that `terms` lists, 0 to 1 but for mae (label units), corr and
        mae7 (classes); NaN where one is undefined.
    """
    total = sums["total"]
    with np.errstate(invalid="ignore", divide="ignore"):
        match kind:
            case "mosi" | "sims":
                found = _of_scores(sums)
                if kind == "mosi":
                    found |= _of_has0_and_non0(sums)
                else:
                    found |= {"acc2": _accuracy("", sums), "f1": _f1("", sums)}
                for name in ROUNDED if kind == "mosi" else SIMS_EDGES:
                    found[name] = sums[name] / total
                for ending in ("_has0", "_non0") if kind == "mosi" else ("",):
                    f1 = _f1(ending.strip("_"), sums, legacy=True)
                    found[f"f1{ending}_legacy"] = f1
            case "two_class":
                found = _of_has0_and_non0(sums)
            case "seven_class" | "seven_class_sdk":
                each = [_counts(f"{c}", sums) for c in range(7)]
                found = {
                    "acc7": sum(hits for *_, hits in each) / total,
                    "f1": sum(_f1_of_class(*counts) for _, *counts in each) / total,
                    "mae7": sums["distance"] / total,
                }
            case "emotion":
                found = _of_emotions(sums)
            case _:
                raise _unknown(kind)
    shape = np.broadcast_shapes(*(x.shape for x in sums.values()))
    return {name: np.broadcast_to(x, shape) for name, x in found.items()}


def sdk_class(score: np.ndarray) -> np.ndarray:
    """Bin scores by magnitude rounded up: -3 to 3, 0 for 0 alone.

    Source: CMU-MultimodalSDK's 7-class labels, jbdel/MOSEI_UMONS.
    """
    score = np.asarray(score)
    return np.clip(np.sign(score) * np.ceil(np.abs(score)), -3, 3).astype(np.int32)


def rounded_class(score: np.ndarray) -> np.ndarray:
    """Bin scores to the nearest whole number, -3 to 3; halves to the even one.

    Source: MulT, MMSA: what their Acc-7 compares.
    """
    return np.round(np.clip(score, -3, 3)).astype(np.int32)


def _checked(kind: str, prediction, truth) -> tuple[np.ndarray, np.ndarray]:
    if kind not in METRICS:
        raise _unknown(kind)
    p, y = np.asarray(prediction), np.asarray(truth)
    width = (len(ANSWERS[kind]),) if kind in ANSWERS else ()
    of_label = width if kind == "emotion" else ()
    n = len(y) if y.ndim else 0
    if not n or p.shape != (n, *width) or y.shape != (n, *of_label):
        wanted = ["[n]" if not w else f"[n, {w[0]}]" for w in (width, of_label)]
        raise ValueError(
            f"metrics need predictions {wanted[0]} and labels {wanted[1]} of at least "
            f"one sample, got shapes {p.shape} and {y.shape}"
        )
    if not np.isfinite(y).all():
        raise ValueError("metrics need finite labels")
    return p, y


def _unknown(kind: str) -> UserError:
    return UserError(f"metrics kind {kind!r} is unknown: use 'mosi' or 'sims'")


def _distance(p: np.ndarray, y: np.ndarray) -> Values:
    """Terms of mae and corr; errors are float32 differences."""
    found = {"error": np.abs(p - y)}
    p, y = p.astype(np.float64), y.astype(np.float64)
    # A shift changes no correlation, and without one the sums cancel badly. It is one
    # shift for all systems of a seed, or swapped answers would not add up.
    p, y = p - p.mean(axis=(0, 2), keepdims=True), y - y.mean()
    return found | {"p": p, "y": y, "pp": p * p, "yy": y * y, "py": p * y}


def _two(
    name: str, answer: np.ndarray, truth: np.ndarray, kept: np.ndarray | None = None
) -> Values:
    """Terms of yes-or-no answers; `kept`: which samples count, where not all do."""
    whole = {} if kept is None else {f"{name} total": kept}
    if kept is not None:
        answer, truth = answer & kept, truth & kept
    return whole | {
        f"{name} truth": truth,
        f"{name} answer": answer,
        f"{name} hits": answer & truth,
    }


def _counts(name: str, sums: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return how many samples there are, and how many yes of truth, answer, both."""
    counts = (sums[f"{name} {what}"] for what in ("truth", "answer", "hits"))
    return sums.get(f"{name} total", sums["total"]), *counts


def _of_scores(sums: Mapping[str, np.ndarray]) -> Values:
    n = sums["total"]
    p, y, pp, yy = (sums[name] / n for name in ("p", "y", "pp", "yy"))
    spread_p, spread_y = pp - p * p, yy - y * y
    varies = (spread_p > _CONSTANT * pp) & (spread_y > _CONSTANT * yy)
    corr = (sums["py"] / n - p * y) / np.sqrt(spread_p * spread_y)
    corr = np.clip(corr, -1, 1)
    return {"mae": sums["error"] / n, "corr": np.where(varies, corr, np.nan)}


def _of_has0_and_non0(sums: Mapping[str, np.ndarray]) -> Values:
    of = {"acc2": _accuracy, "f1": _f1}
    both = ("has0", "non0")
    return {
        f"{k}_{zero}": value(zero, sums) for k, value in of.items() for zero in both
    }


def _of_emotions(sums: Mapping[str, np.ndarray]) -> Values:
    found = {}
    for name in EMOTIONS:
        n, truth, answer, hits = _counts(name, sums)
        never = {f"{name} answer": 0 * truth, f"{name} hits": 0 * truth}
        rest = n - truth - answer + hits  # both say no
        each = (
            _accuracy(name, sums),
            (hits / truth + rest / (n - truth)) / 2,  # 0 / 0 is NaN
            _f1(name, sums),
            _accuracy(name, {**sums, **never}),
            _f1(name, {**sums, **never}),
        )
        found |= {f"{k}_{name}": v for k, v in zip(_OF_EMOTIONS, each, strict=True)}
    for key in _OF_EMOTIONS:
        each = np.stack([found[f"{key}_{name}"] for name in EMOTIONS])
        known = np.isfinite(each)
        found[f"{key}_avg"] = np.where(known, each, 0).sum(0) / known.sum(0)
    return found


def _accuracy(name: str, sums: Mapping[str, np.ndarray]) -> np.ndarray:
    n, truth, answer, hits = _counts(name, sums)
    return (n - truth - answer + 2 * hits) / n


def _f1(name: str, sums: Mapping[str, np.ndarray], legacy: bool = False) -> np.ndarray:
    """Return F1 of yes and of no, weighted by the truth; of `legacy` by the answers."""
    n, truth, answer, hits = _counts(name, sums)
    by, other = (answer, truth) if legacy else (truth, answer)
    rest = n - truth - answer + hits
    return (_f1_of_class(n - by, n - other, rest) + _f1_of_class(by, other, hits)) / n


def _f1_of_class(by: np.ndarray, other: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Return one class's F1 times its weight; a class that occurs nowhere has none."""
    both = by + other
    return np.where(both > 0, by * 2 * hits / np.where(both > 0, both, 1), 0)
