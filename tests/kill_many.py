"""Kill one training many times at random moments; its results must never differ.

    PYTHONPATH=. python tests/kill_many.py --runs 50

Every run is a small training of its own process, killed with SIGKILL after a random
time, started again, killed again, up to --kills times, then left to end. All that a run
leaves, but times, is hashed and held against a run that nobody killed. Not collected by
pytest: 50 runs take half an hour and more.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msa_jax.ground.hosts import on_host
from msa_jax.runs import checkpoint

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "msa_jax.main", "--config", "configs/smoke.py"]
CHANGES = ["--config.selection.max_epochs=40", "--config.selection.early_stop=40"]
FILES = "history.jsonl config.json model.json tokenizer.json".split()


def hash_of(folder: Path) -> str:
    """Hash a finished run, but for times."""
    digest = hashlib.sha256()
    results = json.loads((folder / "results.json").read_text())
    del results["time"]
    digest.update(json.dumps(results, sort_keys=True).encode())
    for path in sorted([*folder.glob("*.npz"), *(folder / name for name in FILES)]):
        digest.update(path.name.encode() + path.read_bytes())
    for name, x in sorted(on_host(checkpoint.load(folder / "checkpoint/best")).items()):
        digest.update(f"{name} {x.dtype} {x.shape}".encode() + x.tobytes())
    left = [p.name for p in (folder / "checkpoint").iterdir() if p.name != "best"]
    left += [p.name for p in folder.iterdir() if p.name.startswith(".")]
    assert left == [], f"{folder}: left over: {left}"
    return digest.hexdigest()


def run(folder: Path, kill_after: float | None) -> tuple[int, float]:
    """Train; kill it after so many seconds. Return the exit code and its duration."""
    start = time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, *CHANGES, "--workdir", str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
    if process.returncode not in (0, -9):
        raise SystemExit(f"{folder}: exit code {process.returncode}: {said}")
    return process.returncode, time.monotonic() - start


def main() -> int:
    """Do what the arguments say; 1 if a run differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=3, help="of a run, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    moments, different, kills = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory() as base:
        run(Path(base) / "first", None)  # compiles
        _, seconds = run(Path(base) / "whole", None)
        expected = hash_of(Path(base) / "whole")
        print(f"in one piece: {seconds:.1f} s, {expected[:16]}", flush=True)
        for number in range(1, given.runs + 1):
            folder, killed = Path(base) / str(number), 0
            while killed < given.kills:
                code, _ = run(folder, moments.uniform(0.1, 1.05) * seconds)
                if code == 0:
                    break
                killed += 1
            else:
                run(folder, None)
            found = hash_of(folder)
            different += found != expected
            kills += killed
            same = "same" if found == expected else "DIFFERENT"
            print(f"run {number}: killed {killed} times, {same}", flush=True)
            shutil.rmtree(folder)
    print(f"{given.runs} runs, {kills} kills, {different} different")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
