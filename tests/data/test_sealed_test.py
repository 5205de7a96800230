"""Test is sealed until selection is frozen: by types, by behaviour; leaks are seen."""

import ast
import dataclasses
import typing

import jax
import numpy as np
import pytest
import tiny
from test_architecture import TREES
from tiny import make_heads, make_proof
from tiny_runs import SEEDS, VALID, data, settings

from msa_jax.data import Dataset, preparation
from msa_jax.data.sealed_test import (
    Frozen,
    Sealed,
    StillSealed,
    freeze,
    recall,
    seal,
    state_hash,
)
from msa_jax.ground.types import Examples, Selection, TrainState
from msa_jax.runs.writer import Writer
from msa_jax.training import epoch_program, loop, step, train
from msa_jax.training.program import make_program
from msa_jax.training.splits import Inputs, make_inputs
from msa_jax.training.splits import opened as opened_splits
from msa_jax.training.train_state import devices_of, make_mesh


class Selected(typing.NamedTuple):
    """All that can be seen of a selection."""

    fitted: train.Fitted
    epochs: list[loop.Epoch]


@pytest.fixture(scope="module")
def select(tmp_path_factory):
    """Train as `main` does, up to the end of selection, on a quick network."""
    folder = tmp_path_factory.mktemp("run")

    def run(dataset: Dataset, on_epoch=lambda epoch: None) -> Selected:
        config, epochs = settings(), []
        inputs = make_inputs(dataset, config)
        mesh = make_mesh(1, 1, len(SEEDS))
        writer = Writer(folder, config, dataset, inputs, {})

        def every(epoch):
            epochs.append(epoch)
            writer.epoch(epoch)
            on_epoch(epoch)

        seen = inputs.splits["train"], inputs.splits["valid"], inputs.encoder
        fitted = tiny.fit(config, *seen, mesh, (-3.0, 3.0), "mosi", every)
        return Selected(fitted, epochs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch_program.methods, "make", lambda *_: make_heads())
        yield run


@pytest.fixture(scope="module")
def honest(select):
    return select(data(11))


def traces_of_test(one: Selected, other: Selected) -> list[str]:
    """Return what differs between selections of two data sets that differ in test only.

    Selected epochs, epochs run, hashes of selected parameters and last u-labels, and
    every validation value and answer must be the same to the bit.
    """

    def shown(selected: Selected) -> dict[str, bytes]:
        fitted, found = selected.fitted, {}
        for name in ("selected_epoch", "epochs_run", "valid_prediction"):
            found[name] = getattr(fitted, name).tobytes()
        found["state_sha256"] = "".join(fitted.frozen.sha256).encode()
        for name, value in fitted.recorded.items():
            found[f"recorded {name}"] = np.asarray(value).tobytes()
        for epoch in selected.epochs:
            for part in ("train", "valid"):
                for name, value in getattr(epoch, part).items():
                    found[f"epoch {epoch.number} {part} {name}"] = value.tobytes()
        return found

    a, b = shown(one), shown(other)
    return [name for name in a | b if a.get(name) != b.get(name)]


def test_selection_is_the_same_whatever_test_is(select, honest):
    assert traces_of_test(honest, select(data(12))) == []
    # Something was selected: each seed has another epoch than the first and the last.
    assert (
        (honest.fitted.selected_epoch > 1) & (honest.fitted.selected_epoch < 6)
    ).all()
    assert len(set(honest.fitted.frozen.sha256)) == len(SEEDS)


class Program:
    """Stands where the program of an epoch does, and does something else."""

    def __init__(self, run):
        self._run = run

    def lower(self, *shapes):
        del shapes
        return self

    def compile(self, compiler_options=None):
        return self

    def memory_analysis(self):
        return None

    def __call__(self, *given):
        return self._run(*given)


def select_on_test(monkeypatch, dataset: Dataset):
    """The classic: "valid" is test, and results are those of the best epoch on test."""
    honest = step.make_epoch
    test = make_inputs(
        dataset._replace(splits=dataset.splits | {"valid": dataset.splits["test"]}),
        settings(),
    ).splits["valid"]

    def leaky(*arguments, **options):
        run = honest(*arguments, **options)
        return Program(lambda state, data, valid: run(state, data, test))

    monkeypatch.setattr(step, "make_epoch", leaky)


def score_with_test_labels(monkeypatch, dataset: Dataset):
    """The score that selects has something of the labels of test."""
    weight = dataset.splits["test"].label > 0

    def leaky(error, rules, rows):
        del rules, rows
        return (error * weight).mean()

    monkeypatch.setattr(step, "valid_loss", leaky)


