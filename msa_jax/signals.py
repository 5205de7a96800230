"""Ctrl-C and SIGTERM: one line and an exit code, no traceback, never swallowed."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NoReturn

STOPPING: Mapping[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped"}
_AGAIN = 0.02  # seconds until a signal that came at a bad moment is raised again


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what cleans up after Ctrl-C does so after this, too."""


def started_as_command() -> bool:
    """Say whether this process is `python -m msa_jax...`, still importing."""
    words = sys.orig_argv
    modules = [
        after for word, after in zip(words, words[1:], strict=False) if word == "-m"
    ]
    return sys.argv[:1] == ["-m"] and any(
        module.split(".")[0] == __name__.split(".")[0] for module in modules
    )


def end_at_once() -> None:
    """Let the two signals end the process; for the time when all it does is import."""
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def call(main: Callable[[], Any]) -> Any:
    """Call `main`, in which the two signals raise KeyboardInterrupt or `Terminated`.

    They are raised outside of imports only, because much code that imports takes any
    exception for a missing module. One that gets lost nevertheless is raised when
    `main` ends. The second signal ends the process at once.
    """
    asked: list[int] = []
    here = sys._getframe()

    def stop() -> KeyboardInterrupt:
        return Terminated() if asked[0] == signal.SIGTERM else KeyboardInterrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        if number in STOPPING:
            if asked:
                _end(number, frame)
            asked.append(number)
        if _importing(frame, here):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            raise stop()

    def unraisable(lost: Any) -> None:  # in a finaliser or a callback of gc
        if asked and issubclass(lost.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            hook(lost)

    numbers = [n for n in STOPPING if signal.getsignal(n) != signal.SIG_IGN]
    before = {n: signal.signal(n, handle) for n in (*numbers, signal.SIGALRM)}
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        result = main()
    except Exception:
        if asked:  # `main` took the signal for something else
            raise stop() from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise stop()
    return result


def leave(stop: KeyboardInterrupt) -> NoReturn:
    """Say that a signal stopped the command; exit with 130 or 143, as shells do.

    The interpreter of a command is not torn down: in the middle of things, that makes
    jaxlib's compiled code crash now and then.
    """
    number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
    print(STOPPING[number], file=sys.stderr)
    if signal.getsignal(number) is _end:  # a command, not a test
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # a pipe nobody reads
            sys.stdout.flush()
        os._exit(128 + number)
    sys.exit(128 + number)


def _importing(frame: FrameType | None, outermost: FrameType) -> bool:
    """Say whether a frame stands inside an import that started below `outermost`."""
    while frame is not None and frame is not outermost:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    os.write(2, f"{STOPPING[number]}\n".encode())
    os._exit(128 + number)
