"""Reports of runs that answer classes or emotions."""

import json

import numpy as np
import pytest
from test_report import _Page, fake_run, printed

from msa_jax import report
from msa_jax.evaluation import metric_names
from msa_jax.evaluation.classifiers import questions
from msa_jax.evaluation.metrics import score
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.errors import UserError
from msa_jax.ground.files import json_safe
from msa_jax.ground.names import EMOTIONS
from msa_jax.report import class_figures, run_tables
from msa_jax.runs.finished import Predictions, open_folder

SEEDS = (1, 2)
KINDS = ("two_class", "seven_class", "seven_class_sdk", "emotion")


def class_run(folder, kind, seeds=SEEDS, lost=None, n=30):
    """Write a finished run whose logits mostly hit; seed number `lost` diverged."""
    results = fake_run(folder, seeds, u=False, n=n)
    for name in ("history.jsonl", "config.json"):
        (folder / name).unlink()
    rng = np.random.default_rng(0)
    asked = questions(kind)
    assert asked is not None
    label = rng.uniform(-3, 3, n).astype(np.float32)
    absent = np.tile(np.log([0.2, 0.8] if asked.classes == 2 else np.ones(7)), (n, 1))
    if kind == "emotion":
        label = rng.integers(-1, 3, (n, 6)).clip(0).astype(np.float32)
        sign = 2 * (label > 0) - 1
        absent = np.full((n, 6), -1.0)
    else:
        sign = np.eye(asked.classes)[asked.answers(label)[:, 0]]
    shape = (len(seeds), *sign.shape)
    logit = (sign + 0.4 * rng.normal(size=shape)).astype(np.float32)
    if lost is not None:
        logit[lost] = np.nan
    each = [score(kind, one, label) for one in logit]
    test = {name: summarise([one[name] for one in each]) for name in each[0]}
    constant = "all absent" if kind == "emotion" else "majority class"
    results |= {"metrics_kind": kind, "test": test, "valid": test}
    results["baselines"] = {constant: score(kind, absent, label)}
    (folder / "results.json").write_text(json.dumps(json_safe(results)))
    np.savez(folder / "predictions_test.npz", label=label, prediction=logit)
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_report_and_console(tmp_path, kind):
    results = class_run(tmp_path, kind)
    page = _Page(report.write_report(tmp_path).read_text())
    assert page.stack == [] and "nan" not in page.text.lower().split()
    assert "None" not in page.text and "MAE" not in page.text
    assert "Predicted against true" not in page.text
    metric = metric_names.primary(kind)
    value = results["test"][metric.key]["mean"]
    said = f"in test {metric.title} ({100 * value:.2f} % against"
    assert said in page.text and " points " in page.text
    drawn = "Emotion by emotion" if kind == "emotion" else "Which class was taken"
    assert drawn in page.text
    text = printed(open_folder(tmp_path).results)
    assert "…" not in text and "none" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert f"{100 * value:.2f}" in text and "MAE" not in text


def test_verdicts_follow_the_direction_of_the_metric():
    def said(mean, ci95):
        cell = {"mean": mean, "ci95": ci95}
        results = {
            "method": "M",
            "metrics_kind": "emotion",
            "test": {"wa_avg": cell},
            "baselines": {"b": {"wa_avg": 0.5}},
        }
        return run_tables.baseline_sentences(results)[0]

    better = said(0.62, [0.6, 0.64])
    assert better.startswith("M beats “b” by 12.00 points in test WA mean (62.00 %")
    assert "lies above the baseline" in better
    worse = said(0.45, [0.4, 0.52])
    assert "does not beat “b”: it is worse by 5.00 points" in worse
    assert "includes the baseline" in worse
    assert "no comparison, a WA mean is not known" in said(None, None)


def test_emotions_are_in_one_readable_order(tmp_path):
    results = class_run(tmp_path, "emotion")
    results = open_folder(tmp_path).results
    keys = [
        metric.key
        for metric in run_tables.metrics_of(results["metrics_kind"], results["test"])
    ]
    assert keys == ["wa_avg", "acc_avg", "f1_avg", *(f"wa_{e}" for e in EMOTIONS)]
    table = run_tables.emotion_table(results)
    assert table is not None
    assert [row["name"] for row in table["rows"]] == [*EMOTIONS, "mean"]
    fear, test = table["rows"][5]["cells"], results["test"]
    expected = ("wa_fear", "acc_fear", "acc_none_fear", "f1_fear", "f1_none_fear")
    assert fear == [f"{100 * test[key]['mean']:.2f}" for key in expected]
    assert run_tables.emotion_table(results | {"metrics_kind": "mosi"}) is None
    unknown = results | {"test": test | {"new": test["wa_avg"]}}
    assert (
        run_tables.metrics_of(unknown["metrics_kind"], unknown["test"])[-1].key == "new"
    )


