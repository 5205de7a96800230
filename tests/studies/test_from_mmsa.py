"""MMSA's configurations as ours: every field of its file, and what is refused."""

import json
import sys
from pathlib import Path

import mmsa_config
import pytest

from msa_jax import from_mmsa
from msa_jax.config import cli
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.methods import PAPERS
from msa_jax.runs.workdir import differences
from msa_jax.studies.from_mmsa import translate

SETS = [(m, d) for m, (_, own) in mmsa_config.MODELS.items() for d in own]


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "config_regression.json"
    path.write_text(json.dumps(mmsa_config.whole()))
    return path


def changed(file: Path, model: str, dataset: str = "mosi", **fields) -> Path:
    """Write the file with other values of a model; None: without the field."""
    whole = mmsa_config.whole()
    common, own = whole[model]["commonParams"], whole[model]["datasetParams"][dataset]
    for name, value in fields.items():
        table = common if name in common else own
        table[name] = value
        if value is None:
            del table[name]
    file.write_text(json.dumps(whole))
    return file


def refused(*given) -> str:
    with pytest.raises(UserError) as error:
        translate.translate(*given)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("model, dataset", SETS)
def test_every_field_is_ours_or_named_as_without_effect(file, model, dataset):
    """And what a method's table knows beside is only that BERT is off."""
    found = translate.translate(file, model, dataset)
    said = set(found.taken.values()) | found.without_effect.keys()
    given = mmsa_config.whole()
    forms = given["datasetCommonParams"][dataset]
    common = given[model]["commonParams"]
    form = forms[
        "aligned" if common["need_data_aligned"] and len(forms) > 1 else "unaligned"
    ]
    own = given[model]["datasetParams"][dataset]
    names = {name for name in form | common | own}
    assert {name.partition(".")[0] for name in said} == names
    known = {name.partition(".")[0] for name in PAPERS[model].mmsa.fields}
    assert known - names <= {"use_bert"}
    assert all(why for why in found.without_effect.values())


@pytest.mark.parametrize("model, dataset", SETS)
def test_mmsas_own_values_are_those_of_our_cards(file, model, dataset):
    """Two ways from MMSA's numbers to a configuration: its file, and our cards."""
    paper = PAPERS[model]
    if dataset not in paper.datasets():  # SIMS v2
        with pytest.raises(UserError, match="not known here; give its configuration"):
            translate.default(paper, dataset)
        return
    found = translate.translate(file, model, dataset).config
    card = translate.default(paper, dataset)
    # Ours stands in for bert-base until its weights are there.
    odd = differences(found.to_dict(), card.to_dict())
    assert [name for name, *_ in odd] in ([], ["text.weights"])


def test_values_go_where_they_belong(file):
    """One of each form: a list, a table, two of one value, a switch, a choice."""
    at = translate.translate(changed(file, "mfn", hidden_dims=[1, 2, 3]), "mfn", "mosi")
    model = at.config.model
    assert (model.text_hidden, model.audio_hidden, model.vision_hidden) == (1, 2, 3)
    assert (model.retain_hidden, model.retain_dropout) == (256, 0.7)
    assert model.audio_vision == "mean_tiled"
    sequence = changed(file, "mfn", need_normalized=False)
    found = translate.translate(sequence, "mfn", "mosi")
    assert found.config.model.audio_vision == "sequence"
    both = translate.translate(
        changed(file, "ef_lstm", dropout=0.25), "ef_lstm", "mosi"
    )
    assert both.config.model.dropout == both.config.model.layer_dropout == 0.25
    kept = translate.translate(
        changed(file, "self_mm", excludeZero=False), "self_mm", "mosi"
    )
    assert kept.config.ulgm.zero_is_positive
    assert kept.taken["ulgm.zero_is_positive"] == "excludeZero"


def test_dropouts_are_in_mmsas_orders(file):
    """Audio, vision, text, fusion; but text, audio, vision, fusion of the heads."""
    four = [0.1, 0.2, 0.3, 0.4]
    model = translate.translate(changed(file, "tfn", dropouts=four), "tfn", "mosi")
    found = model.config.model
    assert (found.audio_dropout, found.vision_dropout) == (0.1, 0.2)
    assert (found.text_dropout, found.fusion_head_dropout) == (0, 0.4)
    path = changed(file, "mlf_dnn", "sims", post_dropouts=four)
    config = translate.translate(path, "mlf_dnn", "sims").config
    heads = [config.heads[f"{m}_head_dropout"] for m in MODALITIES]
    assert [*heads, config.model.fusion_head_dropout] == four


