"""Every config file against the public codes' hyper-parameters."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from msa_jax import methods
from msa_jax.config import fields
from msa_jax.config.sections import ADDED
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Batch
from msa_jax.methods import PAPERS
from msa_jax.text.encoders import FeatureEncoder

CARDS = Path(__file__).parents[2] / "configs"
EVERY = [
    (name, "+".join(filter(None, (data, variant))))
    for name, paper in PAPERS.items()
    for data in paper.datasets()
    for variant in ("", *paper.variants)
]


def keys(c, prefix=""):
    """Return every field's path."""
    found = set()
    for name, value in c.items():
        inner = keys(value, f"{prefix}{name}.") if hasattr(value, "items") else set()
        found |= inner or {prefix + name}
    return found


@pytest.mark.parametrize("name, words", EVERY)
def test_every_configuration_is_sound_and_builds_its_method(name, words):
    c = PAPERS[name].config(words)
    methods.check(c)
    assert c.data.name == words.partition("+")[0]
    assert keys(c) == {field.path for field in PAPERS[name].fields()}
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))  # takes every model field
    groups = {method.groups(p) for p in ("text_encoder/a", "text_encoder/bias", "x")}
    groups |= {method.groups(f"{m}_lstm/a") for m in ("audio", "vision")}
    assert groups <= {*c.optim.groups, "frozen"}
    assert bool(PAPERS[name].selects_on) == (method.valid_error is not None)


@pytest.mark.parametrize("name", PAPERS)
def test_every_paper_has_a_card(name):
    """`configs/NAME.py`, whose words are the paper's."""
    get_config = runpy.run_path(str(CARDS / f"{name}.py"))["get_config"]
    words = next(iter(PAPERS[name].datasets()))
    assert get_config() == PAPERS[name].config()
    assert get_config(words) == PAPERS[name].config(words)


@pytest.mark.parametrize("words", ["mms", "mosei+mms", "mosi+mosei"])
def test_an_unknown_variant_is_refused(words):
    said = "are two data sets" if words == "mosi+mosei" else "did you mean mmsa"
    with pytest.raises(UserError, match=f"^variant .* of self_mm: .*{said}"):
        PAPERS["self_mm"].config(words)


def test_readme_lists_the_methods():
    """To print it: python -c "from msa_jax import methods; print(methods.table())"."""
    readme = (CARDS.parent / "README.md").read_text("utf-8")
    assert methods.table() in readme


def test_a_configuration_of_another_method_is_refused():
    c = PAPERS["self_mm"].config()
    c.method = "mmcl"
    with pytest.raises(UserError, match="is another method's .*use configs/mmcl.py"):
        methods.check(c)


def test_a_stored_configuration_takes_defaults_for_added_fields_alone():
    c = PAPERS["mmcl"].config("mosi+no_scl")
    stored = c.to_dict()
    for path in ADDED:
        section, _, name = path.rpartition(".")
        del (stored[section] if section else stored)[name]
    assert methods.completed(stored) == c
    del stored["weights"]["uni"]
    with pytest.raises(KeyError):
        methods.check(methods.completed(stored))


def test_help_lists_every_field_with_what_it_may_be():
    text = methods.help_of(PAPERS["ucrn"].config("mosei+no_mjs"))
    assert "model.gate = relu  (relu | squeeze)" in text
    assert "task = sentiment  (sentiment)" in methods.help_of(PAPERS["mmcl"].config())
    assert "loss.divergence_weight = 0.0  (at least 0)  lambda_m; 0: without" in text
    assert "model.modalities = text,audio,vision  (list any of" in text
    assert all(f"  {field.path} = " in text for field in PAPERS["ucrn"].fields())


