"""What a person sees while training: one line per epoch, a bar with the time left."""

from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from msa_jax.train import Epoch


class TrainingProgress:
    """A bar towards the earliest possible end, and a line for every epoch.

    Training ends when the last seed has gone `early_stop` epochs without improving, so
    the bar's end moves on whenever a seed improves; the time left is that distance at
    the measured pace.
    """

    def __init__(self, seeds: tuple[int, ...], early_stop: int, max_epochs: int):
        """Prepare; the display starts with the `with` block."""
        self._seeds, self._early_stop, self._max = seeds, early_stop, max_epochs
        self._best = np.zeros(len(seeds), int)
        self._seconds: list[float] = []
        self.console = Console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
        )
        total = min(early_stop, max_epochs)
        self._task = self._bar.add_task("compiling, epoch 1", total=total, left="")

    def __enter__(self) -> "TrainingProgress":
        """Show the bar."""
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
        self._best[epoch.selected] = epoch.number
        self._seconds.append(epoch.seconds)
        self.console.print(self._line(epoch), highlight=False)
        last = int(self._best.max()) + self._early_stop
        last = min(max(last, epoch.number), self._max)
        # The first epoch holds the compilation: no guide to the others.
        pace = float(np.median(self._seconds[1:] or self._seconds))
        left = (last - epoch.number) * pace
        self._bar.update(
            self._task,
            description=f"epoch {epoch.number + 1}",
            completed=epoch.number,
            total=last,
            left=f"about {_span(left)} left unless validation improves",
        )

    def _line(self, epoch: Epoch) -> str:
        """For example `epoch 7  train 0.61  valid 0.92* 0.95 -  mae 0.93  3.2 s`."""
        going = epoch.active
        scores = [
            "-" if not on else f"{score:.4f}{'*' if best else ' '}"
            for score, on, best in zip(
                epoch.valid["loss"], going, epoch.selected, strict=True
            )
        ]
        loss = epoch.train["loss"][going].mean()
        return (
            f"epoch {epoch.number:3d}  train loss {loss:.4f}  valid loss per seed "
            f"{' '.join(scores)}  {epoch.seconds:.1f} s"
        )


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