def scale_with_test(monkeypatch, dataset: Dataset):
    """Features are standardised with statistics of test, not of train."""
    honest = preparation.train_columns

    def leaky(splits, *modalities):
        return honest({"train": splits["test"]}, *modalities)

    monkeypatch.setattr(preparation, "train_columns", leaky)


@pytest.mark.parametrize(
    "leak, trace",
    [
        (select_on_test, "epoch 1 valid loss"),
        (score_with_test_labels, "epoch 1 valid loss"),
        (scale_with_test, "state_sha256"),
    ],
)
def test_a_leak_is_caught(select, monkeypatch, leak, trace):
    def leaky(dataset):
        with monkeypatch.context() as patch:
            leak(patch, dataset)
            return select(dataset)

    found = traces_of_test(leaky(data(11)), leaky(data(12)))
    assert trace in found
    assert "state_sha256" in found  # other parameters leave the run


def test_what_is_called_after_an_epoch_cannot_steer(select, honest):
    def overwrite(epoch):
        for part in (epoch.batches, epoch.train, epoch.valid, epoch.recorded):
            for value in part.values():
                if isinstance(value, np.ndarray) and value.flags.writeable:
                    value[...] = 0
        for value in (epoch.active, epoch.selected):
            if value.flags.writeable:
                value[...] = False

    steered, right = select(data(11), overwrite).fitted, honest.fitted
    assert steered.frozen.sha256 == right.frozen.sha256
    np.testing.assert_array_equal(steered.selected_epoch, right.selected_epoch)
    np.testing.assert_array_equal(steered.epochs_run, right.epochs_run)
    np.testing.assert_array_equal(steered.valid_prediction, right.valid_prediction)


KEYS = {
    "nothing": lambda state: None,
    "the state": lambda state: state,
    "the selection": lambda state: state.selection,
    "a proof made by hand": lambda state: Frozen(
        state.params, state.params, ("0" * 64,), object()
    ),
    "a proof made too early": lambda state: freeze(state, None, 6),
}


@pytest.mark.parametrize("key", KEYS)
def test_the_seal_does_not_open_during_training(select, monkeypatch, key):
    inputs, make = make_inputs(data(11), settings()), step.make_epoch

    def leaky(*arguments, **options):
        run = make(*arguments, **options)

        def epoch(state, data, valid):
            return run(state, data, inputs.test.open(KEYS[key](state)))

        return Program(epoch)

    monkeypatch.setattr(step, "make_epoch", leaky)
    with pytest.raises(StillSealed):
        select(data(11))


def test_a_selection_opens_it_and_evaluation_reads_it(honest):
    dataset, fitted = data(11), honest.fitted
    inputs = make_inputs(dataset, settings())
    test = inputs.test.open(fitted.frozen)
    np.testing.assert_array_equal(test.label, dataset.splits["test"].label)
    opened = opened_splits(inputs, fitted.frozen)
    assert list(opened) == ["train", "valid", "test"]
    devices = devices_of(settings(), make_mesh(1, 1, len(SEEDS)))
    trained = train.evaluate(settings(), fitted, inputs, devices)
    assert trained.test_prediction.shape == (len(SEEDS), VALID)
    assert trained.fitted is fitted


def test_the_hashes_are_those_of_the_selected_parameters(honest):
    fitted = honest.fitted
    for i, found in enumerate(fitted.frozen.sha256):
        own = jax.tree.map(
            lambda x, i=i: np.asarray(x[i]), fitted.frozen.values["params"]
        )
        assert found == state_hash(own, fitted.recorded["u_labels"][i])


def test_a_change_runs_when_the_seal_is_opened_and_not_before():
    seen, proof = [], make_proof()
    first = seal(3).map(lambda x: seen.append(x) or x + 1)
    second = first.map(lambda x: x * 10)
    assert seen == []
    assert second.open(proof) == 40 and seen == [3]
    for wrong in (None, True, proof.sha256, object()):
        with pytest.raises(StillSealed, match=type(wrong).__name__):
            second.open(wrong)
    assert seen == [3]
    assert "secret" not in repr(seal("secret")) and not hasattr(seal(3), "__dict__")


