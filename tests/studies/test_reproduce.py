"""A table of a paper: its configurations, its runs, what is done twice and what not."""

import json
from pathlib import Path

import pytest

from msa_jax import reproduce as command
from msa_jax.config import cli
from msa_jax.config.fields import change
from msa_jax.ground.errors import UserError
from msa_jax.runs import workdir
from msa_jax.studies import table_catalogue
from msa_jax.studies.reproduce import captions, run, wanted_runs
from msa_jax.studies.reproduce.recipes import recipe
from msa_jax.studies.table_spec import MAE, Ours, Table, parts

CONFIGS = Path(__file__).parents[2] / "configs"
CARD = {
    "name": "mosi_real",
    "content_sha256": "abc",
    "synthetic": False,
    "text": {"kind": "transcript"},
    "metrics": "mosi",
    "label_range": [-3.0, 3.0],
    "size": {"train": 3, "valid": 2, "test": 1},
}
TABLE = Table(
    name="table0",
    title="A table",
    source="Nobody, Table 0",
    parts=parts({"mosi": (MAE,)}, "M | 0.7\nM, T | 0.8\nTFN | 0.9"),
    ours={
        "M": Ours("self_mm", {"loss.tasks": ("fusion",)}),
        "M, T": Ours("self_mm", {"loss.tasks": ("fusion", "text")}),
    },
    main="M, T",
    against="M",
)


def plan(root, card=CARD, **more):
    """Plan TABLE on mosi_real."""
    chosen = wanted_runs.choose_parts(TABLE, card["name"])
    given = {"budget": "small"} | more
    return wanted_runs.plan(TABLE, chosen, {card["name"]: card}, root, **given)


def finish(folder, seeds):
    """Pretend that a run has ended."""
    place = wanted_runs.workdir_of(folder, seeds)
    place.mkdir(parents=True)
    results = {"schema": 1, "method": "self_mm", "dataset": "mosi_real", "test": {}}
    results |= {"metrics_kind": "mosi", "seeds": list(seeds)}
    workdir.write_json(place / workdir.RESULTS, results)
    return place


def test_a_small_budget_freezes_the_encoder_and_says_so():
    full = recipe(Ours("self_mm"), CARD)
    small = recipe(Ours("self_mm"), CARD, budget="small")
    assert full.settings.text.finetune and not small.settings.text.finetune
    assert small.settings.selection.max_epochs == 10
    assert small.settings.selection.early_stop == 3
    assert full.differs == () and "frozen" in small.differs[0]
    assert full.file == "self_mm_mosi_real.py"


def test_rows_change_the_configuration_after_the_user_did():
    def user(settings):
        change(settings, {"loss.tasks": ("fusion", "audio")})
        change(settings, {"optim.batch_size": 7})

    ours = Ours("self_mm", {"loss.tasks": ("fusion",)})
    settings = recipe(ours, CARD, change=user).settings
    assert settings.loss.tasks == ("fusion",) and settings.optim.batch_size == 7


@pytest.mark.parametrize(
    "method, kind, encoder, finetune, said",
    [
        ("ucrn", "transcript", "bert", False, None),  # its file for mosi_real says so
        ("self_mm", "features", "features", None, "no encoder is trained"),
    ],
)
def test_the_text_that_a_data_set_has_is_read(method, kind, encoder, finetune, said):
    made = recipe(Ours(method), CARD | {"text": {"kind": kind}})
    assert made.settings.text.encoder == encoder
    if finetune is not None:
        assert made.settings.text.finetune is finetune
    assert (said is None) == (not made.differs)
    assert said is None or said in made.differs[0]


def test_word_vector_methods_read_sentences_with_a_frozen_encoder():
    made = recipe(Ours("ucrn"), CARD | {"name": "mosei"})
    assert made.settings.text.encoder == "bert" and not made.settings.text.finetune
    assert "reads word vectors; this data set holds sentences" in made.differs[0]


def test_aligned_only_on_the_papers_own_data():
    assert recipe(
        Ours("sugrm"), CARD | {"name": "mosi"}, aligned=True
    ).settings.data.aligned
    other = recipe(Ours("sugrm"), CARD | {"name": "mine"}, aligned=True)
    assert not other.settings.data.aligned
    assert "no published setting of sugrm for mine" in other.differs[0]
    assert other.settings.data.name == "mine"


def test_a_field_that_a_method_lacks_is_one_line():
    with pytest.raises(UserError, match="config.ulgm.rule = 'human': ucrn has no such"):
        recipe(Ours("ucrn", {"ulgm.rule": "human"}), CARD)
    with pytest.raises(UserError, match="not a value of type int"):
        recipe(Ours("ucrn", {"model.heads": "three"}), CARD)


