"""The methods, a paper each: one file or folder, one value, one line below."""

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flax import linen as nn
from ml_collections import ConfigDict

from msa_jax.config import fields, reads
from msa_jax.config.sections import ADDED
from msa_jax.ground.callable_module import let_call
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method
from msa_jax.methods import (
    ch_sims,
    ef_lstm,
    graph_mfn,
    lf_dnn,
    lf_lstm,
    linear,
    lmf,
    mfm,
    mfn,
    mmcl,
    self_mm,
    spt,
    sugrm,
    tfn,
    ucrn,
)
from msa_jax.methods.paper import Paper

if TYPE_CHECKING:
    import pandas

# In the order of the README's table.
PAPERS: Mapping[str, Paper] = MappingProxyType(
    {
        paper.name: paper
        for paper in (
            self_mm.PAPER,
            sugrm.PAPER,
            ucrn.PAPER,
            mmcl.PAPER,
            spt.PAPER,
            tfn.PAPER,
            lmf.PAPER,
            ef_lstm.PAPER,
            lf_lstm.PAPER,
            lf_dnn.PAPER,
            mfn.PAPER,
            graph_mfn.PAPER,
            mfm.PAPER,
            ch_sims.MLF_DNN,
            ch_sims.MTFN,
            ch_sims.MLMF,
            linear.PAPER,
        )
    }
)


def of(settings: Any) -> Paper:
    """Return the paper of a configuration.

    Raises:
        UserError: there is none of that name.
    """
    if settings.method not in PAPERS:
        raise UserError(
            f"config.method = {settings.method!r}: must be one of {', '.join(PAPERS)}"
        )
    return PAPERS[settings.method]


def title(name: str) -> str:
    """Return what people call a method; a name that is none stays as it is."""
    return PAPERS[name].title if name in PAPERS else name


def reading(values: Mapping[str, Any]) -> list[str]:
    """Say which reading of its method a stored configuration is; see `Paper.reading`.

    Args:
        values: of the configuration, nested; [] where it is no method's.
    """
    if values.get("method") not in PAPERS:
        return []
    return of(completed(values)).reading(values)


def make(
    settings: Any, text_encoder: nn.Module, label_range: tuple[float, float]
) -> Method:
    """Assemble the method that a configuration describes.

    Args:
        settings: the run's configuration.
        text_encoder: module from `text.load_encoder`.
        label_range: lowest and highest label of the data set.
    """
    return of(settings).make(settings, text_encoder, label_range)


def check(settings: Any) -> None:
    """Refuse settings that no run can use; see `Paper.refuse`."""
    of(settings).refuse(settings)


def completed(values: Mapping[str, Any]) -> ConfigDict:
    """Return a configuration as an earlier version wrote it, with `sections.ADDED`.

    Args:
        values: of the configuration, nested.

    Raises:
        UserError: there is no such method.
    """
    stored = ConfigDict(values)
    of(stored)
    for path, default in ADDED.items():
        section, _, name = path.rpartition(".")
        around = fields.get(stored, section) if section else stored
        if name not in around:
            around[name] = default
    return stored


def traced_values(settings: Any) -> dict[str, float]:
    """Return the value of every field that is an input of the compiled program."""
    return of(settings).traced_values(settings)


def require(settings: Any, dataset: str, there: Container[str]) -> None:
    """Refuse a data set that lacks what a run reads.

    Args:
        settings: the configuration.
        dataset: name of the data set.
        there: what it has of `MODALITIES`, "emotion" and "unimodal_label".

    Raises:
        UserError: what is missing, and what can be used instead.
    """
    absent = [m for m in MODALITIES if m not in there]
    wanted = [m for m in reads(settings) if m in absent]
    if wanted:
        variant = "".join(m[0] for m in MODALITIES if m not in absent)
        able = [paper for paper in PAPERS.values() if variant in paper.variants]
        instead = ""
        if able:
            cards = " or ".join(
                f"--config configs/{p.name}_{p.nearest(dataset)}.py:{variant}"
                for p in able
            )
            instead = f"; {' and '.join(p.title for p in able)} can do without "
            instead += f"{' and '.join(absent)}: {cards}"
        raise UserError(
            f"data set {dataset} has no {' and no '.join(wanted)}, which "
            f"{settings.method} reads{instead}"
        )
    if settings.task == "emotion" and "emotion" not in there:
        raise UserError(
            f"data set {dataset} has no emotions, which config.task = 'emotion' "
            "asks for; prepare a file that has them (docs/layouts.md), or a twin: "
            "python -m msa_jax.prepare mosei_emotion --synthetic"
        )
    for part, advice in of(settings).needs(settings).items():
        if part not in there:
            raise UserError(f"data set {dataset} has no {advice}")


def help_of(settings: Any) -> str:
    """List every field of a configuration: its value, what it may be, a few words."""
    paper, lines = of(settings), [f"Fields of {settings.method}: --config.FIELD=VALUE"]
    for f in paper.fields():
        value = fields.get(settings, f.path)
        listed = ",".join(map(str, value)) if isinstance(value, tuple) else value
        about = f"  {f.about}" if f.about else ""
        allowed = " | ".join(paper.tasks) if f.path == "task" else f.allowed()
        lines.append(f"  {f.path} = {listed}  ({allowed}){about}")
    return "\n".join(lines)


def methods() -> "pandas.DataFrame":
    """Return the methods, a row each by the name that `config.method` says.

    Columns: title, paper (authors, venue, year), data_sets that it has values for,
    variants, answers (choices of `config.task`), config (what `msa_jax.config` takes).

    Examples:
        >>> import msa_jax as msa
        >>> msa.methods().loc["linear", ["title", "answers"]].tolist()
        ['Linear on means', ('sentiment',)]
    """
    import pandas

    return pandas.DataFrame.from_dict(_rows(), orient="index").rename_axis("method")


def table() -> str:
    """Return the README's table of methods, in Markdown."""
    lines = [
        "| method | paper | data sets | variants | answers |",
        "|---|---|---|---|---|",
    ]
    for row in _rows().values():
        cells = (
            f"[{row['title']}]({row['config']})",
            row["paper"],
            ", ".join(row["data_sets"]),
            " ".join(f"`{word}`" for word in row["variants"]),
            ", ".join(row["answers"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows() -> dict[str, dict[str, Any]]:
    """Return what both tables say of each method."""
    return {
        paper.name: {
            "title": paper.title,
            "paper": paper.cite,
            "data_sets": paper.datasets(),
            "variants": tuple(paper.variants),
            "answers": paper.tasks,
            "config": f"configs/{paper.name}.py",
        }
        for paper in PAPERS.values()
    }


let_call(__name__, methods)
