"""The replay of schema 2, on a file made here from closed forms: linear regression.

Text, audio and vision are two features over two steps, of which the mean is read.
"""

import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from msa_jax import methods
from msa_jax.ground.errors import UserError
from msa_jax.methods.torch_names import Names
from msa_jax.parity import replay_file
from msa_jax.studies.parity import replay, schema

GOLDENS = sorted((Path(__file__).parents[1] / "goldens").glob("*.npz"))
RATE, STEPS, EPOCHS = 0.1, 2, 3


def made() -> dict[str, np.ndarray]:
    """Return a file: 6 samples, two batches of 2 an epoch, the last two validate."""
    rng = np.random.default_rng(0)
    z = {
        f"main/in/{m}": rng.normal(size=(6, 2, 2)) for m in ("text", "audio", "vision")
    }
    z = {key: value.astype(np.float32) for key, value in z.items()}
    mean = np.concatenate([v.astype(float).mean(axis=1) for v in z.values()], axis=1)
    w, b = rng.normal(size=6).astype(np.float32), np.float32(0.5)
    label = rng.normal(size=6).astype(np.float32)
    z |= {
        "schema": np.int64(2),
        "method": np.array("linear"),
        "cases": np.array(["main", "again"]),
        "again/base": np.array("main"),
        "main/in/label": label,
        "w/score.weight": w[None],
        "w/score.bias": b[None],
        "tolerance/default": np.float64(1e-10),
        "tolerance32/default": np.float64(1e-5),
        "noise_gradient": np.array([], "<U1"),
    }
    hp = {"rate": RATE, "batch_size": 2, "dropout": 0.5, "early_stop": 1}
    hp |= {"label_high": 3.0, "answer": "score", "error": "l1"}
    z |= {f"hp/{name}": np.array(value) for name, value in hp.items()}
    z["main/out/fusion"] = mean @ w + b
    z["main/feature/fusion"] = mean
    z["main/mid/score"] = z["main/out/fusion"][:, None]
    z["again/out/fusion"] = z["main/out/fusion"]
    z["main/part/fusion"] = np.abs(z["main/out/fusion"] - label).mean()
    rows = np.array([0, 3, 4])
    z["main/loss/rows"] = rows
    error = z["main/out/fusion"][rows] - label[rows]
    z["main/loss/total"] = z["main/loss/part/fusion"] = np.abs(error).mean()
    z["main/grad/score.weight"] = (np.sign(error) @ mean[rows] / 3)[None]
    z["main/grad/score.bias"] = np.sign(error).mean()[None]
    mask = rng.integers(0, 2, (3, 6)).astype(np.uint8)
    z["main/dropped/order"], z["main/dropped/rate"] = (
        np.array(["drop"]),
        np.array([0.5]),
    )
    z["main/dropped/mask/000"] = mask
    z["main/dropped/out/fusion"] = (2 * mask * mean[rows]) @ w + b
    return z | {f"main/steps/{k}": v for k, v in trained(mean, label, w, b).items()}


