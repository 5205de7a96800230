"""Time the start of a run, from the command to its first step: cold, then warm.

    python -m msa_jax.studies.bench.start --config configs/demo.py

Cold: nothing is compiled yet. Warm: the programs lie in the persistent cache. Each is a
run of its own in a new process, stopped as soon as the program of an epoch is there.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msa_jax.config import cli
from msa_jax.ground.errors import UserError

POLL = 0.05  # seconds between two looks at the run's log
# What jax says of the epoch, whose program is made by `step.make_epoch`.
READY = re.compile(r"Finished XLA compilation of jit\(all_seeds\)")


def main() -> int:
    """Parse the command line, measure, print; return the exit code."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--config", default="configs/demo.py", help="(default: configs/demo.py)")
    add("--json", type=Path, metavar="FILE", help="write all numbers there, too")
    options, others = parser.parse_known_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            found[name] = start(options.config, others, Path(folder), name)
            print(f"{name} start to first step: {found[name]:.1f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found))
    return 0


def start(config: str, others: list[str], folder: Path, name: str) -> float:
    """Return the seconds from the command to the first step.

    Args:
        config: file of the configuration.
        others: more of the command line of `main`.
        folder: where cache and run lie; the first run there is a cold one.
        name: of the run.

    Raises:
        UserError: the run failed.
    """
    command = [sys.executable, "-m", "msa_jax.main", "--config", config, *others]
    command += ["--workdir", str(folder / name)]
    settings = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    log, clock = folder / f"{name}.log", time.perf_counter()
    with log.open("w") as file:
        run = subprocess.Popen(
            command, env=settings | {"JAX_LOG_COMPILES": "1"}, stdout=file, stderr=file
        )
        while run.poll() is None and not READY.search(log.read_text()):
            time.sleep(POLL)
        seconds, ended = time.perf_counter() - clock, run.poll()
        if ended is None and name == "cold":
            _wait_for_cache(folder / "cache")
        run.kill()
        run.wait()
    if ended is not None:
        last = (log.read_text().strip().splitlines() or ["it wrote nothing"])[-1]
        raise UserError(f"the {name} run ended before its first step: {last}")
    return seconds


def _wait_for_cache(cache: Path) -> None:
    """Wait until the program just compiled lies in the cache; at most half a minute."""
    for _ in range(int(30 / POLL)):
        if any("in_" in path.name for path in cache.glob("jit_*")):
            return
        time.sleep(POLL)


if __name__ == "__main__":
    cli.run(main)