def test_other_parameters_are_not_recalled():
    params = {"a": np.zeros((1, 2))}
    with pytest.raises(StillSealed, match="not the parameters"):
        recall({"params": params}, None, ("0" * 64,))
    proof = make_proof()
    with pytest.raises(StillSealed):
        dataclasses.replace(proof, variables={"a": np.ones((1, 2))}, maker=None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        proof.variables = {}


@pytest.mark.parametrize(
    "epoch, active, selected, frozen",
    [
        ((6, 6), (True, True), (4, 6), True),  # the last epoch has come
        ((5, 3), (False, False), (4, 1), True),  # early stopping ended both
        ((6, 3), (True, False), (6, 1), True),
        ((5, 3), (True, False), (4, 1), False),  # the first seed still trains
        ((6, 6), (True, True), (4, 0), False),  # the second has selected nothing
    ],
)
def test_a_selection_is_frozen_once_every_seed_has_ended(
    epoch, active, selected, frozen
):
    params, none = {"a": np.zeros((2, 3))}, np.zeros(2)
    selection = Selection(params, none, np.array(selected), np.array(active))
    state = TrainState(none, np.array(epoch), params, (), (), selection, none)
    if frozen:
        assert len(freeze(state, None, 6).sha256) == 2
    else:
        with pytest.raises(StillSealed, match="still trains"):
            freeze(state, None, 6)


def arrays_in(thing, seen: set | None = None) -> list[np.ndarray]:
    """Return every array that somebody who holds `thing` can get at by its fields."""
    seen = set() if seen is None else seen
    if isinstance(thing, np.ndarray | jax.Array):
        return [np.asarray(thing)]
    if id(thing) in seen or isinstance(thing, type | str):
        return []
    seen.add(id(thing))
    parts = list(thing) if isinstance(thing, list | tuple | set) else []
    parts += list(thing.values()) if isinstance(thing, dict) else []
    if type(thing).__module__.startswith("msa_jax"):
        names = [*getattr(thing, "__dict__", ()), *getattr(thing, "__slots__", ())]
        parts += [getattr(thing, name) for name in names]
    return [array for part in parts for array in arrays_in(part, seen)]


def test_what_writes_during_training_holds_no_test(tmp_path):
    dataset, config = data(11), settings()
    inputs = make_inputs(dataset, config)
    found = arrays_in(Writer(tmp_path, config, dataset, inputs, {}))

    for name in ("label", "id", "text", "audio"):
        valid, test = (getattr(dataset.splits[s], name) for s in ("valid", "test"))
        assert any(np.array_equal(valid, a) for a in found), name
        assert not any(np.array_equal(test, a) for a in found), name


def reachable(hint: typing.Any, found: set | None = None) -> set[type]:
    """Return every class that a value of an annotated type can hold, by its fields."""
    found = set() if found is None else found
    origin = typing.get_origin(hint)
    for part in (origin, *typing.get_args(hint)):
        for one in part if isinstance(part, list) else [part]:
            if one is not None and one is not Ellipsis:
                reachable(one, found)
    if origin is None and isinstance(hint, type) and hint not in found:
        found.add(hint)
        if hint.__module__.startswith("msa_jax"):
            for field in typing.get_type_hints(hint).values():
                reachable(field, found)
    return found


def test_the_types_of_fit_name_no_test():
    holders = {Sealed, Frozen, Dataset, Examples, Inputs, train.Trained}
    for function in (make_program, train.start, loop.epochs, train.fitted):
        hints = typing.get_type_hints(function)
        result = hints.pop("return")
        assert not any("test" in name for name in hints)
        assert set().union(*map(reachable, hints.values())) & holders == set()
        frozen = {Frozen} if function is train.fitted else set()
        assert reachable(result) & holders == frozen
    for kind in (loop.Epoch, step.EpochLog, TrainState):
        assert not any("test" in name for name in typing.get_type_hints(kind))
    # The walk finds what is there.
    given = typing.get_type_hints(train.evaluate)
    assert Sealed in reachable(given["inputs"]) and Frozen in reachable(given["fitted"])


def test_only_the_end_of_training_and_a_finished_run_make_a_proof():
    def callers(name):
        found = set()
        for module, tree in TREES.items():
            calls = (x.func for x in ast.walk(tree) if isinstance(x, ast.Call))
            names = {ast.unparse(f) for f in calls} - {"gc.freeze"}  # Python's own
            names = {x.rpartition(".")[2] for x in names}
            found |= {module} if name in names else set()
        return found

    assert callers("freeze") == {"msa_jax.training.train"}
    assert callers("recall") == {"msa_jax.runs.finished"}
    assert callers("adopt") == {"msa_jax.studies.from_mmsa.weights"}
    assert callers("Frozen") == {"msa_jax.data.sealed_test"}