def test_names_of_runs_tell_apart_what_numbers_depend_on():
    settings = recipe(Ours("self_mm"), CARD).settings
    name = wanted_runs.name_of(settings, CARD)
    for field, value in (("seeds", (1,)), ("mesh.devices", 3), ("data.dir", "there")):
        change(settings, {field: value})
        assert wanted_runs.name_of(settings, CARD) == name, field
    others = {
        wanted_runs.name_of(settings, CARD, "shuffled"),
        wanted_runs.name_of(settings, CARD | {"content_sha256": "abd"}),
        wanted_runs.name_of(settings, CARD | {"metrics": "sims"}),
        wanted_runs.name_of(settings, CARD | {"label_range": [-1.0, 1.0]}),
    }
    change(settings, {"optim.batch_size": 33})
    others.add(wanted_runs.name_of(settings, CARD))
    assert len(others | {name}) == 6


def test_a_plan_has_every_row_of_ours_and_the_controls_of_the_main_one(tmp_path):
    wanted = plan(tmp_path)
    assert [w.row for w in wanted] == [
        "M",
        "M, T",
        *(f"M, T, {said}" for said in wanted_runs.CONTROLS),
    ]
    assert len({w.folder for w in wanted}) == 4
    assert [w.row for w in plan(tmp_path, controls=False)] == ["M", "M, T"]


def test_a_configuration_that_cannot_be_does_not_stop_the_others(tmp_path):
    broken = TABLE._replace(ours=TABLE.ours | {"M": Ours("self_mm", {"no.such": 1})})
    wanted = wanted_runs.plan(
        broken,
        wanted_runs.choose_parts(broken, "mosi_real"),
        {"mosi_real": CARD},
        tmp_path,
        budget="full",
    )
    assert wanted[0].folder is None and "no such field" in wanted[0].why
    assert all(w.folder for w in wanted[1:])


def test_rows_that_read_what_the_data_lack_are_told_before_training(tmp_path):
    card = CARD | {"vision": None, "unimodal_label": None, "emotion": None}
    rows = {
        "all": Ours("ucrn"),
        "T, A": Ours("ucrn", {"model.modalities": ("text", "audio")}),
        "V": Ours("mmcl", {"model.modalities": ("vision",)}),
        "human": Ours("self_mm", {"ulgm.rule": "human"}),
    }
    own = parts({"mosi": (MAE,)}, "\n".join(f"{row} | 1" for row in rows))
    table = TABLE._replace(parts=own, ours=rows, main="all", against="all")
    chosen = wanted_runs.choose_parts(table, "mosi_real")
    found = wanted_runs.plan(
        *(table, chosen, {"mosi_real": card}, tmp_path),
        **{"budget": "small", "controls": False},
    )
    why = {want.row: want.why for want in found}
    assert "no vision, which ucrn reads" in why["all"] and why["T, A"] == ""
    assert "no vision, which mmcl reads" in why["V"]
    assert "no vision" in why["human"]
    for field, task in (("emotion", "emotion"), ("unimodal_label", "sentiment")):
        lacks = CARD | {field: None}
        ours = rows["human" if task == "sentiment" else "all"]
        with pytest.raises(UserError, match="no (emotions|human unimodal labels)"):
            recipe(ours, lacks, task=task)


def test_parts_of_other_data_are_the_first_ones():
    two = TABLE._replace(parts=parts({"mosi": (MAE,), "mosei": (MAE,)}, "M | 1 | 2"))
    assert [d for *_, d in wanted_runs.choose_parts(two, None)] == ["mosi", "mosei"]
    assert [(i, d) for i, _, d in wanted_runs.choose_parts(two, "mosei")] == [
        (1, "mosei")
    ]
    assert [(i, d) for i, _, d in wanted_runs.choose_parts(two, "mine")] == [
        (0, "mine")
    ]


@pytest.mark.parametrize(
    "said, rows",
    [
        ("M", ["M"]),
        ("M,T", ["M, T"]),
        ("m, t,M", ["M, T", "M"]),
        (None, None),
    ],
)
def test_rows_are_found_by_name_commas_included(said, rows):
    assert wanted_runs.rows_named(TABLE, said) == rows


def test_a_row_that_is_not_ours_is_one_line():
    with pytest.raises(UserError, match="no row 'TFN' of ours; it has: M; M, T"):
        wanted_runs.rows_named(TABLE, "M,TFN")


def test_only_missing_seeds_are_trained(tmp_path):
    wanted = plan(tmp_path, controls=False)
    finish(wanted[0].folder, (1111, 1112))
    todo = run.jobs(wanted, (1111, 1112, 1113))
    assert [(job.wanted.row, job.seeds) for job in todo] == [
        ("M", (1113,)),
        ("M, T", (1111, 1112, 1113)),
    ]
    for job in todo:
        finish(job.wanted.folder, job.seeds)
    assert run.jobs(wanted, (1111, 1112, 1113)) == []
    assert run.jobs(wanted, (1113, 1112)) == []


def test_the_same_configuration_is_trained_once(tmp_path):
    wanted = plan(tmp_path, controls=False)
    assert len(run.jobs([*wanted, *wanted], (1,))) == 2


def test_work_directories_are_named_after_their_seeds(tmp_path):
    names = [
        wanted_runs.workdir_of(tmp_path, s).name for s in ((3, 4, 5), (3, 5), (7,))
    ]
    assert names == ["seeds_3-5", "seeds_3+5", "seeds_7"]


