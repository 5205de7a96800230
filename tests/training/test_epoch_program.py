"""The program of an epoch is chosen by what fits: the compiler has the last word."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from msa_jax.ground.compiler import quickest
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.text.encoders import FeatureEncoder
from msa_jax.text.layout import TextLayout
from msa_jax.training import epoch_program, memory
from msa_jax.training.memory import Memory
from msa_jax.training.train_state import devices_of, make_mesh

GB = 10**9
SAID = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
    "space hbm. Used 21.03G of 15.75G hbm. Exceeded hbm capacity by 5.28G."
)


class Program:
    """Stands for a program that takes so much, or that the compiler refuses."""

    argument_size_in_bytes = 3 * GB
    output_size_in_bytes = alias_size_in_bytes = 2 * GB

    def __init__(self, temporaries):
        self.temp_size_in_bytes = temporaries

    def lower(self, *given):
        return self

    def compile(self, compiler_options=None):
        if self.temp_size_in_bytes is None:
            raise jax.errors.JaxRuntimeError(SAID)
        return self

    def memory_analysis(self):
        return self


def settings(**changes):
    c = ConfigDict(PAPERS["self_mm"].config())
    c.text.encoder, c.mesh.over_seeds, c.optim.batch_size = "features", "vmap", 7
    c.update_from_flattened_dict(changes)
    return c


def plan(
    lanes=8, room=20 * GB, platform="gpu", devices=1, data=1, text=None, **changes
):
    c = settings(**changes)
    how = devices_of(c, make_mesh(devices, data, lanes))._replace(platform=platform)
    return epoch_program.plan(
        c,
        tiny.make_split(30),
        tiny.make_split(9),
        FeatureEncoder(),
        how,
        (-3.0, 3.0),
        lanes=lanes,
        room=room,
        text=text,
    )


def build(temporaries, room=20 * GB):
    made = plan()._replace(program=lambda n: Program(temporaries[n]))
    return epoch_program.build(made, room, settings())


def test_seeds_that_do_not_fit_are_grouped_so_that_they_do():
    """8 are refused, 4 compile to too much, 2 fit."""
    found = build({8: None, 4: 17 * GB, 2: 5 * GB})
    assert found.at_once == 2
    assert found.need.total() == 8 * GB
    assert found.refused == [
        "the compiler needs 21.03G of 15.75G",
        "4 at a time need 20 GB",
    ]
    assert build({8: 5 * GB}).refused == []
    # What a compiler has counted may take more of the room than what is planned.
    assert build({8: int(15.8 * GB)}).at_once == 8
    assert build({8: int(16.2 * GB), 4: 0}).at_once == 4


def test_what_cannot_fit_is_one_line():
    with pytest.raises(UserError) as caught:
        build(dict.fromkeys((8, 4, 2, 1)), room=30 * 10**3)
    said = str(caught.value)
    assert said.startswith(
        "an epoch does not fit the device, the compiler needs 21.03G of 15.75G: "
    )
    assert "--config.optim.batch_size=3" in said and "\n" not in said
    # A program that is only said to be large is run: the user may know better.
    assert build(dict.fromkeys((8, 4, 2, 1), 50 * GB)).at_once == 1


def test_other_errors_of_the_compiler_are_not_taken_for_it():
    class Faulty(Program):
        def compile(self, compiler_options=None):
            raise jax.errors.JaxRuntimeError("INTERNAL: a fault")

    made = plan()._replace(program=lambda n: Faulty(0))
    with pytest.raises(jax.errors.JaxRuntimeError, match="a fault"):
        epoch_program.build(made, None, settings())


def test_every_batch_is_run_as_the_text_encoder_wants_it():
    """Of training, of what is left over after its last step, and of validation."""
    wrapped = []

    def on_batch(function):
        wrapped.append(function.__name__)
        return function

    changes = {"mesh.over_seeds": "map", "optim.accumulate_batches": 2}
    made = plan(lanes=1, text=TextLayout(on_batch), **changes)
    jax.eval_shape(made.program(0), made.states, *made.splits)
    assert {*wrapped} == {"backward", "only_forward", "answer"}


def test_devices_that_share_a_batch_count_their_part_of_it():
    whole, part = plan(), plan(devices=8, data=8)
    assert part.need.step < whole.need.step
    assert part.need.state == whole.need.state


def test_which_groups_are_tried(monkeypatch):
    monkeypatch.setattr(memory, "estimate", lambda *_, **__: Memory(GB, 0, GB))
    assert plan().groups == (8, 4, 2, 1)
    assert plan(room=4 * GB).groups == (2, 1)
    assert plan(room=GB).groups == (1,)
    assert plan(devices=4).groups == (2, 1)  # of a device
    assert plan(**{"mesh.seeds_at_once": 4}).groups == (4,)
    two = plan(devices=4, **{"mesh.seeds_at_once": 4})
    assert two.groups == (2,)  # a device has no more
    assert plan(**{"mesh.over_seeds": "map"}).groups == (1,)
    # A CPU's compiler refuses nothing; its devices share one memory.
    assert plan(platform="cpu", room=5 * GB).groups == (2,)
    assert plan(platform="cpu", room=GB, devices=4).groups == (2,)


def on_one(kind, **changes):
    """Return how a configuration uses one device of a kind that need not be here."""
    one = np.array([SimpleNamespace(platform=kind)])
    mesh: Any = SimpleNamespace(devices=one, shape={"seed": 1, "data": 1})
    return devices_of(settings(**changes), mesh)


@pytest.mark.parametrize(
    "compilation, kind, expected",
    [("full", "cpu", None), ("quick", "cpu", quickest()), ("quick", "gpu", None)],
)
def test_a_quick_compilation_is_a_cpus_alone(compilation, kind, expected):
    given = []

    class Told(Program):
        def compile(self, compiler_options=None):
            given.append(compiler_options)
            return self

    made = plan()._replace(program=lambda n: Told(0))
    options = on_one(kind, compilation=compilation).options
    how = made.devices._replace(options=options)
    epoch_program.build(made._replace(devices=how), None, settings())
    assert given == [expected]


def test_seeds_run_in_turn_on_cpu_devices_that_share_no_batch():
    auto = {"mesh.over_seeds": "auto"}
    assert on_one("cpu", **auto).over_seeds == "map"
    assert on_one("gpu", **auto).over_seeds == "vmap"
    assert devices_of(settings(**auto), make_mesh(2, 1, 2)).over_seeds == "map"
    assert devices_of(settings(**auto), make_mesh(4, 2, 2)).over_seeds == "vmap"
    assert on_one("cpu").over_seeds == "vmap"  # as the settings say
