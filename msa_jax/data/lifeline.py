"""A child process that dies with its parent, however the parent dies."""

import ctypes
import os
import signal
import sys
import threading

_PARENT_DEATH_SIGNAL = 1


def die_with(parent: int, pipe: int) -> None:
    """End this process at once when its parent is gone.

    Linux does so itself; elsewhere a thread waits for the end of a pipe.

    Args:
        parent: the parent's process id.
        pipe: a descriptor to read from, whose other end the parent alone has.

    Source: Linux manual page PR_SET_PDEATHSIG(2const).
    """
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None)
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    threading.Thread(target=_wait, args=(pipe,), daemon=True).start()
    if os.getppid() != parent:  # it died before anybody watched
        os._exit(1)


def _wait(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)
