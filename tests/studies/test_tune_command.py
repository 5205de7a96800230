"""The command as a user calls it, and the winner's command after it."""

import json
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from tiny_runs import ROOT, TINY, call, run_words

from msa_jax import tune as command

SWEEP = """
from msa_jax.studies.search import LogUniform

def get_sweep():
    return {"optim.groups.other.rate": LogUniform(1e-4, 1e-1),
            "optim.groups.audio.decay": (0.0, 0.01)}
"""


def tune(*words):
    return run_words([sys.executable, "-m", "msa_jax.tune", *words])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sweeps") / "rates.py"
    path.write_text(SWEEP)
    return path


@pytest.mark.long(60)
def test_three_trials_from_end_to_end(sweep, tmp_path):
    """The winner, trained by the printed command, has the loss that made it win."""
    folder, few = tmp_path / "search", {"seeds": 4, "selection.max_epochs": 2}
    words = (f"--sweep={sweep}", "--trials=3")
    done = call(folder, *words, module="tune", **few)
    assert done.returncode == 0, done.stderr
    assert "3 trials of 1 seed(s), 1 compiled program(s)" in done.stdout
    for number in (1, 2, 3):
        assert f"trial {number:3d}  valid " in done.stdout.replace("\r", "\n")
    assert "test was not read" in done.stdout and "best so far" in done.stdout
    found = json.loads((folder / "tune.json").read_text())
    best = found["best"]
    assert best["command"] in done.stdout
    assert found["budget"]["trials"] == 3 and "--config.seeds" not in best["command"]
    # As printed, but for the seeds: those of the search.
    words = shlex.split(best["command"].replace("\\\n", " "))
    assert words[:3] == ["python", "-m", "msa_jax.main"]
    run = tmp_path / "run"
    done = run_words([*TINY, *words[2:], "--config.seeds=4", f"--workdir={run}"])
    assert done.returncode == 0, done.stderr
    history = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    losses = [epoch["valid"]["loss"][0] for epoch in history]
    assert min(losses) == best["valid_loss"]["4"]  # to the bit
    # The file says the same, with the config file's seeds.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        chosen = runpy.run_path(str(folder / "best.py"))["get_config"]()
    assert chosen.seeds == (3, 4) and chosen.selection.max_epochs == 2


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "error: --sweep is missing, e.g. --sweep configs/sweeps/METHOD.py"),
        (("--sweep=configs/sweeps/mmc.py",), "did you mean configs/sweeps/mmcl.py?"),
        (("--sweep=configs/sweeps/mmcl.py",), "unknown config field contrast.temp"),
        (("--sweep={rates}", "--search=grid"), "optim.groups.other.rate is a range"),
        (
            ("--sweep={rates}", "--config.optim.groups.other.rate=1"),
            "error: --config.optim.groups.other.rate is given, but ",
        ),
    ],
)
def test_a_mistake_is_one_line(sweep, words, said, refused):
    words = (word.format(rates=sweep) for word in words)
    message = refused(command.command, "--config=configs/smoke.py", *words)
    assert said in message and message.count("\n") == 1


def test_help_has_an_example():
    shown = tune("--help").stdout
    assert "--sweep configs/sweeps/ucrn.py" in shown and "--trials" in shown
