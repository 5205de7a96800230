"""What a person sees of a search: a line per trial, a bar with the time left."""

import math
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from msa_jax.evaluation.wording import span
from msa_jax.report.tune_page import Trial, field_value, loss
from msa_jax.studies.search import Group
from msa_jax.training.loop import Epoch


class SearchProgress:
    """A bar over all trials, and a line for each one that is finished."""

    def __init__(self, finished: Sequence[Trial], planned: int, max_epochs: int):
        """Prepare; the display starts with the `with` block."""
        self._done, self._max = len(finished), max_epochs
        known = [line["score"] for line in finished if line["score"] is not None]
        self._best = min(known, default=math.inf)
        self.console = Console()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[done]} of {task.fields[planned]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            transient=True,
            speed_estimate_period=math.inf,  # trials are few and slow: all count
        )
        planned = max(planned, self._done)
        self._task = self._bar.add_task(
            "starting",
            total=planned,
            completed=self._done,
            done=self._done,
            planned=planned,
        )

    def __enter__(self) -> "SearchProgress":
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

    def begin(self, group: Group) -> None:
        """Say that a program is being compiled."""
        first = group.trials[0].number
        self._bar.update(self._task, description=f"trial {first}, compiling")

    def epoch(self, epoch: Epoch) -> None:
        """Move the bar by an epoch of the trials that run now."""
        # A trial that stops early makes the bar jump, but it never stands still.
        part = min(epoch.number / self._max, 0.95)
        self._bar.update(
            self._task,
            description=f"epoch {epoch.number + 1}",
            completed=self._done + part,
        )

    def finished(self, line: Trial) -> None:
        """Print a finished trial's line and move the bar."""
        self._done += 1
        score = line["score"]
        said = "diverged" if score is None else f"valid {loss(score)}"
        if line["sd"] is not None:
            said += f" (sd {loss(line['sd'])})"
        if score is not None and score < self._best:
            self._best = score
            said += " best so far"
        epochs = sum(line["epochs_run"].values())
        values = ", ".join(f"{k}={field_value(v)}" for k, v in line["values"].items())
        self.console.print(
            f"trial {line['trial']:3d}  {said}  {epochs} epochs"
            f"  {span(line['seconds'])}  {values}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
        self._bar.update(self._task, completed=self._done, done=self._done)
