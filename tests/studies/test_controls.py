"""Shuffled modalities: after training at test, and before it as controls to train."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn
from ml_collections import FrozenConfigDict

from msa_jax.data.sealed_test import Sealed, StillSealed, seal
from msa_jax.ground.types import Outputs
from msa_jax.methods import PAPERS
from msa_jax.runs import shuffled_modalities, workdir
from msa_jax.runs.shuffled_modalities import AUDIO, AUDIO_VISION, DRAWS, TEXT, VISION
from msa_jax.studies import controls
from msa_jax.text.encoders import Encoder, FeatureEncoder
from msa_jax.training import step
from msa_jax.training.splits import Inputs, opened
from msa_jax.training.train_state import devices_of, make_mesh

SPLIT = tiny.make_split(23, 7)
METHOD = tiny.make_heads()
PARAMS = jax.tree.map(
    lambda *x: jnp.stack(x), *[tiny.make_params(METHOD, SPLIT, seed) for seed in (0, 1)]
)


@pytest.mark.parametrize("n", [2, 3, 7, 100])
def test_everybody_gets_another_one(n):
    drawn = [shuffled_modalities.partners(n, draw) for draw in range(4)]
    for partner in drawn:
        assert sorted(partner) == list(range(n))
        assert (partner != np.arange(n)).all()
        seen, at = [], 0
        while at not in seen:  # one cycle: a walk from anybody meets all
            seen.append(at)
            at = int(partner[at])
        assert len(seen) == n
    assert n < 7 or len({p.tobytes() for p in drawn}) == 4
    np.testing.assert_array_equal(drawn[2], shuffled_modalities.partners(n, 2))


def test_the_same_partners_in_every_version():
    assert shuffled_modalities.partners(6, 0).tolist() == [4, 3, 1, 0, 5, 2]
    assert shuffled_modalities.partners(1, 0).tolist() == [0]


def answers(
    method=METHOD, params=PARAMS, split=SPLIT, how="map", devices=(1, 1), **model
):
    """Answer `split` with shuffled modalities, as a run does."""
    fitted = SimpleNamespace(method=method, frozen=tiny.make_proof(params))
    mesh, config = make_mesh(*devices, 2), settings(how, **model)
    devices = devices_of(config, mesh)
    return shuffled_modalities.answers(config, fitted, seal(split), devices)


def settings(how="map", **model):
    return FrozenConfigDict(
        {
            "compilation": "full",
            "mesh": {"over_seeds": how},
            "optim": {"batch_size": 17},
            "model": model,
        }
    )


@pytest.fixture(scope="module")
def found():
    return answers()


def with_rows(audio=None, vision=None, text=None, split=SPLIT):
    """Shuffle a whole split by hand."""
    changes = {}
    for name, rows in (("audio", audio), ("vision", vision), ("text", text)):
        if rows is not None:
            for field in (name, f"{name}_length"):
                changes[field] = getattr(split, field)[rows]
    return dataclasses.replace(split, **changes)


def test_answers_are_those_to_a_split_shuffled_by_hand(found):
    predict = tiny.quick(
        jax.vmap(
            lambda p, s: step.predict(METHOD, {"params": p}, s, 23), in_axes=(0, None)
        )
    )
    assert list(found.shuffled) == [AUDIO_VISION, AUDIO, VISION, TEXT]
    own = predict(PARAMS, SPLIT)
    np.testing.assert_allclose(found.own, own, atol=1e-5)
    for draw in (0, DRAWS - 1):
        rows = shuffled_modalities.partners(23, draw)
        # For the text, the cycle is walked the other way.
        back = np.argsort(rows)
        for name, split in (
            (AUDIO_VISION, with_rows(audio=rows, vision=rows)),
            (AUDIO, with_rows(audio=rows)),
            (VISION, with_rows(vision=rows)),
            (TEXT, with_rows(text=back)),
        ):
            given, expected = found.shuffled[name], predict(PARAMS, split)
            assert given.shape == (2, DRAWS, 23)
            np.testing.assert_allclose(given[:, draw], expected, atol=1e-5)
            assert np.abs(expected - own).max() > 0.01


def test_devices_and_seeds_in_parallel_do_not_matter(found):
    other = answers(how="vmap", devices=(4, 2))
    tiny.assert_close(other, found, 1e-5)


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (("text", "audio"), [AUDIO, TEXT]),
        (("audio", "vision"), [AUDIO_VISION, AUDIO, VISION]),
        (("text",), [TEXT]),
    ],
)
def test_what_is_not_read_is_not_shuffled(read, names):
    method, params = listening(read[-1])
    found = answers(method, params, modalities=read)
    assert list(found.shuffled) == names


class Listener(nn.Module):
    """Answers the first number of one modality."""

    modality: str

    @nn.compact
    def __call__(self, batch, *, train: bool) -> Outputs:
        weight = self.param("weight", nn.initializers.ones, (1,))
        said = getattr(batch, self.modality)[:, :1, 0]
        return Outputs((said @ weight[:, None]).T, {})


def listening(modality):
    return METHOD._replace(model=Listener(modality)), {"weight": jnp.ones((2, 1))}


def test_who_reads_text_alone_changes_nothing_and_runs_it_once():
    method, params = listening("text")
    found, text = answers(method, params), np.asarray(SPLIT.text[:, 0, 0])
    np.testing.assert_array_equal(found.own, np.stack([text, text]))
    for name in (AUDIO_VISION, AUDIO, VISION):
        expected = np.broadcast_to(text, (2, DRAWS, 23))
        np.testing.assert_array_equal(found.shuffled[name], expected)
    assert (np.abs(found.shuffled[TEXT] - text).max(axis=-1) > 0.1).all()
    program = shuffled_modalities.make_program(
        method, 4, make_mesh(1, 1, 2), over_seeds="map"
    )
    rows = np.zeros((15, 23), np.int32)
    text = str(jax.make_jaxpr(program)({"params": params}, SPLIT, rows, rows))
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products and not any("[15," in line for line in products)


def test_who_copies_audio_loses_what_the_permutation_says():
    """The label is the first number of audio: the error is the distance of partners."""
    method, params = listening("audio")
    said = np.clip(np.asarray(SPLIT.audio[:, 0, 0]), -3, 3)
    split = dataclasses.replace(SPLIT, audio=SPLIT.audio.at[:, 0, 0].set(said))
    found = shuffled_modalities.summaries("mosi", said, answers(method, params, split))
    distance = [
        np.abs(said[shuffled_modalities.partners(23, d)] - said).mean()
        for d in range(DRAWS)
    ]
    for name in (AUDIO_VISION, AUDIO):
        cell = found[name]["mae"]
        np.testing.assert_allclose(cell["per_seed"], [np.mean(distance)] * 2, rtol=1e-6)
        np.testing.assert_allclose(cell["change"]["mean"], np.mean(distance), rtol=1e-6)
        assert found[name]["corr"]["change"]["mean"] < -0.5
    assert found[VISION]["mae"]["change"]["per_seed"] == [0, 0]


def test_summaries_by_hand():
    truth = np.array([1.0, -1, 2, -2], np.float32)
    own = np.stack([truth, -truth])
    # Two draws: off by 1 everywhere, off by 3 everywhere; the second seed lost one.
    draws = np.stack([truth + 1, truth - 3])
    lost = np.stack([truth, np.full(4, np.nan, np.float32)])

    def summed(*seeds):
        found = shuffled_modalities.Answers(own, {"x": np.stack(seeds)})
        return shuffled_modalities.summaries("mosi", truth, found)["x"]

    cells = summed(draws, lost)
    assert cells["mae"]["per_seed"] == [2, None] and cells["mae"]["mean"] is None
    assert cells["mae"]["change"]["per_seed"] == [2, None]
    cells = summed(draws, draws)
    assert cells["mae"]["per_seed"] == [2, 2] and cells["mae"]["sd"] == 0
    # Seed by seed: 2 - 0 and 2 - 3.
    assert cells["mae"]["change"]["per_seed"] == [2, -1]
    assert cells["mae"]["change"]["mean"] == 0.5
    assert cells["corr"]["change"]["per_seed"] == pytest.approx([0, 2])


def test_test_stays_sealed_until_selection_is_frozen():
    unfinished = SimpleNamespace(method=METHOD, frozen=None)
    devices = devices_of(settings(), make_mesh(1, 1, 2))
    with pytest.raises(StillSealed):
        shuffled_modalities.answers(settings(), unfinished, seal(SPLIT), devices)


def make_inputs(seen: list) -> Inputs:
    """Three splits of other sizes; test says when it is read."""
    splits = {"train": tiny.make_split(9, 1), "valid": tiny.make_split(5, 2)}
    test = Sealed(lambda: seen.append("test") or tiny.make_split(6, 3))
    encoder = Encoder(FeatureEncoder(), None, None, 6, None, "")
    return Inputs(splits, test, encoder, ["before"], preparation=None)


AUDIO_VISION_FIELDS = ("audio", "audio_length", "vision", "vision_length")
OTHERS = ("text", "text_length", "label", "unimodal_label")


def both(change):
    """Return every split before and after a control, and its note."""
    seen, proof = [], tiny.make_proof()
    inputs = make_inputs(seen)
    after = change(inputs)
    assert seen == []  # nothing looked at test
    assert inputs.notes == ["before"] and after.notes[0] == "before"
    before, after_splits = opened(inputs, proof), opened(after, proof)
    assert list(after_splits) == ["train", "valid", "test"]
    for name, split in after_splits.items():
        for field in OTHERS:
            expected = getattr(before[name], field)
            np.testing.assert_array_equal(getattr(split, field), expected)
    return before, after_splits, after.notes[1]


def test_without_audio_and_vision_all_samples_are_alike():
    _, after, note = both(controls.of("without"))
    for split in after.values():
        assert not split.audio.any() and not split.vision.any()
        assert (split.audio_length == 6).all() and (split.vision_length == 5).all()
        assert split.audio_length.dtype == jnp.int32
    assert note.startswith("Trained without audio and vision, as a control")
    assert note.startswith(workdir.ALTERED)


def test_shuffled_audio_and_vision_stay_together_in_their_split():
    before, after, note = both(controls.of("shuffled"))
    _, again, _ = both(controls.shuffled_audio_vision)
    for name, split in after.items():
        n, audio = len(split.label), np.asarray(before[name].audio)
        came_from = [
            int(np.flatnonzero((audio == row).all(axis=(1, 2)))[0])
            for row in np.asarray(split.audio)
        ]
        assert sorted(came_from) == list(range(n))
        assert (np.array(came_from) != np.arange(n)).all()
        for field in AUDIO_VISION_FIELDS:
            expected = getattr(before[name], field)[np.array(came_from)]
            np.testing.assert_array_equal(getattr(split, field), expected)
            np.testing.assert_array_equal(
                getattr(again[name], field), getattr(split, field)
            )
    assert note.startswith(workdir.ALTERED) and "of the same split" in note


def test_no_control_and_an_unknown_one():
    inputs = make_inputs([])
    assert controls.of("")(inputs) is inputs
    with pytest.raises(ValueError, match="'swapped'"):
        controls.of("swapped")


def test_a_method_that_names_its_modalities_is_reduced_by_its_config():
    config = FrozenConfigDict(PAPERS["mmcl"].config())
    found = controls.reduced_config(config, ("text", "audio"))
    assert found is not None and found.model.modalities == ("text", "audio")
    assert config.model.modalities == ("text", "audio", "vision")
    plain = FrozenConfigDict(PAPERS["self_mm"].config())
    assert controls.reduced_config(plain, ("text",)) is None
