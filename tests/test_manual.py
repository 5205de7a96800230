"""The manual: its commands can be given, its links lead somewhere, it can be built."""

import argparse
import ast
import importlib
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import layouts
import mmsa_config
import numpy as np
import pytest
from ml_collections import FrozenConfigDict

import msa_jax
from msa_jax import load_dataset, methods
from msa_jax.config import cli
from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.studies import table_catalogue
from msa_jax.studies.reproduce import wanted_runs

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*DOCS, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "launch/README.md"]
# What the pages of methods and commands repeat.
CARDS = sorted((ROOT / "configs").glob("*.py"))
SAYING = [
    *(ROOT / "msa_jax").glob("*.py"),
    *(ROOT / "msa_jax").glob("*/__main__.py"),
]
# What stands for something of the reader's, and what the tests put there.
FOR = {
    **{"NAME": "mine", "FILE": "features.npz", "FILE_OR_FOLDER": "features.npz"},
    **{"D": "runs/demo", "N": "20", "DIR": "goldens", "WORKDIR": "runs/demo"},
    **{"A": "runs/demo", "B": "runs/other", "PAPER/TABLE": "self_mm/table4"},
    **{"C": "configs/self_mm.py", "S": "configs/sweeps/self_mm.py"},
}
# Commands of the pages that are not run as they stand, and who runs them, or why not.
MARKED = {
    r"--distributed": "tests/ground/test_hosts.py",
    r"bench .*--compile-only": "tests/studies/test_compile_only.py",
    r"bench .*--against": "needs PyTorch; tests/studies/test_bench_command.py",
    r"bench .*--dataset-shape": "minutes; tests/studies/test_bench_command.py",
    r"bench\.start": "minutes; by hand, when the page is written",
    r"from_mmsa --weights|runs/mine": "tests/studies/test_from_mmsa_weights.py",
    r"robustness .*--retrain": "six trainings; tests/studies/test_robustness.py",
    r"tests/goldens$": "all arrays; tests/studies/test_parity.py",
}


class Typed(NamedTuple):
    """A command of a page: its name, and what follows."""

    name: str
    words: list[str]

    def __str__(self) -> str:
        return shlex.join((self.name, *self.words))


def text_of(page: Path) -> str:
    """Return a page, or the docstring of a file; no line goes on in the next one."""
    text = page.read_text("utf-8")
    if page.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    return re.sub(r"\\\n\s*", "", text)


def typed(page: Path) -> list[Typed]:
    """Return the commands of a page, in blocks and in a line's `code`."""
    found = []
    for line in text_of(page).splitlines():
        block = line.strip().removeprefix("example:").strip()
        starts = r"(python|msa|echo|[A-Z_]+=\S+|aot/bin/\S+) "
        told = [block] if re.match(starts, block) else []
        for text in [*told, *re.findall(r"`([^`\n]+)`", line)]:
            command = re.search(r"(?:^|[ /])(?:python -m msa_jax\.|msa )(.+)", text)
            if command:
                plain = re.sub(r"\[C\]|[\[\]]", "", command[1])  # one more run
                name, *words = shlex.split(plain, comments=True)
                words = [FOR.get(word, word.split("|")[0]) for word in words]
                if words and name != "NAME":  # else it is named, not given
                    found.append(Typed(name, words))
    return found


class Read(Exception):
    """What a parser made of a command line."""


def read(command: Typed, monkeypatch) -> None:
    """Parse a command as it would itself.

    Raises:
        UserError: a command, a flag, a file, a field or a value that there is not.
    """
    whole = argparse.ArgumentParser.parse_known_args

    def parse(parser, *given):
        options, others = whole(parser, *given)
        if any(not word.startswith("--config.") for word in others):
            parser.error(f"unrecognized arguments: {' '.join(others)}")
        raise Read(options)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    monkeypatch.setattr(sys, "argv", [command.name, *command.words])
    name = command.name.replace("train", "main")
    package = (ROOT / "msa_jax" / name / "__main__.py").exists()
    module = importlib.import_module(f"msa_jax.{name}{'.__main__' * package}")
    with pytest.raises(Read) as parsed:
        getattr(module, "command" if hasattr(module, "command") else "main")()
    (options,) = parsed.value.args
    if command.name == "reproduce" and options.table:
        table = table_catalogue.find_table(ROOT / "configs", options.table)
        wanted_runs.rows_named(table, options.only)
    if name not in ("main", "tune") or options.config in (None, "configs/mine.py"):
        return  # what from_mmsa writes is not there
    config = cli.load_config(options.config)
    cli.override(config, cli.split_overrides(command.words)[1])
    methods.check(FrozenConfigDict(config))
    if name == "tune" and options.sweep:
        cli.from_file(options.sweep, "get_sweep", "sweep file")