def test_confusion_counts_every_finite_seed():
    label = np.array([-3.0, -1, 0, 2, 2])
    right = np.eye(7)[[0, 2, 3, 5, 5]]
    wrong = np.eye(7)[[0, 0, 3, 6, 5]]
    lost = np.full((5, 7), np.nan)
    predictions = Predictions(label, np.stack([right, wrong, lost]))
    found = class_figures.confusion_counts(predictions, "seven_class")
    assert found.sum() == 10
    assert [found[i, i] for i in range(7)] == [2, 0, 1, 2, 0, 3, 0]
    assert found[2, 0] == 1 and found[5, 6] == 1  # rows are the truth
    one = class_figures.confusion_sentences(predictions, "seven_class")
    assert one == [
        "The most frequent answer is −3: 30 % of all answers, while 20 % of labels are."
    ]
    always = Predictions(label, np.tile(np.eye(7)[3], (1, 5, 1)))
    said = class_figures.confusion_sentences(always, "seven_class")
    assert "0: 100 % of all answers, while 20 %" in said[0]
    assert said[1] == "Never answered, though labels have it: −3, −1, 2."
    nothing = Predictions(label, lost[None])
    assert class_figures.confusion_sentences(nothing, "seven_class") == [
        "No seed has finite logits."
    ]


def test_dots_stand_where_the_numbers_are(tmp_path):
    results = class_run(tmp_path, "emotion")
    figure = class_figures.emotion_dots(results)
    for axes, key in zip(figure.axes, ("wa", "acc"), strict=True):
        places = {
            (round(float(x), 4), round(float(y), 2))
            for line in axes.get_lines()
            for x, y in zip(*line.get_data(), strict=True)
        }
        for y, e in enumerate((*EMOTIONS, "avg")):
            cell = results["test"][f"{key}_{e}"]
            absent = results["baselines"]["all absent"][f"{key}_{e}"]
            assert (round(100 * cell["mean"], 4), y) in places
            assert (round(100 * absent, 4), y) in places
            for value in cell["per_seed"]:
                assert (round(100 * value, 4), y + 0.24) in places
        low, high = axes.get_xlim()
        assert low >= -2 and high <= 102
    above = class_figures.emotion_sentences(results)
    assert above[0].endswith("in 6 of 6 emotions: " + ", ".join(EMOTIONS) + ".")
    assert class_figures.emotion_sentences(results | {"baselines": {}}) == []
    results["test"]["wa_sad"]["mean"] = 0.5  # no better than a constant
    below = class_figures.emotion_sentences(results)[0]
    assert below.endswith("in 5 of 6 emotions: happy, anger, surprise, disgust, fear.")


@pytest.mark.parametrize("kind", ("two_class", "emotion"))
def test_a_seed_that_diverged(tmp_path, kind):
    class_run(tmp_path, kind, lost=1)
    page = _Page(report.write_report(tmp_path).read_text())
    title = metric_names.primary(kind).title
    assert f"No finite test {title} for seed 2" in page.text
    assert "nan" not in page.text.lower().split()
    assert f"no comparison, a{'n' * (title[0] == 'A')} {title} is not" in page.text


def test_only_one_seed(tmp_path):
    class_run(tmp_path, "emotion", seeds=(4,))
    assert "Emotion by emotion" in report.write_report(tmp_path).read_text()


def test_every_kind_is_described():
    logit, label = np.zeros((4, 7)), np.array([-1.0, 0, 1, 2])
    found = {
        "two_class": score("two_class", logit[:, :2], label),
        "seven_class": score("seven_class", logit, label),
        "seven_class_sdk": score("seven_class_sdk", logit, label),
        "emotion": score("emotion", logit[:, :6], np.eye(4, 6)),
    }
    for kind, values in found.items():
        known = {metric.key for metric in metric_names.METRICS[kind]}
        rest = metric_names.IN_OTHER_TABLES if kind == "emotion" else set()
        assert set(values) == known | rest
    for kind, keys in metric_names.HEADLINE.items():
        assert set(keys) <= {m.key for m in metric_names.METRICS[kind]}
    assert "correlation" not in metric_names.units("emotion")


def test_broken_predictions_and_kinds_are_named(tmp_path):
    results = class_run(tmp_path, "emotion")
    path = tmp_path / "predictions_test.npz"
    label, logit = np.zeros((30, 6)), np.zeros((2, 30, 6))
    np.savez(path, label=label, prediction=logit[:, :, :5])
    with pytest.raises(UserError, match=r"prediction is \(2, 30, 5\)"):
        _ = open_folder(tmp_path).predictions
    np.savez(path, label=label, prediction=logit[:, :20])
    with pytest.raises(UserError, match=r"expected \(2, 30, 6\)"):
        _ = open_folder(tmp_path).predictions
    other = json_safe(results | {"metrics_kind": "other"})
    (tmp_path / "results.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="metrics kind 'other' is none of mosi"):
        open_folder(tmp_path)