def test_a_run_that_cannot_be_trained_is_noted_and_the_others_go_on(tmp_path, capsys):
    wanted, trained = plan(tmp_path, controls=False), []

    def train(job, folder):
        if job.wanted.row == "M":
            raise UserError("no such thing")
        trained.append(job.wanted.row)

    run.train_all(run.jobs(wanted, (1,)), train, 0)
    assert trained == ["M, T"]
    failure = wanted[0].folder / wanted_runs.FAILED
    assert json.loads(failure.read_text())["why"] == "no such thing"
    assert "not trained: no such thing" in capsys.readouterr().out
    run.train_all(run.jobs(wanted[:1], (1,)), lambda job, folder: None, 0)
    assert not failure.exists()


def test_a_damaged_result_is_named(tmp_path):
    place = finish(tmp_path, (1,))
    (place / workdir.RESULTS).write_text("{")
    with pytest.raises(UserError, match="seeds_1.results.json: cannot be read"):
        wanted_runs.finished_seeds(tmp_path)


@pytest.mark.parametrize(
    "said, seeds", [("3", (1111, 1112, 1113)), ("4,9", (4, 9)), ("1", (1111,))]
)
def test_seeds_are_a_count_or_a_list(said, seeds):
    assert command.seeds_of(said) == seeds


@pytest.mark.parametrize("said", ["0", "x", "3,3", "-1", "1,-2", ""])
def test_other_seeds_are_one_line(said):
    with pytest.raises(UserError, match="give how many"):
        command.seeds_of(said)


def test_every_reason_against_comparing_is_said(tmp_path):
    chosen = wanted_runs.choose_parts(TABLE, "mosi_real")
    card = CARD | {"synthetic": True}
    wanted = plan(tmp_path, card)
    overrides = {"optim.batch_size": "3", "text.weights": "bert-base-uncased"}
    found = captions.why_not_comparable(chosen, wanted, {"mosi_real": card}, overrides)
    text = "; ".join(found)
    for reason in (
        "data set mosi_real, the paper's is mosi",
        "made up",
        "text encoder minilm, not bert-base",
        "small budget",
        "set by hand: optim.batch_size = 3",
    ):
        assert reason in text


def test_the_papers_own_setting_may_be_compared(tmp_path):
    def user(settings):
        change(settings, {"text.weights": "some/where/bert-base-uncased"})

    card = CARD | {"name": "mosi", "text": {"kind": "tokens"}}
    wanted = plan(tmp_path, card, budget="full", change=user)
    chosen = wanted_runs.choose_parts(TABLE, "mosi")
    assert captions.why_not_comparable(chosen, wanted, {"mosi": card}, {}) == []


def test_the_list_counts_finished_runs(tmp_path, capsys):
    asked = run.Asked(
        name="self_mm/table4",
        table=TABLE,
        dataset="mosi_real",
        seeds=(1, 2),
        only=None,
        budget="small",
        controls=False,
        out=tmp_path,
        data_dir="data",
        overrides={},
    )
    wanted = plan(tmp_path / run.RUNS, controls=False)
    finish(wanted[0].folder, (1, 2))
    finish(wanted[1].folder, (1,))
    folder = tmp_path / run.page_name(asked)
    folder.mkdir()
    (folder / run.PLAN).write_text(json.dumps(run._plan(asked, wanted)))
    run.list_tables(CONFIGS, tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    assert "on mosi_real, small budget: 1 of 2 runs finished, 2 seeds" in shown
    every = [
        f"{p}/{t}" for p, ts in table_catalogue.load_tables(CONFIGS).items() for t in ts
    ]
    assert len(every) == 22 and all(name in shown for name in every)


def test_fields_set_on_the_command_line_reach_every_row():
    mine, overrides = cli.split_overrides(
        [
            "a/b",
            "--config.optim.batch_size",
            "9",
            "--config.loss.tasks=fusion",
            "--list",
        ]
    )
    assert mine == ["a/b", "--list"]
    settings = recipe(Ours("self_mm"), CARD).settings
    cli.override(settings, overrides)
    assert settings.optim.batch_size == 9 and settings.loss.tasks == ("fusion",)


@pytest.mark.parametrize(
    "field, value, said",
    [
        ("optim.batchsize", "9", "did you mean --config.optim.batch_size"),
        ("optim.batch_size", "nine", "not a value of type int"),
    ],
)
def test_a_wrong_field_or_value_is_one_line(field, value, said):
    settings = recipe(Ours("self_mm"), CARD).settings
    with pytest.raises(UserError, match=said):
        cli.override(settings, {field: value})


def test_a_field_that_no_row_has_stops_before_anything_is_written(tmp_path):
    asked = run.Asked(
        name="self_mm/table4",
        table=table_catalogue.find_table(CONFIGS, "self_mm/table4"),
        dataset="synthetic_tiny",
        seeds=(1, 2),
        only=None,
        budget="small",
        controls=False,
        out=tmp_path / "out",
        data_dir=str(tmp_path / "data"),
        overrides={"optim.batchsize": "3"},
    )
    with pytest.raises(UserError, match="did you mean --config.optim.batch_size"):
        run.reproduce(asked)
    assert list((tmp_path / "out").iterdir()) == []