@pytest.mark.parametrize(
    "page",
    [page for page in (*PAGES, *CARDS, *SAYING) if typed(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_commands_can_be_given(page, monkeypatch):
    for command in typed(page):
        with monkeypatch.context() as patch:
            read(command, patch)


def test_a_wrong_command_is_seen(tmp_path, monkeypatch):
    wrong = (
        "python -m msa_jax.prepare NAME --form FILE",
        "python -m msa_jax.prpare NAME --from FILE",
        "msa train --config configs/self_mm_mosj.py",
        "python -m msa_jax.main --config configs/demo.py --workdri x",
        "echo x | python -m msa_jax.predict --workdir D --seed x",
        "python -m msa_jax.reproduce sugrm/table9",
        "python -m msa_jax.tune --config C --sweep configs/sweeps/none.py",
        "see `python -m msa_jax.main --config configs/demo.py --config.optim.rat=1`",
    )
    for line in wrong:
        (tmp_path / "page.md").write_text(f"# Page\n\n    {line}\n")
        (command,) = typed(tmp_path / "page.md")
        with monkeypatch.context() as patch:
            with pytest.raises((UserError, ImportError, AssertionError)):
                read(command, patch)


def test_what_pages_name_is_there():
    """Fields of configurations, targets of make, scripts."""
    fields = {f.path for paper in PAPERS.values() for f in paper.fields()}
    groups = {
        path[:at] for path in fields for at in range(len(path)) if path[at] == "."
    }
    sections = "|".join(sorted(group for group in groups if "." not in group))
    named = re.compile(
        rf"--config\.([a-z_.]*[a-z_])|`config\.((?:{sections})\.[a-z_.]+)"
    )
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for page in (*PAGES, *CARDS, *SAYING):
        text = text_of(page)
        told = {one or other for one, other in named.findall(text)}
        assert told <= fields | groups, (page.name, told - fields - groups)
        if page in PAGES:
            made = set(re.findall(r"(?:`|^ *)make ([a-z-]+)[` \n]", text, re.M))
            assert made <= {*targets}, (page.name, made - {*targets})
            scripts = re.findall(r"launch/\w+\.\w+", text)
            assert all((ROOT / script).exists() for script in scripts), page.name


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a repository's page has them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """And from docs/ to docs/ only, so that they do in the manual, too."""
    text = re.sub(r"`[^`\n]+`", "", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert page not in DOCS or target.is_relative_to(ROOT / "docs"), link
            assert not anchor or anchor in slugs(target), link


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """Lay out what the pages take to be there: files, and two finished runs."""
    folder = tmp_path_factory.mktemp("desk")
    data = load_dataset("synthetic_tiny", folder / "data").splits
    rows = [
        {"id": s.id, "split": [name] * len(s.id), "transcript": s.transcript}
        | {"label": s.label, "audio": s.audio, "vision": s.vision}
        | {"audio_length": s.audio_length, "vision_length": s.vision_length}
        for name, s in data.items()
    ]
    arrays = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    np.savez(folder / "features.npz", **arrays)
    field = {name: layouts.mmsa(split) for name, split in layouts.every().items()}
    (folder / "unaligned_50.pkl").write_bytes(pickle.dumps(field))
    (folder / "config_regression.json").write_text(json.dumps(mmsa_config.whole()))
    text = "".join(f'{{"text": "film {i}"}}\n' for i in range(3))
    (folder / "new.jsonl").write_text(text)
    (folder / "SIMS").mkdir()
    names = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
    clips = [
        f"v{i},{i},很好,{i / 9:.1f},,,,,{'train valid test'.split()[i % 3]}"
        for i in range(9)
    ]
    (folder / "SIMS" / "label.csv").write_text("\n".join([names, *clips]), "utf-8")
    (folder / "goldens").mkdir()
    shutil.copy(ROOT / "tests/goldens/metrics.npz", folder / "goldens")
    (code,) = re.findall(
        r"```python\n(.*?)```", text_of(ROOT / "docs/bring_your_own.md"), re.S
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    for name in ("demo", "other"):
        run(
            folder,
            Typed("main", ["--config=configs/demo.py", f"--workdir=runs/{name}"]),
        )
    return folder


TINY = {
    **{"data.name": "synthetic_tiny", "data.standardise": "train", "seeds": "1"},
    **{"text.encoder": "bert", "text.weights": "random", "text.finetune": "true"},
    **{"text.random_width": "8", "text.random_layers": "1", "text.max_tokens": "12"},
    **{"selection.max_epochs": "1", "compilation": "quick", "mesh.devices": "1"},
    "optim.accumulate_batches": "1",
}


def small(command: Typed) -> list[str]:
    """Return the words of a command, changed to one of seconds."""
    name, words = command
    fields, more = dict(TINY), []
    if name in ("main", "train", "tune"):  # those with a config
        if any(word.startswith("--config.data.name=") for word in words):
            del fields["data.name"]
        more = ["--trials=2"] if name == "tune" else []
    elif name == "reproduce" and "--list" not in words:
        (row, *_) = table_catalogue.find_table(ROOT / "configs", words[0]).ours
        more = ["--dataset=synthetic_tiny", "--budget=full", "--seeds=1"]
        more += [f"--only={row}", "--no-controls"]
        del fields["data.name"], fields["seeds"]
    else:
        fields = {}
        if name == "prepare" and "--check_only" not in words:
            more = ["--overwrite"]
        more = ["--repeats=1"] if name == "robustness" else more
    tiny = {f"--config.{field}": value for field, value in fields.items()}
    own = [word for word in words if word.partition("=")[0] not in tiny]
    return [*own, *more, *(f"{flag}={value}" for flag, value in tiny.items())]


def run(folder: Path, command: Typed) -> None:
    """Run a command in a folder."""
    module = f"msa_jax.{command.name.replace('train', 'main')}"
    words = [sys.executable, "-m", module, *small(command)]
    cache = str(ROOT / ".jax_cache" / "tests")
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": cache}
    env.pop("MSA_DATA", None)
    how = {"cwd": folder, "env": env, "capture_output": True, "text": True}
    done = subprocess.run(words, input='{"text": "what a film"}\n', **how)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def already() -> list[str]:
    """What ran for an earlier page."""
    return []


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if typed(page)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_commands_run(page, desk, already):
    for folder in ("exported", "configs"):
        shutil.rmtree(desk / folder, ignore_errors=True)
    for command in typed(page):
        marked = any(re.search(words, str(command)) for words in MARKED)
        if not marked and str(command) not in already:
            run(desk, command)
            already.append(str(command))


def test_marked_commands_are_there_and_run_elsewhere():
    lines = {str(command) for page in PAGES for command in typed(page)}
    for words, where in MARKED.items():
        assert any(re.search(words, line) for line in lines), words
        test = re.search(r"tests/\S+", where)
        assert test is None or (ROOT / test[0]).exists(), where


@pytest.mark.slow
def test_the_manual_is_built(tmp_path):
    """Strictly: a link, an anchor or a name that is not there ends it."""
    why = "needs the extra docs: make docs, or pip install -e '.[docs]'"
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=why)
    words = [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    pages = {page.relative_to(tmp_path): page for page in tmp_path.rglob("*.html")}
    assert {Path(f"methods/{name}.html") for name in PAPERS} <= {*pages}
    for page in pages.values():
        fetched = re.findall(
            r"<(?:link|script|img|iframe)[^>]*https?://[^>]*>", page.read_text()
        )
        assert fetched == [], page
    api = (tmp_path / "api.html").read_text("utf-8")
    assert all(f"msa.{name}" in api for name in msa_jax.__all__)
    index = (tmp_path / "search" / "search_index.js").read_text("utf-8")
    found = json.loads(index.removeprefix("var __index = "))["docs"]
    assert {"api.html", "methods/tfn.html"} <= {entry["location"] for entry in found}
