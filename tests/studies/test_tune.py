"""A search: trials equal runs of their own, test stays sealed, a restart goes on."""

import json
import runpy
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict, FrozenConfigDict
from tiny_runs import data

from msa_jax import config as defaults
from msa_jax import methods
from msa_jax.data import sealed_test
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Batch, Outputs
from msa_jax.methods import PAPERS
from msa_jax.report import tune_page
from msa_jax.studies import search, trials
from msa_jax.studies.search import LogUniform
from msa_jax.studies.tune import ledger, results, searching
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.training.splits import make_inputs
from msa_jax.training.train_state import make_mesh

RATE, DECAY = "optim.groups.other.rate", "optim.groups.other.decay"
APART, TASK = "loss.divergence_weight", "loss.task_weight"
SWEEP = {
    RATE: (1e-3, 3e-2, 0.3),
    DECAY: (0.0, 1e-3),
    APART: (0.01, 0.7, 3.0),
    TASK: (1.0, 0.3),
}


def settings(**changes) -> ConfigDict:
    """UCRN without its stacks: a network that compiles at once."""
    config = PAPERS["ucrn"].config()
    config.seeds = (3, 4)
    config.data.name = "made_up"
    config.model.width = 3
    config.model.unimodal_layers = config.model.crossmodal_layers = 0
    config.optim.batch_size = 8
    config.selection.max_epochs = 6
    config.selection.early_stop = 2
    config.mesh.devices = 1
    config.update_from_flattened_dict(changes)
    return config


def asked(sweep=None, count=4, config=None, how="random", **more) -> searching.Asked:
    config = config or settings()
    space = search.read_space(sweep or SWEEP, config, "sweep.py")
    return searching.Asked(
        config=config,
        config_file="configs/x.py",
        given={"optim.batch_size": 8, "seeds": (3, 4)},
        seeds=(1, 2, 3),
        space=space,
        plan=search.plan(space, config, how, count, 0),
        sweep_file="sweep.py",
        search=how,
        search_seed=0,
        **more,
    )


def outcomes(config, sweep=None, count=4, most_lanes=16):
    """Run a search's trials without writing anything; {number: outcome}."""
    this, look = asked(sweep, count, config), trials.looking(data(11))
    found = {}
    for group in search.group_trials(this.plan, methods.of(this.config).is_traced):
        one = trials.config_of(config, group)
        for done in trials.run_group(one, group, look(one), most_lanes):
            if isinstance(done, trials.Outcome):
                found[done.trial.number] = done
    return this.plan, found


def alone(config, trial):
    """Train one trial as `main` would; best losses, selected epochs, epochs run."""
    config = FrozenConfigDict(defaults.with_values(config, trial.values))
    inputs, epochs = make_inputs(data(11), config), []
    seen = inputs.splits["train"], inputs.splits["valid"], inputs.encoder
    mesh = make_mesh(1, 1, len(config.seeds))
    fitted = tiny.fit(config, *seen, mesh, (-3.0, 3.0), "mosi", epochs.append)
    chosen = fitted.selected_epoch
    loss = [epochs[e - 1].valid["loss"][i] for i, e in enumerate(chosen)]
    return loss, chosen, fitted.epochs_run


@pytest.fixture(scope="module")
def in_turn():
    return outcomes(settings())


def test_a_trial_is_the_same_run_alone_to_the_bit(in_turn):
    plan, found = in_turn
    assert sorted(found) == [1, 2, 3, 4] and len({f.score for f in found.values()}) == 4
    assert len({e for f in found.values() for e in f.epochs_run}) > 1  # early stopping
    for trial in plan:
        loss, chosen, ran = alone(settings(), trial)
        done = found[trial.number]
        assert done.valid_loss == tuple(map(float, loss))
        assert done.selected_epoch == tuple(chosen)
        assert done.epochs_run == tuple(ran)
        assert done.score == pytest.approx(np.mean(loss), rel=1e-6)
        assert done.sd == pytest.approx(np.std(loss, ddof=1), rel=1e-5)


def test_lanes_side_by_side_are_the_trials_in_turn(in_turn):
    """Three trials of two seeds at a time, the last block filled with idle lanes."""
    plan, found = outcomes(settings(**{"mesh.over_seeds": "vmap"}), most_lanes=7)
    assert sorted(found) == [1, 2, 3, 4]
    for number, expected in in_turn[1].items():
        one = found[number]
        assert one.selected_epoch == expected.selected_epoch
        assert one.epochs_run == expected.epochs_run
        # Measured: 3e-7.
        np.testing.assert_allclose(one.valid_loss, expected.valid_loss, atol=1e-5)


def test_a_diverged_seed_leaves_no_score_and_the_others_alone(in_turn):
    first = in_turn[0][0].values
    sweep = {k: (v,) for k, v in first.items()} | {RATE: (first[RATE], 1e38)}
    plan, found = outcomes(settings(), sweep)
    by_rate = {t.values[RATE]: found[t.number] for t in plan}
    wild, sound = by_rate[1e38], by_rate[first[RATE]]
    assert None in wild.valid_loss and wild.score is None and wild.sd is None
    assert sound.valid_loss == in_turn[1][1].valid_loss
    lines = [{"trial": n, "score": s} for n, s in ((1, None), (2, 0.5), (3, 0.5))]
    assert [t["trial"] for t in tune_page.ranked(lines)] == [2, 3, 1]