def trained(x, label, w, b) -> dict[str, np.ndarray]:
    """Train with Adam as its paper has it; scripted losses choose the second epoch."""
    rows = np.array([[0, 1], [2, 3], [3, 0], [1, 2], [2, -1], [0, 3]])
    weights = np.append(w, b).astype(float)
    first, second = np.zeros((2, 7))
    inputs = np.append(x, np.ones((6, 1)), axis=1)
    found = {"loss": [], "valid_loss": [], "valid_out/fusion": [], "w": []}
    for t, batch in enumerate(rows, start=1):
        batch = batch[batch >= 0]
        error = inputs[batch] @ weights - label[batch]
        found["loss"].append(np.abs(error).mean())
        gradient = np.sign(error) @ inputs[batch] / len(batch)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = np.sqrt(second / (1 - 0.999**t)) + 1e-8
        weights = weights - RATE * first / (1 - 0.9**t) / size
        if t % STEPS == 0:
            answer = inputs[4:] @ weights
            found["valid_out/fusion"].append(answer)
            found["valid_loss"].append(np.abs(answer - label[4:]).mean())
            found["w"].append(weights)
    kept = np.stack(found.pop("w"))[[0, 2]]
    return {
        **{k: np.array(v) for k, v in found.items()},
        "rows": rows,
        "epoch": np.repeat(np.arange(1, EPOCHS + 1), STEPS),
        "valid_rows": np.array([[4, 5]]),
        "scripted_valid_loss": np.array([2.0, 1.0, 1.5]),
        "best_epoch": np.int64(2),
        "stopped_after_epoch": np.int64(3),
        "after_epochs": np.array([1, 3]),
        "after/score.weight": kept[:, None, :6],
        "after/score.bias": kept[:, 6:],
        "unchanged": np.array([], "<U1"),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    names = Names({"score/linear/": "score.", "Dropout_0/": "drop."})
    clipped = {"optim.clip_norm": 0.01, "optim.accumulate_batches": 2}  # not in `hp`
    linear = replace(methods.PAPERS["linear"], torch=names, common=clipped)
    monkeypatch.setattr(methods, "PAPERS", {"linear": linear})
    return tmp_path


def replayed(folder, arrays, precisions=("float64",)):
    path = folder / "made.npz"
    np.savez(path, **arrays)
    return replay_file(path, precisions)


def test_every_key_passes_in_both_precisions(folder):
    done = replayed(folder, made(), ("float64", "float32"))
    assert [row for row in done.rows if not row.passed] == []
    compared = {(row.scenario, row.quantity) for row in done.rows}
    expected = {
        (case.name, key) for case in schema.cases(made()) for key in case.expected()
    }
    assert compared == expected - {("main", "steps/unchanged")}
    assert len(compared) == 17 and done.notes == []


def test_every_damaged_array_fails_by_its_name(folder):
    """All at once, so that no comparison is vacuous."""
    arrays = made()
    for case in schema.cases(arrays):
        for key in case.expected() - {"steps/unchanged"}:
            old = arrays[f"{case.name}/{key}"]
            arrays[f"{case.name}/{key}"] = old + np.asarray(
                1e-3 if old.dtype.kind == "f" else 1
            )
    done = replayed(folder, arrays)
    assert [row for row in done.rows if row.passed] == []
    assert len(done.rows) == 17


def only_answers(**more) -> dict[str, np.ndarray]:
    """Return a file of one case without training, and more keys."""
    stages = ("main/loss", "main/grad", "main/dropped", "main/steps", "main/mid")
    arrays = {k: v for k, v in made().items() if not k.startswith((*stages, "again"))}
    return arrays | {"cases": np.array(["main"])} | more


def test_what_is_not_compared_is_named(folder):
    more = {"hp/heads": np.int64(3), "hp/void_rank": np.int64(1)}
    more |= {f"main/{k}": np.ones(2) for k in ("mid/score.inner", "unit/terms/x")}
    done = replayed(folder, only_answers(**more))
    assert all(row.passed for row in done.rows)
    settings, keys = done.notes
    assert settings.endswith("settings without a field of ours: heads = 3")
    assert keys.endswith("2 keys not compared: mid/score.inner, unit/terms/x")


def test_a_method_that_we_do_not_have_is_not_covered(folder):
    arrays = only_answers(method=np.array("of_tomorrow"))
    assert replayed(folder, arrays) is None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"w/score.bias": np.zeros(2)}, r"score.bias: shape \(2,\), expected \(1,\)"),
        ({"w/more": np.zeros(2)}, "no parameter asks for more"),
        ({"main/dropped/order": np.array(["drop_2"])}, "lacks a call of drop"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(folder, changes, message):
    arrays = only_answers()
    dropped = {
        k: v for k, v in made().items() if "/dropped/" in k or k == "main/loss/rows"
    }
    with pytest.raises(UserError, match=message):
        replayed(folder, arrays | dropped | changes)


def test_given_keys_come_from_the_case_its_base_and_the_top():
    arrays = {
        "hp/rate": np.array(1),
        "main/hp/rate": np.array(2),
        "again/base": np.array("main"),
        "again/hp/decay": np.array(3),
        "main/out/fusion": np.array(4),
        "tolerance/default": np.array(1e-3),
        "tolerance/steps/after": np.array(1e-2),
    }
    case = schema.Case(arrays, "again")
    assert {k: int(v) for k, v in case.under("hp/").items()} == {"rate": 2, "decay": 3}
    assert case.get("out/fusion") is None and case.get("hp/rate") == 2
    assert case.tolerance("steps/after/w", "float64") == 1e-2
    assert case.tolerance("steps/afterwards", "float64") == 1e-3


def test_rows_that_only_rounding_moves_are_left_out():
    """Named as "name" or "name[a:b]" in `noise_gradient`."""
    noise = ["key.bias[1:3]", "other", "key.bias_2"]
    assert replay._settled("key.bias", (4,), noise).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert not replay._settled("other", (2, 2), noise).any()
    assert replay._settled("key", (2,), noise).all()


def of_schema_2(path: Path) -> bool:
    with np.load(path) as z:
        return "schema" in z


SCHEMA_2 = [path for path in GOLDENS if of_schema_2(path)]


@pytest.fixture
def hasty():
    """Let the compiler optimise little: programs run once."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.long(60)
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("path", "stages"),
    [
        pytest.param(
            path,
            stages,
            id=f"{path.stem}-{stages.split()[0]}",
            # Their cells and steps are those of other files.
            marks=pytest.mark.slow
            if path.stem in ("mfm", "graph_mfn") and "steps" in stages
            else (),
        )
        for path in SCHEMA_2
        for stages in ("out clean loss grad", "dropped steps")
    ],
)
def test_what_public_classes_and_trainers_computed(path, stages):
    """In two halves; float32, optimised, at once: `python -m msa_jax.parity`."""
    with np.load(path) as z:
        arrays = {key: z[key] for key in z}
    asked = tuple(f"{stage}/" for stage in stages.split())
    for case in schema.cases(arrays):
        for key in case.expected():
            if not key.startswith(asked):
                del arrays[f"{case.name}/{key}"]
    tables = replay.replay(arrays, path.name, ("float64",))
    assert sum(len(table.rows) for table in tables) > 10
    assert [row for table in tables for row in table.rows if not row.passed] == []
    notes = [note for table in tables for note in table.notes]
    left = ", ".join(n.partition(" keys not compared: ")[2] for n in notes).split(", ")
    ignored = methods.PAPERS[str(arrays["method"])].torch.ignored
    assert all(re.search(ignored, name) for name in left if name)
