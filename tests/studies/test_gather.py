"""From finished runs to table.json: made-up runs whose numbers are known."""

import json

import numpy as np
import pytest

from msa_jax.evaluation import metrics
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground.errors import UserError
from msa_jax.report import table_page
from msa_jax.runs import shuffled_modalities, workdir
from msa_jax.studies.reproduce import (
    fitted_columns,
    gather,
    row_runs,
    special_cells,
    wanted_runs,
)
from msa_jax.studies.table_spec import ACC2, MAE, Column, Head, Ours, Table, one, parts

CARD = {
    "name": "mosi_real",
    "content_sha256": "abcdef0123456789",
    "synthetic": False,
    "text": {"kind": "transcript"},
    "metrics": "mosi",
    "label_range": [-3.0, 3.0],
    "size": {"train": 3, "valid": 2, "test": 40},
}
TABLE = Table(
    name="table0",
    title="A table",
    source="Nobody, Table 0",
    parts=parts(
        {"mosi": (MAE, ACC2)},
        """
        M    | 0.7 | 80.1/81.2
        M, T | 0.8 | -/83.3
        TFN  | 0.9 | -
        """,
    ),
    ours={
        "M": Ours("self_mm", {"loss.tasks": ("fusion",)}),
        "M, T": Ours("self_mm", {"loss.tasks": ("fusion", "text")}),
    },
    main="M, T",
    against="M",
)
N = 40
LABEL = np.random.default_rng(0).uniform(-3, 3, N).astype(np.float32)


def prediction(seed, noise):
    rng = np.random.default_rng(seed)
    return (LABEL + noise * rng.normal(size=N)).astype(np.float32)


def pretend(folder, seeds, noise, label=LABEL, kind="mosi"):
    """Write the files of a finished run, seeds in the order given."""
    folder.mkdir(parents=True)
    answers = np.stack([prediction(seed, noise) for seed in seeds])
    scores = [metrics.score(kind, p, LABEL) for p in answers]
    np.savez(
        folder / "predictions_test.npz",
        id=np.arange(N).astype(str),
        label=label,
        prediction=answers,
    )
    change = {
        "mae": {"change": summarise([0.1 * s for s in seeds])},
        "acc7": {"change": summarise([-0.2 * s for s in seeds])},
    }
    results = {
        "schema": 1,
        "method": "self_mm",
        "dataset": "mosi_real",
        "metrics_kind": kind,
        "seeds": list(seeds),
        "test": {k: summarise([s[k] for s in scores]) for k in scores[0]},
        "baselines": {"mean predictor": {"mae": 1.5, "acc2_has0": 0.5, "acc7": 0.2}},
        "controls": {shuffled_modalities.AUDIO_VISION: change},
        "selected_epoch": {str(s): 1 for s in seeds},
        "epochs_run": {str(s): 2 for s in seeds},
        "time": {"seconds": 3.0},
        "provenance": {
            "git_commit": "c0ffee",
            "versions": {"jax": "0"},
            "device": "cpu",
            "data_sha256": "abc",
            "encoder": "none",
            "precision": "float32",
        },
    }
    workdir.write_json(folder / workdir.RESULTS, results)
    lines = [
        {
            "epoch": e,
            "active": [e < 2 or s != 1 for s in seeds],
            "valid": {"loss": [float(s + e) for s in seeds]},
            "train": {"loss": [float(s) for s in seeds]},
        }
        for e in (1, 2)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / workdir.HISTORY).write_text(text)


def plan(root, table=TABLE, card=CARD):
    cards = {"mosi_real": card}
    table, chosen = fitted_columns.fitting(
        table, wanted_runs.choose_parts(table, "mosi_real"), cards
    )
    wanted = wanted_runs.plan(
        table, chosen, cards, root, budget="small", controls=False
    )
    return chosen, cards, wanted


