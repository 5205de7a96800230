"""Every table on data with other metrics: decided before anything is trained."""

import functools

import numpy as np
import pytest

from msa_jax.config import cli
from msa_jax.evaluation import metrics
from msa_jax.ground.errors import UserError
from msa_jax.methods import tasks
from msa_jax.studies import table_catalogue
from msa_jax.studies.reproduce import fitted_columns, wanted_runs
from msa_jax.studies.table_spec import ACC2, ACC7, MAE, Column, Part, parts

TABLES = {
    f"{paper}/{name}": table
    for paper, tables in table_catalogue.load_tables(cli.own_configs()).items()
    for name, table in tables.items()
}
WIDTH = {"two_class": 2, "seven_class": 7, "seven_class_sdk": 7, "emotion": 6}


def card(kind, **more):
    high = 1.0 if kind == "sims" else 3.0
    labels = {"metrics": kind, "label_range": [-high, high]}
    return {"name": "films", **labels, **more}


def fit(table, kind, dataset="films", **more):
    chosen = wanted_runs.choose_parts(table, dataset)
    return fitted_columns.fitting(table, chosen, {dataset: card(kind, **more)})


@functools.cache
def scored(kind):
    """Compute every metric of a kind for ten samples; return the names."""
    rng = np.random.default_rng(0)
    label = rng.uniform(-1, 1, 10).astype(np.float32)
    if kind == "emotion":
        label = np.tile([[0.0, 1.0]] * 3, (1, 3)).astype(np.float32)
    shape = (len(label), WIDTH[kind]) if kind in WIDTH else label.shape
    return frozenset(metrics.score(kind, rng.normal(size=shape), label))


@pytest.mark.parametrize("emotion", [None, {}])
@pytest.mark.parametrize("kind", ["mosi", "sims"])
@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_columns_of_every_kind(name, kind, emotion):
    table = TABLES[name]
    try:
        fitted, found = fit(table, kind, emotion=emotion)
    except UserError as error:  # nothing but emotions, of data that have none
        assert emotion is None and "films has no metric for" in str(error)
        assert {c.task for c in table.parts[0].columns} == {"emotion"}
        return
    assert found
    for index, part, _ in found:
        before = table.parts[index]
        for column in part.columns:
            if column.reading != "parameters":
                own = tasks.metrics_kind(column.task, kind)
                assert column.key in scored(own), column
        plain = [c._replace(title="") for c in part.columns]
        assert len(set(plain)) == len(plain)
        assert all(len(v) == len(part.columns) for v in part.published.values())
        assert part.published.keys() == before.published.keys()
        assert bool(part.differs) == (part.columns != before.columns)
        for row in fitted.mmsa.get(before.dataset, {}).values():
            assert len(row) == len(part.columns)


def test_the_first_of_two_stands_for_sims_own():
    _, ((_, part, _),) = fit(TABLES["self_mm/table4"], "sims", "sims")
    assert [c.key for c in part.columns] == ["mae", "corr", "acc2", "f1"]
    assert [c.title for c in part.columns] == ["MAE", "Corr", "Acc-2", "F1"]
    assert part.published["M"] == ("0.730", "0.781", "82.38", "82.48")
    assert part.differs == (
        "on sims Acc-2 for Acc-2 Has0, F1 for F1 Has0",
        "sims has no metric for Acc-2 Non0, F1 Non0: left out",
    )


def test_seven_classes_need_labels_from_minus_3_to_3():
    for table in ("ucrn/table1", "ucrn/table8"):
        _, ((_, part, _),) = fit(TABLES[table], "sims", emotion=None)
        assert {c.task for c in part.columns} == {"two_class"}
        assert "films has no metric for Acc-7 SDK, " in part.differs[0]
        _, ((_, part, _),) = fit(TABLES[table], "mosi", emotion=None)
        assert {c.task for c in part.columns} == {"two_class", "seven_class_sdk"}


def test_mmsas_values_follow_their_columns():
    table = TABLES["self_mm/table4"]
    fitted, _ = fit(table, "sims")
    whole = table.mmsa["mosi"]["M, T, A, V"]
    assert fitted.mmsa["mosi"]["M, T, A, V"] == (*whole[:3], whole[4])


def test_the_papers_own_metrics_change_nothing():
    for name in ("self_mm/table1", "sugrm/table4"):
        table = TABLES[name]
        fitted, found = fit(table, "mosi", "mosi")
        assert found == wanted_runs.choose_parts(table, "mosi") and fitted == table


def one_part(*heads):
    numbers = " | ".join("1/2" if len(h.columns) > 1 else "1" for h in heads)
    return parts({"mosi": heads}, f"x | {numbers}")


def test_what_has_no_counterpart_is_left_out_and_said():
    table = TABLES["self_mm/table4"]._replace(parts=one_part(MAE, ACC7, ACC2))
    _, ((_, part, _),) = fit(table, "sims")
    assert [c.key for c in part.columns] == ["mae", "acc2"]
    assert "films has no metric for Acc-7, Acc-2 Non0: left out" in part.differs
    with pytest.raises(UserError, match="table4 cannot be made: films has no .*Acc-7"):
        fit(table._replace(parts=one_part(ACC7)), "sims")


def test_other_readings_follow_and_improvements_are_left_out():
    read = [
        Column("sd", "acc2_non0", reading="sd"),
        Column("drop", "acc2_non0", reading="drop", of="without:text"),
        Column("better", "acc2_non0", reading="improvement", of="0.8"),
        Column("size", "parameters", reading="parameters"),
    ]
    part = Part("mosi", tuple(read), {"x": ("1", "2", "3", "4")})
    table = TABLES["self_mm/table4"]._replace(parts=(part,))
    _, ((_, found, _),) = fit(table, "sims")
    assert [(c.reading, c.key) for c in found.columns] == [
        ("sd", "acc2"),
        ("drop", "acc2"),
        ("parameters", "parameters"),
    ]
    assert found.published["x"] == ("1", "2", "4")
