"""The shape of the code: short files, one-way imports, no hidden state, no pickles."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

from msa_jax.methods import PAPERS

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "msa_jax").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}

# The rooms: a module may import those of its own and of the rooms before it.
ORDER = (
    *("ground", "config", "text", "layers", "evaluation", "data", "methods"),
    *("training", "runs", "report", "predict", "studies"),
    *("api", "main", "prepare", "parity", "bench", "tune", "robustness", "reproduce"),
    *("from_mmsa", "commands"),
)
# The only module that opens pickles; nothing that `main` imports may reach it.
PICKLE_READER = "msa_jax.data.read.unpickle"
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter"}
MUTATORS = {
    *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"),
    *("update", "setdefault", "popitem", "add", "discard", "appendleft", "popleft"),
}


def imports(tree: ast.AST) -> set[str]:
    """Return every module or name that is imported, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_of(name: str) -> str | None:
    """Return the module of this package that `name` is, or is part of."""
    packages = {file.removesuffix(".__init__"): file for file in FILES}
    while name.startswith("msa_jax") and name not in packages:
        name = name.rpartition(".")[0]
    return packages.get(name)


GRAPH = {
    name: {m for m in map(module_of, imports(tree)) if m} - {name}
    for name, tree in TREES.items()
}


def hidden_state(tree: ast.Module) -> list[str]:
    """Return what in a module can change between two calls of its functions."""
    found, values = [], set()
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        value = node.value
        call = getattr(value, "func", None)
        called = getattr(call, "id", getattr(call, "attr", None))
        if isinstance(value, MUTABLE) or called in MUTABLE_CALLS:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values |= {t.id for t in targets if isinstance(t, ast.Name)}
    found += [
        f"{name}: not a constant" for name in values - {"__all__"} if not name.isupper()
    ]
    for node in ast.walk(tree):
        changed = None
        if isinstance(node, ast.Global):
            found.append(f"line {node.lineno}: global {', '.join(node.names)}")
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changed = node.value
        elif isinstance(node, ast.AugAssign):
            changed = node.target
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = node.func.value if node.func.attr in MUTATORS else None
        if isinstance(changed, ast.Name) and changed.id in values:
            found.append(f"line {node.lineno}: {changed.id} is changed")
    return found


def test_no_file_above_600_lines():
    files = [
        path
        for folder in ("msa_jax", "configs", "tests", "launch", "docs", "benchmarks")
        for suffix in ("py", "sh", "md", "j2")
        for path in (ROOT / folder).rglob(f"*.{suffix}")
    ]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}
    assert {file: n for file, n in lengths.items() if n > 600} == {}


def test_no_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "common", "base", "helpers", "misc"}
    assert [name for name in FILES if drawers & set(name.split("."))] == []


def room_of(name: str) -> str:
    """Return the entry of `ORDER` that a module belongs to."""
    return (name.split(".")[1:] or ["__init__"])[0]


def test_imports_point_one_way():
    wrong = []
    for name, imported in GRAPH.items():
        room = room_of(name)
        for other in imported:
            other_room = room_of(other)
            if "__init__" in (room, other_room) or room == other_room:
                continue
            unknown = {room, other_room} - set(ORDER)
            assert not unknown, f"add {unknown} to ORDER"
            if ORDER.index(other_room) > ORDER.index(room):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


# Layers and models of other things are called so, too.
NAMES = set(PAPERS) - {"spt", "linear"}
# Where names of methods may stand.
NAMED = (
    "msa_jax.methods.",  # a file each
    "msa_jax.studies.parity.replays.",  # of each method's older reference arrays
)


def names_in(tree: ast.AST, names: set[str]) -> list[str]:
    """Return where code, not its docstrings, has one of the names as a word."""
    word = re.compile(rf"(?<![a-z0-9])({'|'.join(sorted(names))})(?![a-z0-9])")
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in docs:
            continue
        said = [value for _, value in ast.iter_fields(node) if isinstance(value, str)]
        line = getattr(node, "lineno", 0)
        found += [f"line {line}: {text}" for text in said if word.search(text)]
    return found


