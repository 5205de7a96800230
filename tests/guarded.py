"""`predict` in a process of its own, where unpickling or starting programs fails."""

import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[1]

PROGRAM = """
import runpy, sys
STARTS = ("system", "exec", "posix_spawn", "spawn", "fork", "forkpty", "startfile")
CAUGHT = {"pickle.find_class", "subprocess.Popen", *("os." + name for name in STARTS)}
def guard(event, arguments):
    if event in CAUGHT:
        raise RuntimeError("caught: " + event + " " + str(arguments))
import jax, numpy, orbax.checkpoint  # before: libraries may look at their system
sys.addaudithook(guard)
sys.argv[0] = "-m"
runpy.run_module("msa_jax.predict", run_name="__main__", alter_sys=True)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `predict` with pipes, buffered as usual; it ends after five minutes."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = threading.Timer(300, process.kill)
    watch.daemon = True
    watch.start()
    return process
