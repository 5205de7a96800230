"""Break the code in one place after another; the tests named beside it must go red.

    python tests/mutate.py [WORD ...]

tests/mutations.toml is the list: a file, text in it, what takes its place, and the
tests. Works on a copy in a temporary folder. WORDs choose mutations whose file or tests
contain one of them. Prints one line each; exits with 1 if one survived, or no longer
fits the code. Not collected by pytest: a mutation takes ten seconds and more.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COPIED = ("msa_jax", "tests", "configs", "docs", "launch", "typings", "benchmarks")


def chosen(words: list[str]) -> list[dict[str, Any]]:
    """Read the list."""
    listed = tomllib.loads((ROOT / "tests" / "mutations.toml").read_text())
    return [
        one
        for one in listed["mutation"]
        if not words or any(w in " ".join([one["file"], *one["tests"]]) for w in words)
    ]


def copy(folder: Path) -> None:
    """Copy what tests read; caches and reference arrays are those of the checkout."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy2(path, folder)
    (folder / ".jax_cache").symlink_to(ROOT / ".jax_cache")
    if (ROOT.parent / "shared").is_dir():
        (folder.parent / "shared").symlink_to(ROOT.parent / "shared")


def outcome(folder: Path, one: dict[str, Any]) -> str:
    """Break, test, mend; return "red" or what is wrong."""
    path = folder / one["file"]
    right = path.read_text()
    if right.count(one["old"]) != 1:
        return f"STALE: {right.count(one['old'])} such texts"
    path.write_text(right.replace(one["old"], one["new"]))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, "-m", "not slow", *one["tests"]],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )
    finally:
        path.write_text(right)
    if done.returncode == 1:
        return "red"
    said = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return f"SURVIVED ({done.returncode}: {said[:80]})"


def main(words: list[str]) -> int:
    """Try what is chosen; return the exit code."""
    wrong = 0
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "checkout"
        folder.mkdir()
        copy(folder)
        for one in chosen(words):
            said = outcome(folder, one)
            wrong += said != "red"
            change = f"{one['old'].strip()[:50]!r} -> {one['new'].strip()[:30]!r}"
            print(f"{said:9} {one['file']}: {change}", flush=True)
    print(f"{wrong} of {len(chosen(words))} are not red")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
