"""A mistake on the command line is one clear line on stderr and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from msa_jax.config import cli
from msa_jax.ground.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIG = """
from ml_collections import ConfigDict, config_dict

def get_config(variant="plain"):
    return ConfigDict({
        "seeds": (1111, 1112), "epochs": 40, "variant": variant, "names": ["a"],
        "cut": config_dict.placeholder(float),
        "optim": {"rate": 1e-3, "rates": (0.1, 0.2), "nesterov": False},
    })
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command with one config flag; return exit code, stderr and its config."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/demo.py").write_text(CONFIG)

    def call(*argv, main=lambda config: None):
        monkeypatch.setattr(sys, "argv", ["prog", *argv])
        chosen = []

        def run():
            parser = cli.Parser("Train.")
            for name in ("config", "workdir"):
                parser.add_argument(f"--{name}")
            chosen.append(parser.parse_config()[1])
            return main(chosen[0])

        with pytest.raises(SystemExit) as exit:
            cli.run(run)
        config = chosen[0].settings if exit.value.code == 0 else None
        return exit.value.code, capsys.readouterr().err, config

    return call


GOOD = "--config=configs/demo.py"


@pytest.mark.parametrize(
    "argument, field, value",
    [
        ("--config.seeds=1111,1112,1113", "seeds", (1111, 1112, 1113)),
        ("--config.seeds=1111", "seeds", (1111,)),
        ("--config.seeds=(1111,)", "seeds", (1111,)),
        ("--config.epochs=3", "epochs", 3),
        ("--config.cut=2", "cut", 2.0),
        ("--config.optim.rate=1", "optim.rate", 1.0),
        ("--config.optim.rates=1,0.5", "optim.rates", (1.0, 0.5)),
        ("--config.optim.nesterov=true", "optim.nesterov", True),
        ("--config.optim.nesterov=false", "optim.nesterov", False),
    ],
)
def test_override_is_taken(command, argument, field, value):
    code, err, config = command(GOOD, argument)
    assert (code, err) == (0, "")
    for name in field.split("."):
        config = config[name]
    assert config == value and type(config) is type(value)


def test_override_and_config_as_two_words(command):
    *_, config = command("--config", "configs/demo.py", "--config.seeds", "7,8")
    assert config.seeds == (7, 8)


def test_overrides_may_come_first(command):
    assert command("--config.epochs=3", GOOD)[2].epochs == 3


def test_what_was_typed_is_known_beside_what_the_file_says(command):
    seen = []
    command(GOOD + ":other", "--config.seeds=7,8", main=seen.append)
    [chosen] = seen
    assert chosen.typed == {"seeds": (7, 8)} and chosen.settings.seeds == (7, 8)
    assert chosen.file.seeds == (1111, 1112)
    assert chosen.source == "configs/demo.py:other"
    assert chosen.workdir("tune") == Path("runs/tune_demo_other")


def test_a_mistake_changes_nothing():
    config = ConfigDict({"rate": 0.1, "epochs": 4})
    with pytest.raises(UserError):
        cli.override(config, {"rate": "1", "epochs": "x"})
    assert config.rate == 0.1


def test_variant_reaches_get_config(command):
    *_, config = command("--config=configs/demo.py:other")
    assert config.variant == "other"


MISTAKES = [
    ([], "--config is missing, e.g. --config configs/demo.py"),
    (["--config.epochs=3"], "--config is missing"),
    (["--config=configs/dmo.py"], "not found; did you mean configs/demo.py?"),
    (["--config=elsewhere/x.py", "--config.epochs=3"], "'elsewhere/x.py' not found"),
    (["--config="], "config file '' not found"),
    ([GOOD, "--config.epoch=3"], "--config.epoch; did you mean --config.epochs?"),
    ([GOOD, "--config.rate=3"], "did you mean --config.optim.rate?"),
    ([GOOD, "--config.nestrov=1"], "did you mean --config.optim.nesterov?"),
    ([GOOD, "--config.optim.rat=3"], "did you mean --config.optim.rate?"),
    ([GOOD, "--config.zzz.yyy=3"], "unknown config field --config.zzz.yyy"),
    ([GOOD, "--config.epochs.x=3"], "unknown config field --config.epochs.x"),
    ([GOOD, "--config.epochs=abc"], "--config.epochs=abc: not a value of type int"),
    ([GOOD, "--config.epochs=6.5"], "not a value of type int (the config file has 40)"),
    ([GOOD, "--config.optim.rate=abc"], "not a value of type float"),
    ([GOOD, "--config.optim.nesterov=maybe"], "not a value of type bool"),
    ([GOOD, "--config.cut=abc"], "--config.cut=abc: not a value of type float"),
    ([GOOD, "--config.seeds=abc"], "every element must be int"),
    ([GOOD, "--config.seeds=1,abc"], "every element must be int"),
    ([GOOD, "--config.seeds=1.5"], "every element must be int"),
    ([GOOD, "--config.seeds=1111 1112"], "--config.seeds=1111 1112: not a value of"),
    ([GOOD, "--config.optim.rates=a,b"], "every element must be float"),
    (
        [GOOD, "--config.names=b"],
        "--config.names (list) cannot be set on the command line",
    ),
    (
        [GOOD, "--config.optim=3"],
        "--config.optim is a group; its fields: --config.optim.",
    ),
    ([GOOD, "--wrkdir=x"], "unknown flag --wrkdir; did you mean --workdir?"),
    ([GOOD, "--config.optim.nesterov"], "write --config.optim.nesterov=VALUE"),
    ([GOOD, "--config.variant"], "--config.variant: write --config.variant=VALUE"),
    ([GOOD, "--config.variant", "--workdir=x"], "write --config.variant=VALUE"),
    ([GOOD, "--workdir"], "argument --workdir: expected one argument"),
    ([GOOD, "--config.seeds", "1", "2"], "unexpected argument '2'"),
]


