"""A finished run answers for new samples, travels without its data, and is exported."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export as jax_export

from msa_jax.data.preparation import to_json
from msa_jax.ground.errors import UserError
from msa_jax.predict import __main__ as command
from msa_jax.predict import answers, export, exported, model
from msa_jax.predict.samples import read_preparation
from msa_jax.runs import workdir
from tests import guarded
from tests.small_runs import SEEDS, SIZE, answered, jsonl, of_seeds, own, train

# Its fixture trains Self-MM with a BERT and recurrent networks: answers are theirs.
pytestmark = pytest.mark.long(90)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose data are gone, and its test split."""
    return train(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def predictor(run):
    return model.predictor(model.open_live(run[0], None, None))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The run's export."""
    found = tmp_path_factory.mktemp("exports") / "new" / "export"
    assert export.export(model.open_live(run[0], None, None), found) <= 1e-6
    return found


def test_the_same_samples_get_the_runs_own_answers(run, predictor, tmp_path):
    ids, wanted = own(run)
    test = run[1]
    np.savez(
        tmp_path / "test.npz",
        id=test.id,
        transcript=test.transcript,
        audio=test.audio,
        audio_length=test.audio_length,
        vision=test.vision,
        vision_length=test.vision_length,
    )
    for path in (tmp_path / "test.npz", jsonl(tmp_path / "test.jsonl", test)):
        lines, counts = answered(predictor, path, tmp_path / "out")
        assert counts == (len(ids), 0)
        assert [line["id"] for line in lines] == ids.tolist()
        np.testing.assert_allclose(of_seeds(lines), wanted, rtol=0, atol=1e-6)
        mean, sd = wanted.mean(axis=0), wanted.std(axis=0, ddof=1)
        said = [(line["prediction"], line["sd"]) for line in lines]
        np.testing.assert_allclose(said, np.stack([mean, sd], 1), atol=1e-6)
        assert all(line["missing"] == [] for line in lines)
        assert lines[0]["unit"] == "label in [-3, 3]" and "notes" not in lines[0]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_answers_do_not_depend_on_the_batch(run, predictor, tmp_path, size):
    path = jsonl(tmp_path / "in", run[1], range(7))
    resized = predictor._replace(size=size)
    lines, _ = answered(resized, path, tmp_path / "out")
    wanted = own(run)[1][:, :7]
    np.testing.assert_allclose(of_seeds(lines), wanted, rtol=0, atol=1e-6)


def test_any_subset_of_modalities(run, predictor, tmp_path):
    whole = json.loads(Path(jsonl(tmp_path / "in", run[1], [0])).read_text())
    kept = [["text"], ["audio"], ["vision"], ["text", "vision"], ["audio", "vision"]]
    lines = [json.dumps({m: whole[m] for m in some}) for some in kept]
    (tmp_path / "in").write_text("\n".join([json.dumps(whole), *lines]))
    found, counts = answered(predictor, tmp_path / "in", tmp_path / "out")
    assert counts == (6, 0)
    modalities = ("text", "audio", "vision")
    wanted = [[m for m in modalities if m not in some] for some in kept]
    assert [line["missing"] for line in found] == [[], *wanted]
    assert [line.get("line") for line in found] == [None, 2, 3, 4, 5, 6]
    # Each modality matters: no two subsets are answered alike.
    assert len({line["prediction"] for line in found}) == 6
    assert all(np.isfinite(line["prediction"]) for line in found)


def test_one_seed(run, predictor, tmp_path):
    path = jsonl(tmp_path / "in", run[1], [0, 1])
    lines, _ = answered(predictor, path, tmp_path / "out")
    alone = model.predictor(model.open_live(run[0], None, SEEDS[1]))
    found, _ = answered(alone, path, tmp_path / "out")
    for one, all_seeds in zip(found, lines, strict=True):
        assert list(one["per_seed"]) == ["4"] and one["sd"] is None
        assert one["prediction"] == pytest.approx(all_seeds["per_seed"]["4"], abs=1e-6)
    with pytest.raises(UserError, match="--seed 9: .* was run with seeds 3, 4"):
        model.open_live(run[0], None, 9)


def test_a_run_older_than_this_command_needs_its_data(run, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run[0], old)
    (old / workdir.MODEL).unlink()
    (old / workdir.TOKENIZER).unlink()
    live = model.open_live(old, str(run[0].parent / "elsewhere"), None)
    stored = read_preparation(run[0])
    assert live.preparation.tokenizer == stored.tokenizer
    assert to_json(live.preparation) == to_json(stored)


@pytest.mark.parametrize(
    "name, content, message",
    [
        (workdir.MODEL, "{", "cannot be read"),
        (workdir.MODEL, "[" * 100_000, "nested too deeply"),
        (workdir.MODEL, "{}", "does not say what a run reads"),
        (workdir.TOKENIZER, None, "tokenizer.json is missing"),
        (workdir.TOKENIZER, "{}", "tokenizer.json: cannot be read"),
        (workdir.RESULTS, None, "the run is not finished"),
    ],
)
def test_a_damaged_run_is_one_line(run, tmp_path, name, content, message):
    copy = tmp_path / "copy"
    shutil.copytree(run[0], copy)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    with pytest.raises(UserError, match=message):
        live = model.open_live(copy, None, None)
        answers.answer_all(model.predictor(live), [], print, 1)


def test_parameters_and_sizes_must_fit(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run[0], copy)
    described = json.loads((copy / workdir.MODEL).read_text())
    described["width"]["audio"] += 1
    described["columns"].pop("audio")
    (copy / workdir.MODEL).write_text(json.dumps(described))
    with pytest.raises(UserError, match="audio_lstm/input_kernel differs"):
        model.open_live(copy, None, None)


def test_bad_lines_among_good_ones(run, predictor, tmp_path):
    path = tmp_path / "in"
    jsonl(path, run[1], range(SIZE + 2))
    good = path.read_text().splitlines()
    bad = ['{"id": "b", "text": 1}', "{", '{"audio": [[1]]}']
    mixed = [x for pair in zip(good, bad * 9, strict=False) for x in pair]
    path.write_text("\n".join(mixed))
    lines, counts = answered(predictor, path, tmp_path / "out")
    assert counts == (len(good), len(good)) and len(lines) == len(mixed)
    assert [line["id"] for line in lines[::2]] == [json.loads(x)["id"] for x in good]
    np.testing.assert_allclose(
        of_seeds(lines[::2]), own(run)[1][:, : len(good)], rtol=0, atol=1e-6
    )
    assert [line["line"] for line in lines[1::2]] == list(range(2, len(mixed) + 1, 2))
    assert lines[1]["id"] == "b" and "must be a sentence" in lines[1]["error"]


def test_files_that_cannot_be_used(predictor, tmp_path):
    path = tmp_path / "in"
    path.write_text("{}")
    with pytest.raises(UserError, match="no such file"):
        command.answer(predictor, str(tmp_path / "none"), "-")
    with pytest.raises(UserError, match="is the input"):
        command.answer(predictor, str(path), str(path))
    assert path.read_text() == "{}"


def test_an_export_answers_as_its_run(run, folder, tmp_path):
    path = jsonl(tmp_path / "in", run[1])
    there = exported.open_export(folder, None)
    lines, _ = answered(there, path, tmp_path / "out")
    np.testing.assert_allclose(of_seeds(lines), own(run)[1], rtol=0, atol=1e-6)
    alone, _ = answered(exported.open_export(folder, 4), path, tmp_path / "out")
    assert [x["prediction"] for x in alone] == [x["per_seed"]["4"] for x in lines]
    described = json.loads((folder / workdir.MODEL).read_text())
    assert described["check"]["largest_difference"] <= 1e-6
    assert described["inputs"]["audio"] == {
        "shape": ["batch", 12, 5],
        "dtype": "float32",
    }
    assert described["program"]["platforms"] == ["cpu", "cuda", "tpu"]


def test_an_export_holds_no_paths_of_this_machine(run, folder):
    for path in folder.iterdir():
        content = path.read_bytes()
        for name in (str(ROOT), str(run[0].parent), sys.prefix):
            assert name.encode() not in content, path
    program = jax_export.deserialize(
        bytearray((folder / exported.PROGRAM).read_bytes())
    )
    assert str(ROOT) not in program.mlir_module()


def test_an_export_is_whole_or_not_there(run, folder, tmp_path, monkeypatch):
    live = model.open_live(run[0], None, None)
    with pytest.raises(UserError, match="is there already"):
        export.export(live, folder)
    monkeypatch.setattr(export, "_difference", lambda *_: 2e-5)
    with pytest.raises(UserError, match="differ by 2.0e-05 from the run's, more than"):
        export.export(live, tmp_path / "e")
    monkeypatch.setattr(export, "_difference", lambda *_: float("nan"))
    with pytest.raises(UserError, match="nothing was written"):
        export.export(live, tmp_path / "e")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, damage, message",
    [
        (exported.PROGRAM, lambda x: b"", "forward.stablehlo: damaged"),
        (exported.PROGRAM, lambda x: x[: len(x) // 2], "forward.stablehlo: damaged"),
        ("seed_3.safetensors", lambda x: x[:-1], "seed_3.safetensors: damaged"),
        ("seed_3.safetensors", lambda x: b"\x80\x04N.", "seed_3.safetensors: damaged"),
        ("seed_4.safetensors", None, "no seed_4.safetensors in there"),
        (exported.PROGRAM, None, "no forward.stablehlo in there"),
        (workdir.MODEL, None, "no model.json in there"),
    ],
)
def test_a_damaged_export_is_one_line(folder, tmp_path, name, damage, message):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    if damage is not None:
        (copy / name).write_bytes(damage(content))
    with pytest.raises(UserError, match=message):
        exported.open_export(copy, None)


def test_parameters_of_another_network_are_refused(folder, tmp_path):
    from safetensors.numpy import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    params = load_file(copy / "seed_3.safetensors")
    params.pop(sorted(params)[0])
    save_file(params, copy / "seed_3.safetensors")
    with pytest.raises(UserError, match="do not fit together"):
        exported.open_export(copy, None)
    exported.open_export(copy, 4)  # whose file is whole


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": {"text": 13, "audio": 12, "vision": 10}}, "do not fit together"),
        ({"steps": {"text": 12, "audio": 1 << 40, "vision": 10}}, "beyond any data"),
        ({"task": "two_class"}, "do not fit together"),
        ({"task": "poetry"}, "task 'poetry' is not known"),
    ],
)
def test_a_description_of_another_network_is_refused(folder, tmp_path, change, message):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    described = json.loads((copy / workdir.MODEL).read_text())
    (copy / workdir.MODEL).write_text(json.dumps(described | change))
    with pytest.raises(UserError, match=message):
        exported.open_export(copy, None)