# Source: config/config_regression.py of thuiar/Self-MM (1786283) and thuiar/MMSA
# (a94e65d). Rates and decays: bert, audio, vision, other; heads and their dropouts:
# fusion, text, audio, vision; lstm: audio, vision. Last, the public models' number of
# parameters without BERT, counted there.
PUBLISHED = {
    ("mosi", "self_mm"): {
        "batch": 32,
        "rates": (5e-5, 1e-3, 1e-4, 1e-3),
        "decays": (0.001, 0.01, 0.001, 0.001),
        "lstm": (32, 64),
        "heads": (128, 64, 16, 32),
        "dropouts": (0.1, 0, 0.1, 0.1),
        "zero_is_positive": True,
        "parameters": 206_980,
    },
    ("mosi", "mmsa"): {
        "batch": 16,
        "rates": (5e-5, 5e-3, 5e-3, 1e-3),
        "decays": (0.001, 0.001, 0.001, 0.001),
        "lstm": (16, 32),
        "heads": (128, 32, 16, 32),
        "dropouts": (0, 0.1, 0.1, 0),
        "zero_is_positive": False,
        "parameters": 159_332,
    },
    ("mosei", "self_mm"): {
        "batch": 32,
        "rates": (5e-5, 5e-3, 1e-4, 1e-3),
        "decays": (0.001, 0, 0, 0.01),
        "lstm": (32, 32),
        "heads": (128, 32, 16, 16),
        "dropouts": (0, 0.1, 0, 0.1),
        "zero_is_positive": True,
        "parameters": 172_532,
    },
    ("mosei", "mmsa"): {
        "batch": 32,
        "rates": (5e-5, 5e-3, 1e-4, 1e-3),
        "decays": (0.001, 0, 0, 0.01),
        "lstm": (16, 32),
        "heads": (128, 32, 16, 32),
        "dropouts": (0.1, 0, 0, 0),
        "zero_is_positive": False,
        "parameters": 165_668,
    },
    ("sims", "self_mm"): {
        "batch": 32,
        "rates": (5e-5, 5e-3, 5e-3, 1e-3),
        "decays": (0.001, 0.01, 0.01, 0.001),
        "lstm": (16, 64),
        "heads": (128, 64, 16, 32),
        "dropouts": (0, 0.1, 0.1, 0),
        "zero_is_positive": True,
        "parameters": 381_380,
    },
}
PUBLISHED["sims", "mmsa"] = PUBLISHED["sims", "self_mm"] | {"zero_is_positive": False}
FEATURES = {"mosi": (5, 20), "mosei": (74, 35), "sims": (33, 709)}  # audio, vision


@pytest.mark.parametrize("data, variant", PUBLISHED)
def test_hyper_parameters_are_the_published_ones(data, variant):
    c = PAPERS["self_mm"].config(f"{data}+{variant}")
    groups = [c.optim.groups[g] for g in ("bert", "audio", "vision", "other")]
    heads = [f"{t}_head" for t in ("fusion", "text", "audio", "vision")]
    found = {
        "batch": c.optim.batch_size,
        "rates": tuple(g.rate for g in groups),
        "decays": tuple(g.decay for g in groups),
        "lstm": (c.model.audio_hidden, c.model.vision_hidden),
        "heads": tuple(c.model[head] for head in heads),
        "dropouts": tuple(c.model[f"{head}_dropout"] for head in heads),
        "zero_is_positive": c.ulgm.zero_is_positive,
        "parameters": parameters(c, *FEATURES[data]),
    }
    assert found == PUBLISHED[data, variant]
    # the same everywhere
    no_decay = c.optim.groups.bert_no_decay
    assert (no_decay.rate, no_decay.decay) == (5e-5, 0)
    assert (c.model.audio_width, c.model.vision_width) == (16, 32)
    assert (c.model.audio_dropout, c.model.vision_dropout) == (0, 0)
    assert (c.model.head_layers, c.model.project_lstm) == (2, True)
    assert (c.optim.accumulate_batches, c.selection.early_stop) == (4, 8)
    assert c.seeds == (1111, 1112, 1113, 1114, 1115)
    assert c.text.max_tokens == (39 if data == "sims" else 50)
    assert c.selection.round_decimals == (4 if variant == "mmsa" else None)
    assert c.selection.min_delta == 1e-6


