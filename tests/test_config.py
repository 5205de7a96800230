"""Every config file against the public codes' hyper-parameters."""

import inspect
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from msa_jax import config, methods
from msa_jax.errors import UserError
from msa_jax.text import FeatureEncoder
from msa_jax.types import Batch

FOLDER = Path(__file__).parents[1] / "configs"
DEFAULTS = {
    "self_mm": config.base,
    "sugrm": config.sugrm,
    "spt": config.standalone_spt,
    "mmcl": config.mmcl,
    "ucrn": config.ucrn,
}
VARIANTS = {
    "self_mm": ("self_mm", "mmsa", "paper"),
    "sugrm": ("code", "paper"),
    "mmcl": ("", "unaligned+no_contrast"),
    "ucrn": ("", "code+no_sqil+ta"),
}


def get_config(file: str):
    return runpy.run_path(str(FOLDER / f"{file}.py"))["get_config"]


FILES = sorted(path.stem for path in FOLDER.glob("*.py"))
EVERY = [
    (file, options)
    for file in FILES
    for options in (
        [(v,) for v in VARIANTS[get_config(file)().method]]
        if inspect.signature(get_config(file)).parameters
        else [()]
    )
]


def keys(c, prefix=""):
    """Return every field's path."""
    found = set()
    for name, value in c.items():
        inner = keys(value, f"{prefix}{name}.") if hasattr(value, "items") else set()
        found |= inner or {prefix + name}
    return found


@pytest.mark.parametrize("file, options", EVERY)
def test_every_config_is_sound_and_builds_its_method(file, options):
    c = get_config(file)(*options)
    config.check(c)
    assert keys(c) == keys(DEFAULTS[c.method]())
    method = methods.make(c, FeatureEncoder(), (-3.0, 3.0))  # takes every model field
    groups = {method.groups(p) for p in ("text_encoder/a", "text_encoder/bias", "x")}
    groups |= {method.groups(f"{m}_lstm/a") for m in ("audio", "vision")}
    others = {"spt"} if "spt" in c else set()
    assert groups | others == set(c.optim.groups)


@pytest.mark.parametrize("data", ["mosi", "mosei", "sims"])
def test_an_unknown_variant_is_refused(data):
    with pytest.raises(
        UserError, match="^variant 'mms': must be self_mm, mmsa or paper"
    ):
        get_config(f"self_mm_{data}")("mms")


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
    c = get_config(f"self_mm_{data}")(variant)
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
    c = get_config(f"spt_{data}")()
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
    c = config.standalone_spt()
    config.check(c)
    c.optim.warmup_share = 0.1
    with pytest.raises(UserError, match="^config.optim.warmup_share = 0.1: rates warm"):
        config.check(c)
    c.optim.schedule = "linear"
    config.check(c)


@pytest.mark.parametrize("data", ["mosi", "mosei", "sims"])
def test_the_papers_text(data):
    """Two rates, one hidden layer, no map after the LSTMs, Eq. 1 to 8 as printed."""
    c = get_config(f"self_mm_{data}")("paper")
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
        ("optim.schedule", "cosine"),
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
    c = config.base()
    *sections, field = path.split(".")
    section = c
    for name in sections:
        section = section[name]
    with section.unlocked(), section.ignore_type():
        section[field] = value
    with pytest.raises(UserError) as caught:
        config.check(c)
    message = str(caught.value)
    assert message.startswith(f"config.{'.'.join(sections) or field}")
    assert "\n" not in message and field in message


def test_aligned_lengths_exclude_front_padding():
    c = config.base()
    c.data.padding = "front"
    config.check(c)
    c.data.aligned = True
    with pytest.raises(UserError, match="^config.data.padding = 'front' and config.da"):
        config.check(c)


def test_each_run_has_its_own_configuration():
    c = config.base()
    c.model.text_head = 1
    c.optim.groups.bert.rate = 1.0
    assert config.base().model.text_head == 64
    assert config.base().optim.groups.bert.rate == 5e-5
