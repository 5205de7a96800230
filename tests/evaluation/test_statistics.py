import json
import math

import numpy as np
import pytest

from msa_jax.evaluation.statistics import json_safe, smallest_sign_flip_p, summarise


def test_by_hand():
    found = summarise([1.0, 2.0, 3.0])
    assert found["per_seed"] == [1.0, 2.0, 3.0]
    assert found["mean"] == pytest.approx(2.0)
    assert found["sd"] == pytest.approx(1.0)  # ddof 1; ddof 0 would give .816
    half = 4.302652729749462 / math.sqrt(3)  # t quantile .975, 2 degrees of freedom
    assert found["ci95"] == pytest.approx([2 - half, 2 + half], rel=1e-10)


def test_one_seed_has_no_spread():
    assert summarise([0.7]) == {
        "per_seed": [0.7],
        "mean": 0.7,
        "sd": None,
        "ci95": None,
    }


def test_equal_seeds_have_a_point_interval():
    found = summarise([0.5, 0.5])
    assert found["sd"] == 0 and found["ci95"] == [0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_lost_seed_is_not_averaged_away(bad):
    found = summarise([0.5, bad, 0.6])
    assert found == {
        "per_seed": [0.5, None, 0.6],
        "mean": None,
        "sd": None,
        "ci95": None,
    }
    json.dumps(found, allow_nan=False)


def test_no_seed_is_a_mistake():
    with pytest.raises(ValueError, match="at least one seed"):
        summarise([])


def test_five_seeds_cannot_reach_five_percent():
    assert smallest_sign_flip_p(5) == 0.0625
    assert smallest_sign_flip_p(6) < 0.05
    assert smallest_sign_flip_p(1) == 1.0


def test_json_safe():
    found = json_safe(
        {"a": np.float32(0.5), 1: (np.nan, np.arange(2)), "b": [np.bool_(True), "x"]}
    )
    assert found == {"a": 0.5, "1": [None, [0, 1]], "b": [True, "x"]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