def parameters(c, audio, vision) -> int:
    """Count the parameters on bert-base's 768 features."""
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))
    one = jnp.ones(1, jnp.int32)

    def init(text, audio, vision):
        batch = Batch(text, one, audio, one, vision, one, one * 1.0, one, one > 0)
        return method.model.init(jax.random.key(0), batch, train=False)

    widths = (768, audio, vision)
    inputs = [jax.ShapeDtypeStruct((1, 1, w), jnp.float32) for w in widths]
    shapes = jax.eval_shape(init, *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("data", ["mosi", "mosei"])
def test_sp_transformers_hyper_parameters(data):
    """Source: its code, the command's defaults, the same for all data sets."""
    c = PAPERS["spt"].config(data)
    sizes = {"embed": 32, "heads": 8, "rounds": 4, "stride": 5}
    radii = {"input_radius": 8, "cross_radius": 4, "self_radius": 3}
    rates = {"relu": 0.1, "residual": 0.1, "embed": 0.3, "attention": 0.0}
    expected = sizes | radii | {f"{n}_dropout": rate for n, rate in rates.items()}
    assert {name: c.spt[name] for name in expected} == expected
    assert c.model.output_dropout == 0.1
    assert (c.optim.batch_size, c.optim.accumulate_batches) == (250, 1)
    for name in ("spt", "other"):
        assert c.optim.groups[name].to_dict() == {"rate": 5e-4, "decay": 0.0}
    schedule = (c.optim.schedule, c.optim.plateau_patience, c.optim.plateau_factor)
    assert schedule == ("plateau", 20, 0.1) and c.optim.clip_norm == 1.0
    assert (c.selection.max_epochs, c.selection.early_stop) == (50, 50)
    assert (c.loss.error, c.seeds, c.text.encoder) == ("l1", (777,), "features")


def test_rates_do_not_warm_up_under_a_plateau_schedule():
    c = PAPERS["spt"].config()
    methods.check(c)
    c.optim.warmup_share = 0.1
    with pytest.raises(UserError, match="^config.optim.warmup_share = 0.1: rates warm"):
        methods.check(c)
    c.optim.schedule = "linear"
    methods.check(c)


@pytest.mark.parametrize("data", ["mosi", "mosei", "sims"])
def test_the_papers_text(data):
    """Two rates, one hidden layer, no map after the LSTMs, Eq. 1 to 8 as printed."""
    c = PAPERS["self_mm"].config(f"{data}+paper")
    rates = {name: group.rate for name, group in c.optim.groups.items()}
    bert = {"bert": 5e-5, "bert_no_decay": 5e-5}
    others = dict.fromkeys(("audio", "vision", "spt", "other"), 1e-3)
    assert rates == bert | others
    assert (c.model.head_layers, c.model.project_lstm) == (1, False)
    assert c.ulgm.to_dict() == {
        "rule": "self_mm",
        "zero_is_positive": False,
        "scale_distance": True,
        "epsilon_in_ratio": False,
        "clip_labels": False,
        "undefined": "keep",
        "repeat_extremes": True,
    }


@pytest.mark.parametrize(
    "path, value",
    [
        ("method", "selfmm"),
        ("seeds", ()),
        ("seeds", (1, 2, 1)),
        ("seeds", (-1, 2)),
        ("data.standardise", True),
        ("data.padding", "auto"),
        ("text.encoder", "roberta"),
        ("text.pooling", "max"),
        ("text.max_tokens", 2),
        ("model.head_layers", 3),
        ("model.audio_dropout", 1.0),
        ("model.text_head_dropout", -0.1),
        ("ulgm.undefined", "zero"),
        ("optim.batch_size", 0),
        ("optim.accumulate_batches", 0),
        ("optim.groups.bert.rate", 0.0),
        ("optim.groups.other.rate", float("nan")),
        ("optim.groups.audio.decay", -1e-3),
        ("optim.clip_norm", -1.0),
        ("optim.clip_value", -1.0),
        ("optim.tail", "kept"),
        ("optim.clip_norm", float("nan")),
        ("optim.optimiser", "sgd"),
        ("optim.beta1", 1.0),
        ("optim.beta2", 0.0),
        ("optim.epsilon", 0.0),
        ("optim.rho", float("nan")),
        ("optim.schedule", "step"),
        ("optim.warmup_share", 1.0),
        ("optim.plateau_patience", -1),
        ("optim.plateau_factor", 1.5),
        ("selection.early_stop", 0),
        ("selection.max_epochs", 0),
        ("selection.valid_mean", "median"),
        ("mesh.devices", -1),
        ("mesh.data", 0),
        ("mesh.over_seeds", "scan"),
        ("precision", "float16"),
    ],
)
def test_bad_values_are_refused_by_name(path, value):
    c = PAPERS["self_mm"].config()
    *sections, field = path.split(".")
    section = c
    for name in sections:
        section = section[name]
    with section.unlocked(), section.ignore_type():
        section[field] = value
    with pytest.raises(UserError) as caught:
        methods.check(c)
    message = str(caught.value)
    assert message.startswith(f"config.{'.'.join(sections) or field}")
    assert "\n" not in message and field in message


@pytest.mark.parametrize("name", ["tfn", "lmf", "graph_mfn"])
def test_an_error_between_scores_is_refused_where_none_is_asked(name):
    c = PAPERS[name].config("mosei")
    c.loss.error = "huber"
    methods.check(c)
    c.task = "two_class"
    with pytest.raises(UserError, match="^config.loss.error = 'huber' says nothing"):
        methods.check(c)


@pytest.mark.parametrize(
    "path, value, said",
    [
        ("optim.batchsize", 8, "= 8: linear has no such field"),
        ("optim.batch_size.more", 8, "linear has no such field"),
        ("optim.batch_size", "8", "= '8': not a value of type int"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(path, value, said):
    with pytest.raises(UserError, match=f"config.{path} .*{said}"):
        fields.change(PAPERS["linear"].config(), {path: value})


def test_aligned_lengths_exclude_front_padding():
    c = PAPERS["self_mm"].config()
    c.data.padding = "front"
    methods.check(c)
    c.data.aligned = True
    with pytest.raises(UserError, match="^config.data.padding = 'front' and config.da"):
        methods.check(c)


def test_each_run_has_its_own_configuration():
    c = PAPERS["self_mm"].config()
    c.model.text_head = 1
    c.optim.groups.bert.rate = 1.0
    assert PAPERS["self_mm"].config().model.text_head == 64
    assert PAPERS["self_mm"].config().optim.groups.bert.rate == 5e-5