def test_every_traced_field_reaches_the_loss_or_the_update():
    """One program for two values: a field that it held as a constant would not act."""
    rng = np.random.default_rng(0)
    n = 6
    x = jnp.asarray(rng.normal(size=(n, 4)), jnp.float32)
    label = jnp.asarray(np.linspace(-3, 3, n), jnp.float32)
    steps, valid = jnp.ones(n, jnp.int32), jnp.ones(n, bool)
    seq = x[:, None]
    batch = Batch(seq, steps, seq, steps, seq, steps, label, jnp.arange(n), valid)
    names = ("feature", "augmented", "predicted", "target")
    features = {
        f"{m}_{name}": x * (i + 1) + i * x[::-1]
        for m in ("audio", "vision")
        for i, name in enumerate(names)
    } | {m: jnp.roll(x, i, axis=1) for i, m in enumerate(("text", "audio", "vision"))}
    outputs = Outputs(x.T[:1], features)
    for config in (PAPERS["mmcl"].config(), PAPERS["ucrn"].config()):
        values = methods.traced_values(config)

        @jax.jit
        def loss(hyper, config=config):
            own = defaults.with_values(config, hyper)
            method = methods.make(own, FeatureEncoder(), (-3.0, 3.0))
            return method.loss(outputs, batch, ())[0]

        reference = float(loss(values))
        fixed = methods.make(config, FeatureEncoder(), (-3.0, 3.0))
        assert reference == pytest.approx(float(fixed.loss(outputs, batch, ())[0]))
        for field, value in values.items():
            if not field.startswith("optim."):
                assert float(loss(values | {field: 2 * value})) != reference, field


def test_a_weight_of_zero_is_a_constant():
    mmcl, ucrn = PAPERS["mmcl"].is_traced, PAPERS["ucrn"].is_traced
    assert mmcl("weights.uni", 0.5) and ucrn(APART, 1)
    assert not mmcl("weights.uni", 0.0)
    assert not ucrn(APART, 0) and not ucrn("model.width", 3)
    assert ucrn(DECAY, 0.0)  # a decay of 0 adds 0
    config = settings(**{APART: 0.0})
    assert set(methods.traced_values(config)) >= {RATE, DECAY, TASK}
    assert APART not in methods.traced_values(config)


