"""The package from Python: the commands' own steps as functions, for notebooks.

    import msa_jax as msa

    run = msa.train(msa.config("demo"))
    run.table()

`msa.config`, `msa.methods` and `msa.prepare` lie in the rooms of their names. Mistakes
raise `msa.UserError` with the one line that a command would print. Nothing here handles
signals or sets flags; jax's precision of products and its compilation cache are set for
the process, as the commands do. What is slow to import is imported when it is used.
"""

import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from msa_jax.ground.errors import UserError

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from ml_collections import ConfigDict, FrozenConfigDict

    from msa_jax.data import Dataset
    from msa_jax.predict.answers import Predictor
    from msa_jax.runs.finished import Results
    from msa_jax.runs.finished import Run as Files

__all__ = ["Report", "Run", "UserError", "compare", "load_dataset", "open_run", "train"]


class Report(type(Path())):
    """The path of a report page, which a notebook shows as the page itself.

    Examples:
        >>> report = run.report
        >>> report.exists(), report.read_text("utf-8")[:15]
        (True, '<!doctype html>')
    """

    def _repr_html_(self) -> str:
        page = html.escape(self.read_text("utf-8"))
        style = "width: 100%; height: 40rem; border: 0"
        return f'<iframe srcdoc="{page}" style="{style}"></iframe>'