def collect(root, table=TABLE, seeds=(1, 2, 3), card=CARD):
    chosen, cards, wanted = plan(root, table, card)
    return gather.gather(
        "nobody",
        table,
        chosen,
        wanted,
        cards,
        seeds=seeds,
        budget="small",
        overrides={},
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    _, _, (m, mt) = plan(root)
    pretend(m.folder / "seeds_3+1", (3, 1), 0.3)
    pretend(m.folder / "seeds_2", (2,), 0.3)
    pretend(mt.folder / "seeds_1-2", (1, 2), 0.6)
    return collect(root)


def row(found, name):
    return next(r for r in found["parts"][0]["rows"] if r["name"] == name)


def test_each_seeds_value_is_that_of_its_own_predictions(found):
    for name, noise, seeds in (("M", 0.3, (1, 2, 3)), ("M, T", 0.6, (1, 2))):
        cell = row(found, name)["cells"][0]
        expected = {
            str(s): metrics.score("mosi", prediction(s, noise), LABEL)["mae"]
            for s in seeds
        }
        assert cell["per_seed"] == pytest.approx(expected)
        assert cell["mean"] == pytest.approx(np.mean(list(expected.values())))


def test_states_and_kinds_of_rows(found):
    rows = found["parts"][0]["rows"]
    states = {r["name"]: (r["kind"], r["state"]) for r in rows}
    assert states == {
        "M": ("ours", "finished"),
        "M, T": ("ours", "partly"),
        "TFN": ("published", "published"),
    }
    tfn = row(found, "TFN")["cells"]
    assert [c["published"] for c in tfn] == ["0.9", None, None]
    assert all(c["mean"] is None and c["against"] is None for c in tfn)


def test_differences_are_paired_by_the_seeds_that_both_have(found):
    against = row(found, "M, T")["cells"][0]["against"]
    assert against["row"] == "M" and against["n_seeds"] == 2
    ours, theirs = (row(found, n)["cells"][0]["per_seed"] for n in ("M, T", "M"))
    expected = np.mean([ours[s] - theirs[s] for s in ("1", "2")])
    assert against["difference"] == pytest.approx(expected)


def test_the_caption_says_what_was_tuned(found):
    said = "Hyper-parameters are those of self_mm_mosi_real.py; nothing was tuned"
    assert any(said in line for line in found["caption"])
    assert said in found["methods_paragraph"]


def test_other_data_is_said_in_the_verdict_and_on_top(found):
    assert not found["comparable"]
    assert "data set mosi_real, the paper's is mosi" in found["comparable_why"]
    assert row(found, "M")["cells"][0]["verdict"]["kind"] == "other_data"


def test_made_up_data_are_called_so_in_caption_and_paragraph(tmp_path):
    made = collect(tmp_path, card=CARD | {"synthetic": True})
    assert "made up" in made["comparable_why"]
    assert any("MADE UP, not real data" in line for line in made["caption"])
    assert "MADE UP, not real data" in made["methods_paragraph"]


def test_different_rows_are_not_called_the_same(found):
    assert not any("same network" in line for line in found["warnings"])


def test_curves_end_with_their_seed(found):
    curves = found["parts"][0]["learning"]["M"]
    assert curves["1"]["epoch"] == [1] and curves["3"]["epoch"] == [1, 2]
    assert curves["3"]["valid_loss"] == [4.0, 5.0] and curves["3"]["selected"] == 1


def test_baselines_and_shuffled_test_come_from_the_runs(found):
    assert found["parts"][0]["baselines"] == [
        {
            "name": "mean predictor",
            "values": {"mae": 1.5, "acc2_has0": 0.5, "acc2_non0": None},
        }
    ]
    uses = row(found, "M")["uses_audio_vision"]  # of seeds 1, 2, 3; above 0: worse
    assert uses["mae"]["value"] == pytest.approx(0.2)
    assert uses["acc7"]["value"] == pytest.approx(0.4)


def test_the_page_is_written(found, tmp_path):
    workdir.write_json(tmp_path / "table.json", found)
    page = table_page.write_table(tmp_path, workdir.read_json(tmp_path / "table.json"))
    text = page.read_text()
    assert "Not comparable" in text and "TFN" in text
    assert (tmp_path / "methods.txt").read_text().startswith("We trained “M”")


def test_the_order_of_groups_of_seeds_does_not_matter(found, tmp_path):
    _, _, (m, mt) = plan(tmp_path)
    pretend(m.folder / "seeds_1-3", (1, 2, 3), 0.3)
    pretend(mt.folder / "seeds_1-2", (2, 1), 0.6)
    again = collect(tmp_path)
    for name in ("M", "M, T"):
        assert row(again, name)["cells"] == row(found, name)["cells"]


def test_runs_with_other_test_samples_are_refused(tmp_path):
    _, _, (m, _) = plan(tmp_path)
    pretend(m.folder / "seeds_1", (1,), 0.3)
    pretend(m.folder / "seeds_2", (2,), 0.3, label=LABEL[::-1])
    with pytest.raises(UserError, match="different test samples"):
        collect(tmp_path)


def test_without_any_run_there_are_published_values_only(tmp_path):
    nothing = collect(tmp_path)
    assert row(nothing, "M")["state"] == "missing"
    assert row(nothing, "M")["cells"][0]["verdict"]["kind"] == "not_run"
    assert nothing["figures"] == []


def test_rows_that_are_the_same_network_are_named(tmp_path):
    _, _, (m, mt) = plan(tmp_path)
    pretend(m.folder / "seeds_1-2", (1, 2), 0.3)
    pretend(mt.folder / "seeds_1-2", (1, 2), 0.3)
    same = "“M” and “M, T” have the same value in every seed"
    assert any(same in line for line in collect(tmp_path)["warnings"])


def test_a_failure_is_told(tmp_path):
    _, _, (m, _) = plan(tmp_path)
    m.folder.mkdir(parents=True)
    workdir.write_json(m.folder / wanted_runs.FAILED, {"why": "no emotions"})
    told = collect(tmp_path)
    assert row(told, "M")["why"] == "no emotions"
    assert any("could not be trained: no emotions" in w for w in told["warnings"])


def reading(root, column, published="2.5"):
    """Make one cell of a reading from the runs of row M."""
    _, _, (m, _) = plan(root)
    entry = row_runs.runs_of(m, (1, 2, 3))
    return special_cells.special_cell(0, column, published, entry)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    root = tmp_path_factory.mktemp("three")
    _, _, (m, _) = plan(root)
    pretend(m.folder / "seeds_1-3", (1, 2, 3), 0.3)
    return root, m.folder


def test_spread_and_improvement_are_of_the_seeds(three):
    values = [
        metrics.score("mosi", prediction(s, 0.3), LABEL)["mae"] for s in (1, 2, 3)
    ]
    sd = np.std(values, ddof=1)
    spread = reading(three[0], Column("sd", "mae", reading="sd"))
    assert spread["mean"] == pytest.approx(sd)
    assert spread["ci_seeds"][0] <= sd <= spread["ci_seeds"][1] + 1e-12
    improved = reading(
        three[0], Column("RPI", "mae", reading="improvement", of="0.9"), "3.1"
    )
    assert improved["mean"] == pytest.approx(abs(np.mean(values) - 0.9) / sd)


def test_parameters_are_read_and_compared_exactly(three):
    root, folder = three
    column = Column("n", "parameters", reading="parameters")
    assert reading(root, column)["verdict"]["kind"] == "no_interval"
    workdir.write_json(folder / special_cells.PARAMETERS, {"parameters": 422401})
    assert reading(root, column, "422,401")["verdict"]["kind"] == "inside"
    other = reading(root, column, "422,400")["verdict"]
    assert other == {"kind": "higher", "text": "ours has +1"}


def test_a_row_of_counts_is_finished_without_training(tmp_path):
    column = Column("n", "parameters", reading="parameters")
    size = parts({"mosi": (Head((column,)),)}, "M | 5\nM, T | 6")
    table = TABLE._replace(parts=size)
    _, _, (m, _) = plan(tmp_path, table)
    m.folder.mkdir(parents=True)
    workdir.write_json(m.folder / special_cells.PARAMETERS, {"parameters": 5})
    made = collect(tmp_path, table)
    assert row(made, "M")["state"] == "finished"
    assert row(made, "M, T")["state"] == "missing"


def test_drops_are_read_by_corruption_and_seed(three):
    root, folder = three
    place = folder / "seeds_1-3" / "robustness"
    place.mkdir()

    def drop(*values):
        return {"drop": {"acc2_non0": {"per_seed": list(values)}}}

    workdir.write_json(
        place / "results.json",
        {
            "seeds": [1, 2, 3],
            "combinations": [
                {"kept": ["text", "audio", "vision"], "zeroed": drop(0, 0, 0)},
                {"kept": ["text", "audio"], "zeroed": drop(1.0, 2.0, 3.0)},
                {"kept": ["text"], "zeroed": drop(9, 9, 9)},
            ],
            "kinds": [
                {
                    "name": "bernoulli",
                    "levels": [{"level": None}, {"level": 0.5} | drop(4.0, 5.0, 9.0)],
                }
            ],
        },
    )
    without = Column("", "acc2_non0", reading="drop", of="without:vision")
    noise = Column("", "acc2_non0", reading="drop", of="bernoulli:0.5")
    assert reading(root, without)["per_seed"] == {"1": 1.0, "2": 2.0, "3": 3.0}
    assert reading(root, noise)["mean"] == pytest.approx(6.0)
    unknown = Column("", "acc2_non0", reading="drop", of="without:audio")
    assert reading(root, unknown)["mean"] is None


def test_other_metrics_stand_in_on_other_data(tmp_path):
    sims = parts({"sims": (MAE, one("Acc-2", "acc2"))}, "M | 0.4 | 80.1\nM, T | - | -")
    table = TABLE._replace(parts=sims)
    _, _, (m, _) = plan(tmp_path, table)
    pretend(m.folder / "seeds_1-3", (1, 2, 3), 0.3)
    made = collect(tmp_path, table)["parts"][0]
    assert [c["key"] for c in made["columns"]] == ["mae", "acc2_non0"]
    assert made["columns"][1]["title"] == "Acc-2 Non0"


def test_on_data_with_the_metrics_of_sims_cells_are_those_of_the_runs(tmp_path):
    card = CARD | {"metrics": "sims", "label_range": [-1.0, 1.0]}
    _, _, (m, mt) = plan(tmp_path, card=card)
    before = collect(tmp_path, card=card)["parts"][0]["columns"]
    pretend(m.folder / "seeds_1-3", (1, 2, 3), 0.3, kind="sims")
    pretend(mt.folder / "seeds_1-3", (1, 2, 3), 0.6, kind="sims")
    found = collect(tmp_path, card=card)
    (part,) = found["parts"]
    assert [c["title"] for c in part["columns"]] == ["MAE", "Acc-2"]
    assert part["columns"] == before
    results = workdir.read_json(m.folder / "seeds_1-3" / workdir.RESULTS)["test"]
    for column, cell in zip(part["columns"], row(found, "M")["cells"], strict=True):
        assert cell["mean"] == results[column["key"]]["mean"]
    said = (
        "on mosi_real Acc-2 for Acc-2 Has0; mosi_real has no metric for Acc-2 Non0: "
        "left out"
    )
    assert said in found["comparable_why"] and not found["comparable"]
    table_page.write_table(tmp_path / "page", found)
    text = {
        end: (tmp_path / "page" / f"table.{end}").read_text()
        for end in ("html", "csv", "md", "tex")
    }
    assert said in text["html"] and said in text["csv"]
    assert said.replace("_", r"\_") in text["md"]
    tex = text["tex"]
    assert said.replace("_", r"\_") in tex
    assert "Non0" not in tex.partition(r"\begin{tabular}")[2]


def test_two_numbers_in_a_printed_column():
    head = Head((Column("a", "mae"), Column("b", "corr")))
    (part,) = parts({"mosi": (head,)}, "x | 1/2\ny | -\nz | -/3")
    assert part.published == {"x": ("1", "2"), "y": (None, None), "z": (None, "3")}
