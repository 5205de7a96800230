"""Ctrl-C and SIGTERM: one line and an exit code, no traceback, never swallowed."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

STOPPING: Mapping[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped"}
PREEMPTED = 75  # exit code after SIGTERM of commands that go on where they were
_GO_ON = ("msa_jax.main", "msa_jax.tune", "msa_jax.reproduce")
_AGAIN = 0.02  # seconds until a signal that came at a bad moment is raised again
_GRACE = 8.0  # seconds until a command that computes or compiles on is ended


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what cleans up after Ctrl-C does so after this, too."""


def started_as_command() -> bool:
    """Say whether this process is `python -m msa_jax...`, still importing."""
    package = __name__.split(".")[0]
    return sys.argv[:1] == ["-m"] and _module().split(".")[0] == package


def end_at_once() -> None:
    """Let the two signals end the process; for the time when all it does is import."""
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def call(main: Callable[[], Any]) -> Any:
    """Call `main`, in which the two signals raise KeyboardInterrupt or `Terminated`.

    They are raised outside of imports only, because much code that imports takes any
    exception for a missing module. One that gets lost nevertheless is raised when
    `main` ends. The second signal ends the process at once, and so does the first one
    if `main` is still busy some seconds later: Python hears of it only when compiled
    code returns, which may take an epoch.
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
        with _ending_if_busy():
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


def leave(stop: KeyboardInterrupt, *, at_once: bool = False) -> NoReturn:
    """Say that a signal stopped the command; exit with 130 or 143, as shells do.

    Commands that go on where they were exit with 75 after SIGTERM.

    The interpreter of a command is not torn down: in the middle of things, that makes
    jaxlib's compiled code crash now and then.

    Args:
        stop: the signal.
        at_once: leave out what waits for other processes.
    """
    number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
    print(_said(number), file=sys.stderr)
    end(_code(number), at_once=at_once)


def end(code: int, *, at_once: bool = False) -> NoReturn:
    """Exit; a command does so at once, without waiting for the threads of libraries.

    After a failed write, orbax's wait for minutes.

    Args:
        code: the exit code.
        at_once: leave out what waits for other processes.
    """
    if at_once or signal.getsignal(signal.SIGTERM) is _end:  # a command, not a test
        if not at_once:
            atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # a pipe nobody reads
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def _ending_if_busy() -> Iterator[None]:
    """End the process some seconds after a signal, unless the block has ended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    done = threading.Event()

    def watch() -> None:
        while number := os.read(reading, 1):
            if number[0] in STOPPING and not done.wait(_GRACE):
                _end(number[0], None)
        os.close(reading)

    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        os.close(writing)  # the thread reads the end and ends


def _module() -> str:
    """Return NAME of `python -m NAME`, or ""."""
    words = sys.orig_argv
    pairs = zip(words, words[1:], strict=False)
    return next((after for word, after in pairs if word == "-m"), "")


def _goes_on(number: int) -> bool:
    return number == signal.SIGTERM and _module() in _GO_ON


def _code(number: int) -> int:
    return PREEMPTED if _goes_on(number) else 128 + number


def _said(number: int) -> str:
    more = "; the same command goes on from here" if _goes_on(number) else ""
    return STOPPING[number] + more


def _importing(frame: FrameType | None, outermost: FrameType) -> bool:
    """Say whether a frame stands inside an import that started below `outermost`."""
    while frame is not None and frame is not outermost:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    os.write(2, f"{_said(number)}\n".encode())
    os._exit(_code(number))