class Run:
    """A finished run: what came out, and what it answers to new samples.

    `msa.train` and `msa.open_run` make it; the examples are of a run of two seeds on
    the built-in data.

    Attributes:
        folder: its work directory, `runs/...`.
        results: of results.json (docs/design.md): "test" and "valid" hold every
            metric's mean, sd, 95 % interval and value per seed.
        config: its configuration, nested.

    Examples:
        >>> run.results["method"], run.results["seeds"]
        ('linear', [1, 2])
        >>> run
        Run of linear on synthetic_tiny, seeds 1, 2, in runs/tiny
    """

    def __init__(self, folder: str | Path):
        """Read a work directory; see `open_run`."""
        from msa_jax.runs.finished import open_folder

        self.folder = Path(folder)
        self._files: Files = open_folder(self.folder)
        self.results: Results = self._files.results
        self.config = self._files.config

    def __repr__(self) -> str:
        """Say what was trained, and where it lies."""
        found = self.results
        seeds = ", ".join(map(str, found["seeds"]))
        return (
            f"Run of {found['method']} on {found['dataset']}, seeds {seeds}, "
            f"in {self.folder}"
        )

    def _repr_html_(self) -> str:
        title = html.escape(repr(self))
        return f"<p>{title}</p>{self.table()._repr_html_()}"  # pyright: ignore

    def table(self, split: Literal["test", "valid"] = "test") -> "pandas.DataFrame":
        """Return metric x seed, in the units of results.json.

        Accuracies and F1 are shares, 0 to 1; MAE is in label units, Corr in -1 to 1;
        NaN where a metric is not defined. What each means: docs/metrics.md.

        Args:
            split: test, or validation, which selected.

        Raises:
            UserError: no such split.

        Examples:
            >>> run.table().loc["mae"].between(0, 3).tolist()
            [True, True]
            >>> run.table("valid").columns.tolist()
            [1, 2]
        """
        import pandas

        if split not in ("test", "valid"):
            raise UserError(f"split {split!r}: a run has metrics of 'test' and 'valid'")
        rows = {
            key: cell["per_seed"] for key, cell in self.results.get(split, {}).items()
        }
        seeds = pandas.Index(self.results["seeds"], name="seed")
        frame = pandas.DataFrame.from_dict(rows, "index", float, seeds)
        return frame.rename_axis("metric")

    def predictions(self, split: Literal["test"] = "test") -> "pandas.DataFrame":
        """Return a row per test sample, by its id: label, and every seed's answer.

        Scores and labels are in label units. Of classes and emotions the columns are
        pairs, (seed, number of the logit) and ("label", number).

        Args:
            split: test, the only one that a run keeps its answers to; see `predict`.

        Raises:
            UserError: another split, or the run kept no answers.

        Examples:
            >>> run.predictions().columns.tolist(), len(run.predictions())
            (['label', 1, 2], 32)
        """
        import pandas

        found = self._files.predictions
        if split != "test" or found is None:
            raise UserError(
                f"{self.folder}: no answers to {split!r} are kept; run.predict answers "
                "any samples"
            )
        index = pandas.Index(range(len(found.label)) if found.id is None else found.id)
        seeds = self.results["seeds"]
        answers = dict(zip(seeds, found.prediction, strict=True))
        columns: dict[Any, Any] = {}
        for name, values in ({"label": found.label} | answers).items():
            wide = found.prediction.ndim > 2
            if values.ndim > 1:
                columns |= {(name, i): column for i, column in enumerate(values.T)}
            else:
                columns[(name, 0) if wide else name] = values
        return pandas.DataFrame(columns, index=index.rename("id"))

    @overload
    def predict(self, samples: str | Mapping[str, Any]) -> dict[str, Any]: ...

    @overload
    def predict(
        self, samples: Iterable[str | Mapping[str, Any]]
    ) -> list[dict[str, Any]]: ...

    def predict(self, samples: Any) -> Any:
        """Answer new samples with every seed's selected parameters.

        Args:
            samples: one sample or several; a sample is a text, or a mapping with any
                of "text", "text_bert" [3, t], "audio" [t, d] and "vision" [t, d]:
                sentences, and arrays or lists of the widths that the run was trained
                on (docs/predict.md).

        Returns:
            an answer, or a list of them: "prediction", the mean over seeds in
            label units (of classes: the most probable one), "sd" over seeds,
            "per_seed", and "missing", the modalities that were not given.

        Raises:
            UserError: a sample is none; nothing is answered.

        Examples:
            >>> answer = run.predict("what a wonderful film")
            >>> abs(answer["prediction"]) < 9, answer["missing"]
            (True, ['audio', 'vision'])
        """
        from msa_jax.predict import answers, json_lines

        alone = isinstance(samples, str | Mapping)
        given = [samples] if alone else list(samples)
        values = ({"text": x} if isinstance(x, str) else x for x in given)
        items = list(json_lines.read_objects(values, self._predictor.preparation))
        lines: list[dict[str, Any]] = []
        if all(item.error is None for item in items):
            size = 1 if len(items) == 1 else self._predictor.size
            answers.answer_all(self._predictor, items, lines.append, size)
        bad = [(item.line, item.error) for item in items if item.error is not None]
        bad += [(line["line"], line["error"]) for line in lines if "error" in line]
        for number, said in bad:
            raise UserError(f"sample {number} of {len(given)}: {said}")
        return lines[0] if alone else lines

    @cached_property
    def _predictor(self) -> "Predictor":
        from msa_jax.predict import model

        return model.predictor(model.open_configured(self.folder))

    def figure(self, name: str = "loss") -> "Figure":
        """Draw a figure of the report.

        Args:
            name: "loss", "valid_metrics", "scatter" and others, as the run has them.

        Raises:
            UserError: the run has no such figure; the message names those it has.

        Examples:
            >>> [axes.get_ylabel() for axes in run.figure("loss").axes[:2]]
            ['loss', 'loss']
        """
        from msa_jax.report import page, rendering
        from msa_jax.report.drawing import to_png

        names = []
        with rendering.style():
            for drawn in page.draw(self._files):
                if drawn.name == name:
                    # Without pyplot nobody tells a notebook how to show a figure.
                    drawn.figure._repr_png_ = partial(to_png, drawn.figure)
                    return drawn.figure
                names.append(drawn.name)
        raise UserError(
            f"{self.folder}: no figure {name!r}; this run has {', '.join(names)}"
        )

    @property
    def report(self) -> Report:
        """The path of the report page; in a notebook the page itself.

        Examples:
            >>> run.report.name
            'report.html'
        """
        path = Report(self.folder / "report.html")
        if not path.exists():
            _write_report(self.folder)
        return path


