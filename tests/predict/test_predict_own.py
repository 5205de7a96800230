"""A run on our own BERT with packed text answers as it did, and a hostile file, too."""

import json
import sys

import numpy as np
import pytest

from msa_jax.config import cli
from msa_jax.predict import __main__ as command
from msa_jax.predict import export, exported, model
from msa_jax.runs import workdir
from msa_jax.text import bert, packing
from tests.hostile_lines import HOSTILE
from tests.small_runs import answered, jsonl, of_seeds, own, train

# Its fixture trains Self-MM with our BERT on packed text.
pytestmark = pytest.mark.long(90)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, whose data are gone, and its test split.

    Its sentences are nearly as long as each other: rows of 16 would not pay.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "MULTIPLE", 52)
        fields = {"implementation": "own", "packing": "tokens", "max_tokens": 20}
        return train(tmp_path_factory.mktemp("own"), **fields)


def test_text_was_packed(run):
    """Or the tests below would say nothing."""
    notes = workdir.read_json(run[0] / workdir.RESULTS)["notes"]
    assert [note for note in notes if note.startswith("Text packed: ")], notes


def test_the_same_samples_get_the_runs_own_answers(run, tmp_path):
    live = model.open_live(run[0], None, None)
    assert type(live.method.model.text_encoder) is bert.OwnBertEncoder
    path, (ids, wanted) = jsonl(tmp_path / "in", run[1]), own(run)
    lines, counts = answered(model.predictor(live), path, tmp_path / "out")
    assert counts == (len(ids), 0)
    assert [line["id"] for line in lines] == ids.tolist()
    np.testing.assert_allclose(of_seeds(lines), wanted, rtol=0, atol=1e-6)


def test_an_export_answers_as_its_run(run, tmp_path):
    folder = tmp_path / "export"
    assert export.export(model.open_live(run[0], None, None), folder) <= 1e-6
    path = jsonl(tmp_path / "in", run[1], range(5))
    there = exported.open_export(folder, None)
    lines, _ = answered(there, path, tmp_path / "out")
    np.testing.assert_allclose(of_seeds(lines), own(run)[1][:, :5], rtol=0, atol=1e-6)


# A vocabulary that ends elsewhere than that of the others.
LINES = {name: line for name, (line, _) in HOSTILE.items() if name != "ids: beyond"}


def test_a_hostile_file_costs_exit_code_2_and_no_good_line(
    run, tmp_path, monkeypatch, capsys
):
    """A hundred bad lines, a good one after each: the command from end to end."""
    n = len(run[1].id)
    jsonl(tmp_path / "good", run[1])
    samples = (tmp_path / "good").read_bytes().splitlines()
    lines: list[bytes] = []
    for i, bad in enumerate(LINES.values()):
        lines += [bad if isinstance(bad, bytes) else bad.encode()]
        lines += [samples[i % n]]
    (tmp_path / "in").write_bytes(b"\n".join(lines))
    monkeypatch.setattr(model, "set_up_jax", lambda precision: None)
    given = ["--workdir", str(run[0]), "--input", str(tmp_path / "in")]
    given += ["--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["predict", *given])
    assert command.command() == cli.MISTAKE == 2
    said = [json.loads(x) for x in (tmp_path / "out").read_text().splitlines()]
    assert len(said) == 2 * len(LINES) >= 200
    for name, answer in zip(LINES, said[::2], strict=True):
        assert "error" in answer and "prediction" not in answer, name
        assert answer["error"].isprintable() and len(answer["error"]) < 300, name
    ids, wanted = own(run)
    places = np.arange(len(LINES)) % n
    assert [x["id"] for x in said[1::2]] == ids[places].tolist()
    np.testing.assert_allclose(
        of_seeds(said[1::2]), wanted[:, places], rtol=0, atol=1e-6
    )
    errors = capsys.readouterr().err.splitlines()
    assert errors == [f"error: {len(LINES)} of {len(said)} lines are bad"]
