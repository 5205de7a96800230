"""The space of a search, the trials drawn from it, and what may share a program."""

import collections

import numpy as np
import pytest

from configs import smoke
from msa_jax import config as defaults
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.studies import search
from msa_jax.studies.search import LogUniform, Trial, Uniform

RATE, SIZE = "optim.groups.other.rate", "optim.batch_size"
SWEEP = {
    SIZE: (8, 16),
    RATE: (1e-3, 1e-2, 1e-1),
    "model.fusion_head_dropout": (0, 0.5),
}


def space(sweep, config=None):
    return search.read_space(sweep, config or smoke.get_config(), "x.py")


def plan(sweep, how="random", trials=100, seed=0, config=None):
    config = config or smoke.get_config()
    return search.plan(space(sweep, config), config, how, trials, seed)


def points(trials):
    return [tuple(trial.values.values()) for trial in trials]


def test_a_grid_is_every_combination_in_order():
    trials = plan(SWEEP, "grid")
    assert [t.number for t in trials] == list(range(1, 13))
    assert points(trials)[:4] == [
        (8, 1e-3, 0.0),
        (8, 1e-3, 0.5),
        (8, 1e-2, 0.0),
        (8, 1e-2, 0.5),
    ]
    assert len(set(points(trials))) == 12
    assert type(trials[0].values["model.fusion_head_dropout"]) is float


def test_a_random_search_never_repeats_and_ends_with_the_space():
    trials = plan(SWEEP, trials=1000)
    assert sorted(points(trials)) == sorted(points(plan(SWEEP, "grid")))
    assert points(trials) != points(plan(SWEEP, "grid"))


def test_a_random_search_depends_on_its_seed_alone():
    few, many = plan(SWEEP, trials=5, seed=3), plan(SWEEP, trials=9, seed=3)
    assert many[:5] == few == plan(SWEEP, trials=5, seed=3)
    assert few != plan(SWEEP, trials=5, seed=4)


def test_every_value_is_as_likely_as_another():
    first = [plan(SWEEP, trials=1, seed=s)[0].values[RATE] for s in range(300)]
    for count in collections.Counter(first).values():
        assert abs(count - 100) < 5 * np.sqrt(300 * 2 / 9)  # five standard deviations


@pytest.mark.parametrize(
    "values, middle", [(Uniform(0.001, 1), 0.5005), (LogUniform(1e-4, 1), 1e-2)]
)
def test_ranges_keep_their_bounds_and_their_middle(values, middle):
    drawn = np.array(points(plan({RATE: values}, trials=600))).ravel()
    assert values.low <= drawn.min() and drawn.max() <= values.high
    assert len(set(drawn)) == 600
    # Half of them below the middle, within five standard deviations.
    assert abs((drawn < middle).mean() - 0.5) < 5 * np.sqrt(0.25 / 600)
    assert all(x == float(f"{x:.4g}") for x in drawn)


def test_a_narrow_range_ends_instead_of_repeating():
    trials = plan({RATE: Uniform(1.001, 1.003)}, trials=10)
    assert sorted(points(trials)) == [(1.001,), (1.002,), (1.003,)]


def test_fields_that_share_a_value():
    both = ("optim.groups.bert.rate", "optim.groups.bert_no_decay.rate")
    trials = plan({both: (1e-5, 5e-5), SIZE: (8,)}, "grid")
    assert [t.values for t in trials] == [
        {both[0]: x, both[1]: x, SIZE: 8} for x in (1e-5, 5e-5)
    ]
    assert search.combinations(space({both: (1e-5, 5e-5)})) == 2
    assert search.combinations(space({both: (1e-5,), RATE: Uniform(1, 2)})) is None


def test_values_take_their_places():
    config = smoke.get_config()
    changed = defaults.with_values(config, {RATE: 0.5, SIZE: 3})
    assert changed.optim.groups.other.rate == 0.5 and changed.optim.batch_size == 3
    assert config.optim.batch_size == 16
    changed.optim.batch_size, changed.optim.groups.other.rate = 16, 1e-3
    assert changed.to_dict() == config.to_dict()


def test_groups_hold_trials_that_differ_in_traced_fields():
    trials = plan(SWEEP, trials=7, seed=1)
    groups = search.group_trials(reversed(trials), lambda field, value: field == RATE)
    numbers = [[t.number for t in g.trials] for g in groups]
    assert sorted(sum(numbers, [])) == list(range(1, 8))
    assert all(n == sorted(n) for n in numbers)
    assert [n[0] for n in numbers] == sorted(n[0] for n in numbers)
    assert max(map(len, numbers)) > 1
    kept = [{tuple(t.values.items())[::2] for t in g.trials} for g in groups]
    assert all(len(same) == 1 for same in kept)
    assert len(set().union(*kept)) == len(groups)
    assert all(g.traced == (RATE,) for g in groups)


def test_a_value_that_cannot_be_traced_is_another_group():
    trials = [Trial(i, {"weights.uni": v}) for i, v in enumerate((0.0, 0.5, 1.0), 1)]
    groups = search.group_trials(trials, lambda field, value: value > 0)
    assert [g.traced for g in groups] == [(), ("weights.uni",)]
    assert [len(g.trials) for g in groups] == [1, 2]


@pytest.mark.parametrize(
    "sweep, said",
    [
        ({"optim.batchsize": (1,)}, "field optim.batchsize; did you mean optim.batch"),
        ({"optim.groups.other": (1,)}, "is a group; its fields: optim.groups.other.de"),
        ({SIZE: ()}, "must be a tuple of values, Uniform"),
        ({SIZE: 16}, "must be a tuple of values, Uniform"),
        ({SIZE: (16, 8.0)}, "8.0 is not a value of type int (the config has 16)"),
        ({SIZE: (True,)}, "True is not a value of type int"),
        ({RATE: ("fast",)}, "'fast' is not a value of type float"),
        ({RATE: (float("nan"),)}, "nan is not a value"),
        ({RATE: (1, 1.0)}, "has a value twice"),
        ({SIZE: Uniform(1, 2)}, "is of type int, not float: list"),
        ({RATE: Uniform(2, 1)}, "from a lower to a higher end"),
        ({RATE: LogUniform(0, 1)}, "must start above 0"),
        ({(RATE, SIZE): (1,)}, "cannot share values of one type"),
        ({RATE: (1,), (RATE,): (2,)}, "other.rate stands twice"),
        ({"seeds": ((1,),)}, "seeds must be the same in all trials"),
        ({"selection.valid_mean": ("samples",)}, "must be the same in all trials"),
        ({}, "must return a dictionary"),
        (None, "must return a dictionary"),
    ],
)
def test_a_wrong_sweep_is_one_line(sweep, said):
    with pytest.raises(UserError, match="sweep x.py") as error:
        space(sweep)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "sweep, how, trials, said",
    [
        (SWEEP, "grid", 11, "12 combinations, more than --trials 11"),
        ({RATE: Uniform(1, 2)}, "grid", 5, "rate is a range; list its values"),
        ({SIZE: (8, 0)}, "grid", 5, "trial 2 (optim.batch_size=0): config.optim.batch"),
        (SWEEP, "random", 0, "--trials 0: must be at least 1"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(sweep, how, trials, said):
    with pytest.raises(UserError) as error:
        plan(sweep, how, trials)
    assert said in str(error.value)


def test_none_is_a_value_where_the_config_has_none():
    config = PAPERS["mmcl"].config()
    trials = plan({"data.aligned": (None, True)}, "grid", config=config)
    assert points(trials) == [(None,), (True,)]
    with pytest.raises(UserError, match="None is not a value"):
        plan({SIZE: (None,)})