@pytest.mark.parametrize("target", ["xla_python_cpu_callback", "tf.call_tf_function"])
def test_a_program_that_would_run_code_is_refused(folder, tmp_path, target):
    def harmful(x):
        return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((), x.dtype))(x)

    allowed = jax_export.DisabledSafetyCheck.custom_call(target)
    made = jax_export.export(jax.jit(harmful), disabled_checks=[allowed])(
        jax.ShapeDtypeStruct((), "float32")
    )
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / exported.PROGRAM).write_bytes(made.serialize())
    with pytest.raises(
        UserError, match=f"refused: no forward pass needs the .*{target}"
    ):
        exported.open_export(copy, None)


def test_a_program_for_other_machines_is_refused(folder, tmp_path):
    made = jax_export.export(jax.jit(lambda x: x), platforms=["tpu"])(
        jax.ShapeDtypeStruct((), "float32")
    )
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / exported.PROGRAM).write_bytes(made.serialize())
    with pytest.raises(UserError, match="made for tpu, this machine is cpu"):
        exported.open_export(copy, None)


def test_the_readmes_program_needs_nothing_of_ours(folder, tmp_path):
    text = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    code += "\nimport sys\nassert 'msa_jax' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\[-?[\d.e-]+\]\n", done.stdout)


@pytest.mark.parametrize("kind", ["--workdir", "--model"])
def test_lines_are_answered_as_they_arrive_and_nothing_is_unpickled(run, folder, kind):
    from_what = run[0] if kind == "--workdir" else folder
    process = guarded.start(kind, str(from_what), "--seed", "3")
    assert process.stdin and process.stdout
    good = '{"text": "good"}'
    for line, key in ((good, "prediction"), ("bad", "error"), (good, "prediction")):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()  # before the next line is written
        assert key in answer, process.stderr.read() if not answer else answer
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.strip().splitlines()[-1] == "error: 1 of 3 lines are bad"