def train(
    config: "ConfigDict | FrozenConfigDict",
    workdir: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Train all seeds, select on validation, test, and write the report.

    As `python -m msa_jax.main` does: called again for the same folder it goes on with a
    run that was stopped, to the same results, and reads a finished one.

    Args:
        config: from `msa.config`.
        workdir: where; None: runs/METHOD_DATASET_... with a hash of the configuration,
            so that each has a folder of its own.
        progress: print a line per epoch, and in a terminal a bar.

    Raises:
        UserError: a value that no run can use, a data set that is missing or lacks
            what the method reads, or a folder with another configuration's run.

    Examples:
        >>> import msa_jax as msa
        >>> config = msa.config("linear", seeds=(1, 2), **TINY)
        >>> run = msa.train(config, "runs/tiny", progress=False)
        >>> run.results["selected_epoch"].keys()
        dict_keys(['1', '2'])
    """
    from ml_collections import ConfigDict, FrozenConfigDict

    import msa_jax.methods as methods
    from msa_jax.runs import workdir as files

    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise UserError(f"train() takes a configuration, msa.config(...), not a {kind}")
    frozen = FrozenConfigDict(config)
    methods.check(frozen)
    folder = Path("runs", _name(frozen)) if workdir is None else Path(workdir)
    done = files.finished(folder, frozen.to_dict())
    if done is not None:
        from msa_jax.runs import finished

        finished.require_own(folder, done, "give another --workdir")
    if done is None or not _is_complete(folder):
        from msa_jax.runs import run

        run.complete_run(frozen, files.open_workdir(folder), quiet=not progress)
        _write_report(folder)
    return Run(folder)


def _name(config: Any) -> str:
    """Name a configuration, "self_mm_mosi_1f0c3a9e": equal ones alike."""
    content = json.dumps(config.to_dict(), sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"{config.method}_{config.data.name}_{digest}"


def _is_complete(folder: Path) -> bool:
    """Say whether a run was not killed after its results."""
    from msa_jax.runs import saver

    return (folder / "report.html").exists() and not saver.left_over(folder)


def _write_report(folder: Path) -> None:
    from msa_jax import report
    from msa_jax.ground import lock

    with lock.held(folder):
        report.write_report(folder)


def open_run(workdir: str | Path) -> Run:
    """Open a finished run; its data set need not be there.

    Args:
        workdir: its folder.

    Raises:
        UserError: it holds no finished run, or a file in it is damaged.

    Examples:
        >>> import msa_jax as msa
        >>> msa.open_run("runs/tiny").table().equals(run.table())
        True
    """
    return Run(workdir)


def load_dataset(name: str, data_dir: str | Path | None = None) -> "Dataset":
    """Load a prepared data set; the built-in ones are made if they are missing.

    Args:
        name: as it was prepared; built in: "synthetic", "synthetic_tiny".
        data_dir: where data sets are kept; None: $MSA_DATA, else "data".

    Returns:
        `.splits["train"]` and so on with NumPy arrays: `id` and `transcript` [n]
        or `text` [n, 3, t] token ids or [n, t, d] features, `audio` and `vision`
        [n, t, d] float32 with zeros behind their `..._length` [n], `label` [n] in the
        range of `.card["label_range"]`; `.card`, what is known of it (docs/data.md);
        `.to_frame()`, a row per sample.

    Raises:
        UserError: there is none of that name, or its files are damaged.

    Examples:
        >>> import msa_jax as msa
        >>> data = msa.load_dataset("synthetic_tiny")
        >>> data.splits["train"].label.shape, data.card["label_range"]
        ((96,), [-3.0, 3.0])
    """
    from msa_jax.data import store

    where = store.data_dir(None if data_dir is None else str(data_dir))
    return store.load_dataset(name, where)


def compare(
    runs: Iterable[Run | str | Path], against: Run | str | Path | None = None
) -> "pandas.DataFrame":
    """Hold finished runs on the same data against each other, seed by seed.

    Args:
        runs: two or more, or their folders.
        against: the one that the others are tested against; None: the first.

    Returns:
        a row per metric and run: mean, sd and number of seeds, a 95 % interval of
        the mean over seeds (low, high), and of all but the reference the difference
        to it with p-values over paired seeds and paired test samples, corrected by
        Holm's method, and whether both are below .05 (docs/statistics.md). Units are
        those of `Run.table`.

    Raises:
        UserError: fewer than two runs, or runs that cannot be compared.

    Examples:
        >>> import msa_jax as msa
        >>> found = msa.compare([run, other]).loc["mae"]
        >>> found["seeds"].tolist(), found["significant"].tolist()
        ([2, 2], [None, False])
    """
    import pandas

    from msa_jax.report import comparison

    def folder(given: Run | str | Path) -> Path:
        return given.folder if isinstance(given, Run) else Path(given)

    chosen = None if against is None else folder(against)
    (part,) = comparison.build([folder(run) for run in runs], chosen)["parts"]
    rows = {}
    for i, column in enumerate(part["columns"]):
        for row in part["rows"]:
            cell = row["cells"][i]
            low, high = cell["ci_seeds"] or (None, None)
            test = cell["against"] or {}
            rows[column["key"], row["name"]] = {
                "mean": cell["mean"],
                "sd": cell["sd"],
                "seeds": len(row["seeds"]),
                "low": low,
                "high": high,
                "difference": test.get("difference"),
                "p_seeds": test.get("p_seeds_holm"),
                "p_samples": test.get("p_samples_holm"),
                "significant": test.get("significant"),
            }
    names = pandas.MultiIndex.from_tuples(rows, names=["metric", "run"])
    return pandas.DataFrame(list(rows.values()), index=names)
