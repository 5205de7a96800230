"""How every metric is named, written and explained, and which of them come first."""

from dataclasses import dataclass

from msa_jax.ground.names import EMOTIONS


@dataclass(frozen=True)
class Metric:
    """How a metric is named, written and explained."""

    key: str
    title: str
    percent: bool
    lower_is_better: bool
    meaning: str
    unit: str = ""

    @property
    def decimals(self) -> int:
        """Return how many are written."""
        return 2 if self.percent else 3


def _share(key: str, title: str, meaning: str) -> Metric:
    return Metric(key, title, True, False, meaning, "percent")


def _mae(meaning: str) -> Metric:
    meaning = f"Mean absolute error between prediction and label, {meaning}"
    return Metric("mae", "MAE", False, True, meaning, "label units")


def _corr(meaning: str) -> Metric:
    meaning = f"Pearson correlation of predictions and labels{meaning}"
    return Metric("corr", "Corr", False, False, meaning, "correlation")


_LEGACY = (
    "Weighted F1 with its two arguments swapped, so that the classes are weighted by "
    "how often they were predicted. It flatters lopsided predictors. Kept only because "
    "tables made before about 2021, and some since, hold it; never compare it with F1."
)
_CLASS_ERROR = (
    "Mean distance between the most likely class and the label's; lower is better."
)
_SEVEN = (
    Metric("mae7", "Class error", False, True, _CLASS_ERROR, "classes"),
    _share("f1", "F1", "F1 of the seven classes, weighted by their true sizes."),
)
_BY_SIGN = "The more likely class against the label's sign; 0 counts as positive."
_SDK = (
    "Most likely class; of labels the magnitude is rounded up, so that 0 alone is "
    "class 0. Not comparable with Acc-7 of rounded labels."
)
_WA = (
    "Mean over emotions of WA: weighted accuracy, the mean of sensitivity and "
    "specificity. An answer that is the same for every sample has 50."
)
_ACC = "Mean over emotions of accuracy; “absent” to everything has a high one."
_F1 = (
    "Mean over emotions of F1, weighted by how many samples do and do not show the "
    "emotion."
)
_HAS0 = "Negative against the rest: 0 counts as positive."
_NON0 = "Negative against positive, samples of label 0 left out."
_ZERO_NEGATIVE = "Up to 0 against above 0: zero counts as negative here."
_NO_ZERO = "The same, samples of label 0 left out."
METRICS = {
    "mosi": (
        _mae("in label units. Lower is better."),
        _corr("; – for constant predictions."),
        _share("acc2_has0", "Acc-2 Has0", _HAS0),
        _share("acc2_non0", "Acc-2 Non0", _NON0),
        _share("f1_has0", "F1 Has0", "F1 of the Has0 classes, weighted by true sizes."),
        _share("f1_non0", "F1 Non0", "F1 of the Non0 classes, weighted by true sizes."),
        _share("acc3", "Acc-3", "Both clipped to ±1 and rounded to whole numbers."),
        _share("acc5", "Acc-5", "Both clipped to ±2 and rounded to whole numbers."),
        _share("acc7", "Acc-7", "Both clipped to ±3 and rounded to whole numbers."),
        _share("f1_has0_legacy", "F1 Has0 legacy", _LEGACY),
        _share("f1_non0_legacy", "F1 Non0 legacy", "The same without label 0."),
    ),
    "sims": (
        _mae("in label units, both clipped to ±1; lower is better."),
        _corr(", both clipped to ±1."),
        _share("acc2", "Acc-2", _ZERO_NEGATIVE),
        _share("f1", "F1", "F1 of the two classes, weighted by their true sizes."),
        _share("acc3", "Acc-3", "Classes with edges at −0.1 and 0.1."),
        _share("acc5", "Acc-5", "Classes with edges at −0.7, −0.1, 0.1 and 0.7."),
        _share("f1_legacy", "F1 legacy", _LEGACY),
    ),
    "two_class": (
        _share("acc2_has0", "Acc-2 Has0", _BY_SIGN),
        _share("acc2_non0", "Acc-2 Non0", _NO_ZERO),
        _share("f1_has0", "F1 Has0", "F1 of the two classes, weighted by true sizes."),
        _share("f1_non0", "F1 Non0", _NO_ZERO),
    ),
    "seven_class": (
        _share("acc7", "Acc-7", "Most likely class; labels rounded, halves to even."),
        *_SEVEN,
    ),
    "seven_class_sdk": (_share("acc7", "Acc-7 SDK", _SDK), *_SEVEN),
    "emotion": (
        _share("wa_avg", "WA mean", _WA),
        _share("acc_avg", "Acc mean", _ACC),
        _share("f1_avg", "F1 mean", _F1),
        *(
            _share(f"wa_{e}", f"WA {e}", f"WA of {e}; – if all or none show it.")
            for e in EMOTIONS
        ),
    ),
}
# What the numbers of an answer stand for, by kind; of a sentiment it is one number.
_SEVEN_NAMES = tuple("-3 -2 -1 0 1 2 3".split())
ANSWERS = {
    "two_class": ("negative", "not negative"),
    "seven_class": _SEVEN_NAMES,
    "seven_class_sdk": _SEVEN_NAMES,
    "emotion": EMOTIONS,
}
# Shown per emotion in a table of their own, or by the baseline "all absent".
IN_OTHER_TABLES = frozenset(
    f"{name}_{e}"
    for name in ("acc", "f1", "acc_none", "f1_none")
    for e in (*EMOTIONS, "avg")
    if (name, e) not in (("acc", "avg"), ("f1", "avg"))
)
# The first of each is the one that sentences compare.
HEADLINE = {
    "mosi": ("mae", "corr", "acc2_non0", "acc7"),
    "sims": ("mae", "corr", "acc2", "acc5"),
    "two_class": ("acc2_has0", "acc2_non0", "f1_has0", "f1_non0"),
    "seven_class": ("acc7", "f1", "mae7"),
    "seven_class_sdk": ("acc7", "f1", "mae7"),
    "emotion": ("wa_avg", "acc_avg", "f1_avg"),
}
# Drawn over epochs.
CURVES = {
    "mosi": ("mae", "corr", "acc2_has0", "acc2_non0", "acc5", "acc7"),
    "sims": ("mae", "corr", "acc2", "f1", "acc5"),
    "emotion": tuple(f"wa_{e}" for e in EMOTIONS),
}
UNITS = (
    "Accuracies and F1 in percent; MAE and correlation in natural units "
    "(MAE in units of the label)."
)
_CLASSES = "Accuracies and F1 in percent"
_UNITS_OF = {
    "two_class": f"{_CLASSES}.",
    "seven_class": f"{_CLASSES}; the class error in classes.",
    "seven_class_sdk": f"{_CLASSES}; the class error in classes.",
    "emotion": "Everything in percent; WA is the mean of sensitivity and specificity.",
}


def units(kind: str) -> str:
    """Say in which units the metrics of a kind are written."""
    return _UNITS_OF.get(kind, UNITS)


def primary(kind: str) -> Metric:
    """Return the metric that a kind is judged by.

    Raises:
        KeyError: a kind that is not described here.
    """
    first = HEADLINE[kind][0]
    return next(metric for metric in METRICS[kind] if metric.key == first)


def described(kind: str, key: str) -> Metric | None:
    """Return how a metric of a kind is named and written; None if it has no such."""
    for metric in METRICS.get(kind, ()):
        if metric.key == key:
            return metric
    emotions = kind == "emotion" and key in IN_OTHER_TABLES
    if not emotions:
        return None
    name, _, emotion = key.rpartition("_")
    titles = {"acc": "Acc", "f1": "F1", "acc_none": "Acc, all absent", "f1_none": "F1"}
    return _share(key, f"{titles.get(name, name)} {emotion}", f"{name} of {emotion}.")
