"""What a person sees while training: one line per epoch, a bar with the time left."""

import time
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.progress import ProgressColumn as Column
from rich.text import Text

from msa_jax.training.loop import Epoch


class _TimeLeft(Column):
    """Counts down between epochs, from what the last epoch's end promised."""

    def render(self, task: Task) -> Text:
        """Show the seconds to go; nothing during the first epoch."""
        end = task.fields["end"]
        if end is None:
            return Text("")
        left = max(end - time.monotonic(), 0)
        return Text(f"about {_span(left)} left, more if validation improves")


class TrainingProgress:
    """A bar towards the earliest possible end, and a line for every epoch.

    Training ends when the last seed has gone `early_stop` epochs without improving, so
    the bar's end moves on whenever a seed improves; the time left is that distance at
    the measured pace.
    """

    def __init__(
        self,
        seeds: tuple[int, ...],
        early_stop: int,
        max_epochs: int,
        quiet: bool = False,
    ):
        """Prepare; the display starts with the `with` block, if it is not `quiet`."""
        self._early_stop, self._max = early_stop, max_epochs
        self._best = np.zeros(len(seeds), int)
        self._seconds: list[float] = []
        # A notebook gets lines of text: it takes no cursor, and widgets need a package.
        lines_only: dict[str, Any] = {"force_jupyter": False, "force_terminal": False}
        notebook = Console().is_jupyter
        self.console = Console(quiet=quiet, **(lines_only if notebook else {}))
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            _TimeLeft(),
            console=self.console,
            transient=True,
        )
        total = min(early_stop, max_epochs)
        self._task = self._bar.add_task("epoch 1, compiling", total=total, end=None)

    def __enter__(self) -> "TrainingProgress":
        """Show the bar."""
        legend = "loss: train mean, then validation per seed (* best so far, - ended)"
        self.console.print(legend, style="dim", soft_wrap=True)
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __call__(self, epoch: Epoch) -> None:
        """Print an epoch's line and move the bar."""
        self.say(_line(epoch))
        self.pass_by(epoch)

    def say(self, line: str) -> None:
        """Print a line as it stands."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def pass_by(self, epoch: Epoch) -> None:
        """Move the bar by an epoch."""
        self._best[epoch.selected] = epoch.number
        self._seconds.append(epoch.seconds)
        last = int(self._best.max()) + self._early_stop
        last = min(max(last, epoch.number), self._max)
        # The first epoch holds the compilation: no guide to the others.
        pace = float(np.median(self._seconds[1:] or self._seconds))
        self._bar.update(
            self._task,
            description=f"epoch {epoch.number + 1}",
            completed=epoch.number,
            total=last,
            end=time.monotonic() + (last - epoch.number) * pace,
        )


def _line(epoch: Epoch) -> str:
    """For example `epoch   7  train 0.6123  valid 0.9214* 0.9511  -        3.2 s`."""
    going = epoch.active
    columns = zip(epoch.valid["loss"], going, epoch.selected, strict=True)
    scores = [
        f"{score:.4f}{'*' if best else ' '}" if on else "-      "
        for score, on, best in columns
    ]
    loss = epoch.train["loss"][going].mean()
    return (
        f"epoch {epoch.number:3d}  train {loss:.4f}  valid {' '.join(scores)}"
        f"  {epoch.seconds:.1f} s"
    )


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