@pytest.mark.parametrize("argv, expected", MISTAKES, ids=lambda v: str(v)[:40])
def test_mistake_is_one_line(command, argv, expected):
    code, err, _ = command(*argv)
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("configs/card_mosi.py", "configs/card.py:mosi"),
        ("configs/card_mosi.py:a+b", "configs/card.py:mosi+a+b"),
        ("configs/card_two_mosi.py", "configs/card_two.py:mosi"),
        ("configs/card.py:mosi", "configs/card.py:mosi"),
        ("configs/card_own.py", "configs/card_own.py"),  # such a file lies there
        ("configs/cardmosi.py", "configs/cardmosi.py"),
        ("configs/other_mosi.py", "configs/other_mosi.py"),
    ],
)
def test_a_methods_name_and_a_data_set_mean_its_card(command, typed, meant):
    for name in ("card", "card_two", "card_own"):
        Path(f"configs/{name}.py").write_text(CONFIG)
    assert cli.resolve(typed) == meant


@pytest.mark.parametrize(
    "text, expected",
    [
        ("def get_config(:", "bad.py, line 1: SyntaxError"),
        ("\nimport nonesuch", "bad.py, line 2: ModuleNotFoundError"),
        ("x = 1", "bad.py: it has no function get_config()"),
        ("def get_config():\n  return None", "get_config() returns a NoneType"),
        ("def get_config():\n  pass\n  return {}['a']", "line 3: KeyError: 'a'"),
        ("def get_config():\n  return 1 + 'a'", "line 2: TypeError"),
        ("def get_config():\n  return open('gone')", "line 2: FileNotFoundError"),
        ("def get_config(variant): return None", "write configs/bad.py:VARIANT"),
        (
            "from msa_jax.ground.errors import UserError\n"
            "def get_config():\n  raise UserError('no such variant')",
            "error: no such variant",
        ),
    ],
)
def test_broken_config_file_is_one_line(command, text, expected):
    Path("configs/bad.py").write_text(text)
    code, err, _ = command("--config=configs/bad.py")
    assert code == 2 and err.count("\n") == 1
    assert expected in err


def test_unwanted_variant_is_one_line(command):
    Path("configs/one.py").write_text("def get_config(): return None")
    code, err, _ = command("--config=configs/one.py:two")
    assert (code, err.count("\n")) == (2, 1)
    assert "drop ':two'" in err


def test_user_error_of_main_is_joined_to_one_line(command):
    def main(config):
        raise UserError("first\n  second")

    assert command(GOOD, main=main)[:2] == (2, "error: first second\n")


def test_interrupt(command):
    def main(config):
        raise KeyboardInterrupt

    assert command(GOOD, main=main)[:2] == (130, "interrupted\n")


def test_a_bug_keeps_its_traceback(command):
    with pytest.raises(ZeroDivisionError):
        command(GOOD, main=lambda config: 1 // 0)


def test_code_of_main(command):
    assert command(GOOD, main=lambda config: 1)[0] == 1


def test_help_beside_a_config_lists_its_fields(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prog", GOOD, "--help"])
    parser = cli.Parser("Train.\n\n    python -m script --config configs/x.py\n")
    parser.add_argument("--config", help="what to train")
    with pytest.raises(SystemExit) as exit:
        parser.parse_config(lambda config: f"fields: {', '.join(config)}")
    shown = capsys.readouterr().out
    assert exit.value.code == 0 and "python -m script --config" in shown
    assert "--config CONFIG  what to train" in shown
    assert shown.endswith("fields: cut, epochs, names, optim, seeds, variant\n")


@pytest.mark.parametrize(
    "argv, expected",
    [
        ([], "the following arguments are required: --input"),
        (["--input", "x", "--inptu", "y"], "unknown flag --inptu; did you mean --inpu"),
        (["--input", "x", "--count", "y"], "invalid int value: 'y'"),
    ],
)
def test_argparse_mistake_is_one_line(monkeypatch, capsys, argv, expected):
    monkeypatch.setattr(sys, "argv", ["prog", *argv])

    def main():
        parser = cli.Parser("Predict.")
        parser.add_argument("--input", required=True)
        parser.add_argument("--count", type=int)
        parser.parse_args()

    with pytest.raises(SystemExit) as exit:
        cli.run(main)
    err = capsys.readouterr().err
    assert exit.value.code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert expected in err


def test_what_a_file_says_cannot_garble_the_line():
    assert cli.one_line("a\x1b[2J\nb\u202e  c") == "a?[2J b? c"
    assert len(cli.one_line("x" * 10_000)) < 710


def test_a_reader_that_has_seen_enough_is_no_mistake():
    program = "from msa_jax.config import cli\ncli.run(lambda: print('x' * 999999))"
    command = f'{sys.executable} -c "{program}" | head -c 3; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("xxx0\n", "")


def test_an_error_of_the_system_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run(lambda: Path("b" * 300).stat() and 0)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: bbb") and "File name too long" in message
    assert message.count("\n") == 1