def test_no_method_is_known_by_name():
    """A method is its file and its line in `PAPERS`; nothing else changes for one."""
    assert NAMES, "no method to look for"
    found = {}
    for name, tree in TREES.items():
        if not name.startswith(NAMED):
            of_file = names_in(ast.Expr(ast.Name(name)), NAMES)
            found[name] = of_file + names_in(tree, NAMES)
    assert {name: said for name, said in found.items() if said} == {}


@pytest.mark.parametrize(
    "code, count",
    [
        ("x = 'ucrn'", 1),
        ("x = f'a{y}ucrn/b'", 1),
        ("import a.ucrn", 1),
        ("from a import ucrn as b", 1),
        ("def to_ucrn(x): return x.ucrn_paper", 2),
        ("f(ucrn=1)", 1),
        ("def f():\n  'ucrn'\n  return UCRN, 'UCRN', 'mucrn'", 0),
    ],
)
def test_names_are_seen(code, count):
    assert len(names_in(ast.parse(code), {"ucrn"})) == count


def test_every_module_is_in_the_order():
    rooms = {room_of(name) for name in FILES} - {"__init__"}
    assert rooms - set(ORDER) == set()


def test_packed_text_is_known_to_the_text_encoder_alone():
    users = {name for name, others in GRAPH.items() if "msa_jax.text.packing" in others}
    assert users == {"msa_jax.text.bert", "msa_jax.text.layout"}


def test_no_import_cycle():
    graphlib.TopologicalSorter(GRAPH).prepare()  # raises CycleError, naming the cycle


@pytest.mark.parametrize("name", TREES)
def test_no_hidden_state(name):
    assert hidden_state(TREES[name]) == []


@pytest.mark.parametrize(
    "code, count",
    [
        ("cache = {}", 1),
        ("SEEN: list = []\ndef f(x): SEEN.append(x)", 1),
        ("SEEN = dict()\ndef f(x): SEEN[x] = 1", 1),
        ("SEEN = collections.defaultdict(int)\ndef f(x): del SEEN[x]", 1),
        ("N = 0\ndef f():\n  global N\n  N += 1", 1),
        ("TABLE = {'a': 1}\ndef f(x): y = []; y.append(x); return TABLE[x]", 0),
    ],
)
def test_hidden_state_is_seen(code, count):
    assert len(hidden_state(ast.parse(code))) == count


def test_only_the_reader_of_feature_files_opens_pickles():
    for name, tree in TREES.items():
        if name == PICKLE_READER:
            continue
        tops = {imported.split(".")[0] for imported in imports(tree)}
        assert tops & PICKLES == set(), name
        for node in ast.walk(tree):
            allow = isinstance(node, ast.keyword) and node.arg == "allow_pickle"
            assert not allow or ast.unparse(node.value) == "False", name


@pytest.mark.parametrize("start", ["msa_jax.main", "msa_jax.predict.__main__"])
def test_training_and_answering_cannot_reach_the_pickle_reader(start):
    reached, todo = set(), {start}
    while todo:
        reached |= todo
        todo = {other for name in todo for other in GRAPH.get(name, ())} - reached
    assert start in GRAPH and PICKLE_READER not in reached


def test_only_the_sandboxed_process_imports_the_pickle_reader():
    """`sandbox` starts it by name; it is the only one, and nobody imports it."""
    inside, weights = "msa_jax.data.read.sandboxed", "msa_jax.data.read.state_dicts"
    readers = {m for m, others in GRAPH.items() if PICKLE_READER in others}
    assert readers == {inside, weights}
    assert {m for m, others in GRAPH.items() if weights in others} == {inside}
    assert {m for m, others in GRAPH.items() if inside in others} == set()


def test_answering_runs_nothing_that_it_reads():
    for name, tree in TREES.items():
        if not name.startswith(("msa_jax.predict", "msa_jax.data.preparation")):
            continue
        called = {
            getattr(node.func, "id", getattr(node.func, "attr", None))
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        assert not called & {"eval", "exec", "compile", "__import__", "run_path"}, name
        tops = {imported.split(".")[0] for imported in imports(tree)}
        assert not tops & {"importlib", "runpy", "subprocess", "yaml"}, name
