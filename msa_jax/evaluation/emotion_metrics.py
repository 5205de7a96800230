"""Metrics of the six emotions of MOSEI, and the two ways to seven sentiment classes."""

from collections.abc import Callable

import numpy as np

from msa_jax.ground.names import EMOTIONS


def emotion_metrics(logit: np.ndarray, intensity: np.ndarray) -> dict[str, float]:
    """Compare six yes-or-no answers per sample with people's intensities.

    An emotion is present if its intensity is above 0, and found if its logit is.

    Args:
        logit: [n, 6], in the order of `EMOTIONS`.
        intensity: [n, 6], 0 to 3, or 0 and 1.

    Returns: per emotion e, in 0 to 1: acc_e; wa_e, the mean of sensitivity and
        specificity; f1_e, weighted by the support of both classes; acc_none_e and
        f1_none_e, those of the answer "absent" for every sample (its wa is .5); and
        the averages acc_avg, wa_avg, f1_avg, acc_none_avg, f1_none_avg over emotions.
        wa_e is NaN where all samples or none have the emotion, and wa_avg is the mean
        over the others. A logit that is not finite makes everything but the
        baseline NaN.

    Raises:
        ValueError: other shapes, no samples, or intensities that are not finite.

    Source: CMU-MultimodalSDK (present: above 0); jbdel/MOSEI_UMONS (logits, above 0);
        amanshenoy/multilogue-net and the SDK's weighted accuracy, (TP N / P + TN) / 2N.
    Differs: emotions without samples of a class give NaN, not a division by 0.
    """
    logit, intensity = np.asarray(logit), np.asarray(intensity)
    if logit.shape != intensity.shape or logit.shape[1:] != (len(EMOTIONS),):
        raise ValueError(
            f"emotion metrics need two arrays [n, {len(EMOTIONS)}], "
            f"got shapes {logit.shape} and {intensity.shape}"
        )
    if not len(logit) or not np.isfinite(intensity).all():
        raise ValueError("emotion metrics need at least one sample and finite labels")
    truth, found = intensity > 0, logit > 0
    never = np.zeros_like(truth)
    values = {
        **_per_emotion("acc", _accuracy, found, truth),
        **_per_emotion("wa", weighted_accuracy, found, truth),
        **_per_emotion("f1", _weighted_f1, found, truth),
    }
    if not np.isfinite(logit).all():
        values = dict.fromkeys(values, float("nan"))
    values |= _per_emotion("acc_none", _accuracy, never, truth)
    return values | _per_emotion("f1_none", _weighted_f1, never, truth)


def weighted_accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of sensitivity and specificity; NaN if a class is empty.

    Args:
        found: [n] bool, the answers.
        truth: [n] bool.

    Source: scikit-learn's balanced accuracy, the same quantity; the field's "WA".
    """
    from sklearn.metrics import balanced_accuracy_score

    if truth.all() or not truth.any():
        return float("nan")
    return float(balanced_accuracy_score(truth, found))


def sdk_class(score: np.ndarray) -> np.ndarray:
    """Bin scores by magnitude rounded up: -3 to 3, 0 for 0 alone.

    Source: CMU-MultimodalSDK's 7-class labels, jbdel/MOSEI_UMONS.
    """
    score = np.asarray(score)
    return np.clip(np.sign(score) * np.ceil(np.abs(score)), -3, 3).astype(np.int32)


def rounded_class(score: np.ndarray) -> np.ndarray:
    """Bin scores to the nearest whole number, -3 to 3; halves to the even one.

    Source: MulT, MMSA: what their Acc-7 compares (`metrics.mosi_metrics`).
    """
    return np.round(np.clip(score, -3, 3)).astype(np.int32)


def _per_emotion(
    name: str,
    measure: Callable[[np.ndarray, np.ndarray], float],
    found: np.ndarray,
    truth: np.ndarray,
) -> dict[str, float]:
    columns = [measure(found[:, i], truth[:, i]) for i in range(truth.shape[1])]
    values = {f"{name}_{e}": v for e, v in zip(EMOTIONS, columns, strict=True)}
    known = [v for v in columns if np.isfinite(v)]
    values[f"{name}_avg"] = float(np.mean(known)) if known else float("nan")
    return values


def _accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(found == truth))


def _weighted_f1(found: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(truth, found, average="weighted"))
