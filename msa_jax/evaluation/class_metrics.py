"""Metrics of sentiment as a class: two or seven, from logits."""

import numpy as np

from msa_jax.evaluation.emotion_metrics import rounded_class, sdk_class


def two_class_metrics(logit: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Compare the more likely of two classes with the label's sign.

    Args:
        logit: [n, 2]: negative, positive.
        label: [n], sentiment.

    Returns: accuracy and F1, weighted by the classes' true sizes, with label 0 as
        positive (has0) or left out (non0); 0 to 1, NaN where nothing is left or a logit
        is not finite.

    Source: as `metrics.mosi_metrics`; UCRN, Tables 1 and 2.
    """
    found = _answers(logit, 2)
    kept = label != 0
    return _finite(
        logit,
        _agreement(found, (label >= 0).astype(int), "_has0", "acc2")
        | _agreement(found[kept], (label[kept] > 0).astype(int), "_non0", "acc2"),
    )


def seven_class_metrics(
    logit: np.ndarray, label: np.ndarray, rule: str
) -> dict[str, float]:
    """Compare the most likely of seven classes with the label's.

    Args:
        logit: [n, 7]: -3 to 3.
        label: [n], sentiment.
        rule: "rounded" or "sdk", how a label becomes a class (docs/metrics.md).

    Returns: acc7 and f1 (weighted by true sizes), and mae7, the mean distance of the
        two classes.

    Source: UCRN, Table 2; jbdel/MOSEI_UMONS ("sdk").
    """
    found = _answers(logit, 7)
    bins = sdk_class if rule == "sdk" else rounded_class
    truth = bins(np.asarray(label)) + 3
    values = _agreement(found, truth, "", "acc7")
    values["mae7"] = float(np.mean(np.abs(found - truth)))
    return _finite(logit, values)


def _answers(logit: np.ndarray, classes: int) -> np.ndarray:
    if logit.ndim != 2 or logit.shape[1] != classes or not len(logit):
        raise ValueError(f"need logits [n, {classes}], got shape {logit.shape}")
    return logit.argmax(axis=1)


def _agreement(found, truth, suffix: str, accuracy: str) -> dict[str, float]:
    from sklearn.metrics import f1_score

    if not len(truth):
        return {f"{accuracy}{suffix}": float("nan"), f"f1{suffix}": float("nan")}
    return {
        f"{accuracy}{suffix}": float(np.mean(found == truth)),
        f"f1{suffix}": float(f1_score(truth, found, average="weighted")),
    }


def _finite(logit: np.ndarray, values: dict[str, float]) -> dict[str, float]:
    # argmax of NaN is an answer like any other: a diverged model must not score.
    return values if np.isfinite(logit).all() else dict.fromkeys(values, float("nan"))