def test_mmsas_slips_are_named(file):
    """What MMSA configures and does not use: MFM's rate, MTFN's decay, dropouts."""
    rate = translate.translate(changed(file, "mfm", learning_rate=0.5), "mfm", "mosi")
    assert rate.config.optim.groups.other.rate == 1e-3
    assert "learning_rate: MMSA builds Adam without it: 1e-3 always" in (
        translate.no_effect(rate)
    )
    decay = translate.translate(file, "mtfn", "sims")
    assert decay.config.optim.groups.other.decay == 0
    assert "weight_decay" in decay.without_effect
    lmf = translate.no_effect(translate.translate(file, "lmf", "mosi"))
    assert any(line.startswith("dropouts.2: ") for line in lmf)
    assert any(line.startswith("dropouts.3: ") for line in lmf)
    assert any(line.startswith("featurePath, seq_lens, feature_dims, ") for line in lmf)


WRONG = {
    "another name": (
        {"textout": 3},
        "textout = 3: no field that .* did you mean text_out",
    ),
    "too many": ({"dropouts": [0.1] * 5}, r"dropouts.4 = 0.1: no field"),
    "too few": ({"hidden_dims": [128, 32]}, "lacks hidden_dims.2, which tfn reads"),
    "missing": ({"text_out": None}, "lacks text_out"),
    "no effect elsewhere": ({"weight_decay": 0.1}, "weight_decay = 0.1: no field"),
    "another type": (
        {"text_out": "wide"},
        'text_out = "wide": of another type than 32',
    ),
    "a table": ({"text_out": {"a": 1}}, "text_out.a = 1: no field"),
    "out of range": ({"batch_size": 0}, "optim.batch_size = 0: must be"),
    "another loss": (
        {"KeyEval": "MAE"},
        'KeyEval = "MAE": of tfn only "Loss" is known',
    ),
    "sequences": ({"need_normalized": False}, "need_normalized = false: .* means"),
    "tokens": ({"use_bert": True}, "use_bert = true: .* ready-made text features"),
    "a number": ({"need_model_aligned": 0}, "need_model_aligned = 0: .* only false"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_configuration_means_is_refused_by_name(file, name):
    fields, wanted = WRONG[name]
    with pytest.raises(UserError, match=wanted):
        translate.translate(changed(file, "tfn", **fields), "tfn", "mosi")


def test_other_files_and_models_are_refused_in_one_line(file):
    assert "not yet; what can come along" in refused(file, "mult", "mosi")
    assert "did you mean tfn?" in refused(file, "tfm", "mosi")
    assert "datasetParams.mosy; did you mean mosi?" in refused(file, "tfn", "mosy")
    assert "no table tfn.datasetParams.mosei2" in refused(file, "tfn", "mosei2")
    for text, wanted in (
        ("import json", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "no table tfn"),
        ('{"tfn": {"debugParams": {}}}', "choices for tuning"),
        ('{"tfn": {"commonParams": []}}', "no table tfn.commonParams"),
    ):
        file.write_text(text)
        assert wanted in refused(file, "tfn", "mosi")
    file.write_bytes(b"\xff")
    assert "not JSON" in refused(file, "tfn", "mosi")
    assert "cannot be read" in refused(file.with_name("none.json"), "tfn", "mosi")


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["from_mmsa", *arguments])
    from_mmsa.command()


@pytest.mark.parametrize("model, dataset", [("tfn", "simsv2"), ("self_mm", "mosi")])
def test_the_config_file_says_the_same(
    file, tmp_path, monkeypatch, capsys, model, dataset
):
    target = tmp_path / "new" / "mine.py"
    given = ["--config", str(file), "--model", model, "--dataset", dataset]
    run(monkeypatch, *given, "--to", str(target))
    found = translate.translate(file, model, dataset)
    assert (
        differences(cli.load_config(str(target)).to_dict(), found.config.to_dict())
        == []
    )
    out = capsys.readouterr().out
    for line in translate.no_effect(found):
        assert f"no effect here: {line}\n" in out
        assert f"    {line}\n" in target.read_text()
    assert found.config.data.name == dataset
    with pytest.raises(UserError, match="is there already"):
        run(monkeypatch, *given, "--to", str(target))


def test_a_files_name_cannot_end_the_docstring(file, tmp_path, monkeypatch):
    odd = file.rename(tmp_path / 'a"""\nraise SystemExit\\.json')
    given = ["--config", str(odd), "--model", "tfn", "--dataset", "mosi"]
    run(monkeypatch, *given, "--to", str(tmp_path / "mine.py"))
    assert cli.load_config(str(tmp_path / "mine.py")).method == "tfn"


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["--to", "x.py"], "give --model and --dataset"),
        (["--to", "x.py", "--model", "tfn", "--dataset", "mosi"], "give --config"),
        (
            ["--config", "c", "--to", "x", "--model", "tfn", "--dataset", "mosi"],
            "in .py",
        ),
        (["--model", "tfn"], "--to"),
        (["--weigths", "x", "--to", "x"], "did you mean --weights"),
    ],
)
def test_flags_are_explained(monkeypatch, arguments, wanted):
    with pytest.raises(UserError, match=wanted):
        run(monkeypatch, *arguments)