def read(folder):
    return json.loads((folder / "tune.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    return folder, searching.search_and_write(asked(), data(11), folder)


def test_writes_trials_results_and_the_page(done, in_turn):
    folder, found = done
    written = read(folder)
    assert written["budget"]["sentence"].startswith("4 of 36 combinations, 2 seeds ea")
    assert [t["trial"] for t in written["trials"]] == [1, 2, 3, 4]
    for line in written["trials"]:
        expected = in_turn[1][line["trial"]]
        assert line["valid_loss"] == dict(
            zip(("3", "4"), expected.valid_loss, strict=True)
        )
    best = min(written["trials"], key=lambda t: t["score"])
    assert written["best"]["trial"] == best["trial"] == found["best"]["trial"]
    epochs = sum(sum(f.epochs_run) for f in in_turn[1].values())
    assert written["budget"]["epochs"] == epochs
    lines = (folder / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == written["trials"]
    for name in ("tune.html", "tune.md", "figures/fields.png", "best.py"):
        assert (folder / name).exists()


def test_nothing_of_test_is_written(done):
    folder, _ = done

    def keys(value):
        if isinstance(value, dict):
            return set(value) | {k for v in value.values() for k in keys(v)}
        return {k for v in value for k in keys(v)} if isinstance(value, list) else set()

    assert not [key for key in keys(read(folder)) if "test" in key.lower()]


def test_the_page_says_what_was_done(done):
    folder, found = done
    best = found["best"]
    for name in ("tune.html", "tune.md"):
        page = (folder / name).read_text()
        assert found["budget"]["sentence"] in page
        assert f"{best['score']:.4f}" in page
        assert "Test was not read" in page and "is optimistic" in page
        assert "of equal ones the first trial" in page
        assert page.count("0.0") > 3
    html = (folder / "tune.html").read_text()
    assert html.count("<svg") == 2 and "4 of 36 combinations" in html
    rows = html[html.index('class="ranks"') :].split("<tr>")[2:]
    assert f"<td>{best['trial']}</td>" in rows[0]
    for seed, value in best["valid_loss"].items():
        assert f"Seed {seed}" in html and f"<td>{value:.4f}</td>" in rows[0]


def test_test_is_never_opened(done, tmp_path, monkeypatch):
    """A sealed test that cannot open, and another test split: the same search."""
    folder, _ = done

    def raises(*_):
        raise AssertionError("a search opened test")

    monkeypatch.setattr(sealed_test.Sealed, "open", raises)
    searching.search_and_write(asked(), data(12), tmp_path)
    for line, other in zip(
        read(folder)["trials"], read(tmp_path)["trials"], strict=True
    ):
        del line["seconds"], other["seconds"]
        assert line == other


def test_goes_on_after_a_kill_and_with_more_trials(done, tmp_path, monkeypatch):
    folder, _ = done
    whole = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "search.json").write_text((folder / "search.json").read_text())
    (tmp_path / "trials.jsonl").write_text(whole[2] + whole[0] + whole[1][:50])
    started = []
    right = trials.loop.epochs

    def counted(program, state, *rest):
        started.append({f: float(v[0]) for f, v in state.hyper.items()})
        return right(program, state, *rest)

    monkeypatch.setattr(trials.loop, "epochs", counted)
    searching.search_and_write(asked(count=5), data(11), tmp_path)
    plan = asked(count=5).plan
    missing = [plan[1], plan[3], plan[4]]
    assert [s[RATE] for s in started] == pytest.approx(
        [t.values[RATE] for t in missing]
    )
    again = read(tmp_path)["trials"]
    assert [t["trial"] for t in again] == [1, 2, 3, 4, 5]
    for line, other in zip(read(folder)["trials"], again, strict=False):
        assert line["valid_loss"] == other["valid_loss"]
    searching.search_and_write(asked(count=2), data(11), tmp_path)  # nothing to train
    assert len(started) == 3 and read(tmp_path)["budget"]["trials"] == 5


@pytest.mark.parametrize(
    "other, said",
    [
        (asked(config=settings(**{"optim.clip_norm": 0.5})), "config.optim.clip_norm"),
        (asked({RATE: LogUniform(1e-3, 1)}), "space"),
        (asked()._replace(search_seed=1), "search_seed: 0 there, 1 now"),
    ],
)
def test_another_search_is_refused(done, other, said):
    with pytest.raises(UserError, match="holds another search") as error:
        searching.search_and_write(other, data(11), done[0])
    assert said in str(error.value)


def test_labels_that_are_read_otherwise_make_another_search(tmp_path):
    def opened(**change):
        this = ledger.description_of(
            settings(), (), "grid", None, data(11).card | change
        )
        return ledger.open_search(tmp_path, this, ())

    assert opened() == opened() == []
    with pytest.raises(UserError, match="another search .metrics: mosi there, sims no"):
        opened(metrics="sims")
    with pytest.raises(UserError, match="another search .label_range: "):
        opened(label_range=[-1, 1])


def test_a_damaged_or_foreign_ledger_is_refused(done, tmp_path):
    this = asked()
    card = data(11).card
    described = ledger.description_of(this.config, this.space, "random", 0, card)
    ledger.open_search(tmp_path, described, this.plan)
    line = json.loads((done[0] / "trials.jsonl").read_text().splitlines()[0])
    line["values"][RATE] = 7.0
    (tmp_path / "trials.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match="trial 1 is not the one"):
        ledger.open_search(tmp_path, described, this.plan)
    (tmp_path / "trials.jsonl").write_text("{}}\n")
    with pytest.raises(UserError, match="cannot be read"):
        ledger.open_search(tmp_path, described, this.plan)


def test_a_search_in_which_all_diverge_says_so(tmp_path):
    with pytest.raises(UserError, match="every trial diverged"):
        searching.search_and_write(asked({RATE: (1e38,)}), data(11), tmp_path)
    assert read(tmp_path)["best"] is None
    page = (tmp_path / "tune.html").read_text()
    assert "1 trial diverged" in page and "<svg" not in page


def test_a_batch_size_that_gives_no_step_is_said_first(tmp_path):
    config = settings(**{"data.drop_last": True})
    with pytest.raises(UserError, match="32 training samples make 0 batch"):
        searching.search_and_write(
            asked({"optim.batch_size": (8, 64)}, config=config), data(11), tmp_path
        )
    assert not (tmp_path / "trials.jsonl").exists()


def test_the_winner_as_a_command_and_as_a_file(done):
    folder, found = done
    values = found["best"]["values"]
    words = shlex.split(found["best"]["command"].replace("\\\n", " "))
    assert words[:5] == "python -m msa_jax.main --config configs/x.py".split()
    flags = dict(word.removeprefix("--config.").split("=") for word in words[5:])
    assert flags.pop("optim.batch_size") == "8" and "seeds" not in flags
    assert {k: float(v) for k, v in flags.items()} == values
    made = runpy.run_path(str(folder / "best.py"))["get_config"]()
    expected = settings(**values)
    expected.seeds = (1, 2, 3)  # those of the config file
    assert made.to_dict() == expected.to_dict()
    for config in (made, expected):
        assert config.data.get_type("dir") is str  # None, but can be given
    assert f"--config {folder / 'best.py'}" in found["best"]["config_command"]


def test_quotes_what_a_shell_would_read():
    said = results.command(
        "my configs/a.py:x+y",
        {
            "loss.tasks": ("fusion", "text"),
            "data.drop_last": True,
            "data.aligned": None,
        },
    )
    assert shlex.split(said.replace("\\\n", " "))[4:] == [
        "my configs/a.py:x+y",
        "--config.loss.tasks=('fusion', 'text')",
        "--config.data.drop_last=True",
    ]
