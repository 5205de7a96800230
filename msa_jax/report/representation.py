"""A run's fused representation, alone or beside that of another run.

Source: MMCL, Figure 5.
"""

import json
from typing import Any

import numpy as np

from msa_jax import workdir
from msa_jax.errors import UserError
from msa_jax.report import embedding
from msa_jax.report.reading import Features, Run
from msa_jax.types import TARGETS

FUSED = TARGETS[0]
FIELDS_NAMED = 6
LONGEST_NAME, LONGEST_VALUE = 44, 40  # characters


def can_draw(run: Run) -> bool:
    """Tell whether the run left fused features that t-SNE can place."""
    train = run.features.get("train")
    return train is not None and (
        FUSED in train.value and embedding.can_embed(train.value[FUSED][0])
    )


def require_comparable(run: Run, other: Run) -> None:
    """Refuse another run that cannot stand beside this one.

    Raises: UserError, naming what does not fit.
    """
    if run.workdir.resolve() == other.workdir.resolve():
        raise UserError(f"--beside {other.workdir}: that is the same run")
    here, there = run.results["dataset"], other.results["dataset"]
    if here != there:
        raise UserError(
            f"--beside {other.workdir}: a run on {there}, this one is on {here}; name "
            "a run on the same data set"
        )
    for one in (run, other):
        if not can_draw(one):
            raise UserError(
                f"{one.workdir}: no fused features (features.npz) that could be drawn; "
                "train that run again, or report without --beside"
            )
    mine, others = run.features["train"], other.features["train"]
    same = np.array_equal(mine.index, others.index)
    if not same or not np.array_equal(mine.label, others.label):
        raise UserError(
            f"--beside {other.workdir}: its training samples are not those of "
            f"{run.workdir}; prepare {here} once and train both on it"
        )


def figure(runs: list[Run]) -> Any:
    """Draw the training samples of each run's first seed."""
    shown = []
    for run, name in zip(runs, names(runs), strict=True):
        train = run.features["train"]
        title = name if len(runs) > 1 else f"seed {run.results['seeds'][0]}"
        place = embedding.tsne(train.value[FUSED][0])
        shown.append(embedding.Panel(title, place, train.label))
    return embedding.clouds(shown)


def names(runs: list[Run]) -> list[str]:
    """Name runs after their workdirs, with the folder above where these are alike."""
    paths = [run.workdir.resolve() for run in runs]
    if len({path.name for path in paths}) == len(paths):
        return [_short(path.name, LONGEST_NAME) for path in paths]
    return [_short("/".join(path.parts[-2:]), LONGEST_NAME) for path in paths]


def caption(runs: list[Run]) -> str:
    """Say what is seen, of which samples and seeds, and how the runs differ."""
    train = runs[0].features["train"]
    n = len(train.label)
    whole = np.array_equal(train.index, np.arange(n))
    first = {run.results["seeds"][0] for run in runs}
    which = f"seed {first.pop()}" if len(first) == 1 else "each run's first seed"
    alone = all(len(run.results["seeds"]) == 1 for run in runs)
    said = (
        f"{n} {'' if whole else 'evenly spaced '}training samples, {which}"
        f"{'' if alone else ' only'}: the feature that fusion's score is made of, by "
        "the parameters kept, in two dimensions (t-SNE, perplexity "
        f"{embedding.perplexity(n):.3g}). Who is near whom tells something, axes and "
        "the distance of far groups do not. In the sentences, “near” is Euclidean "
        "distance in the feature itself, signs are negative, zero and positive"
        f"{'' if alone else ', numbers are means over all seeds'}; training samples "
        "were learnt, test samples were not."
    )
    return said if len(runs) == 1 else f"{said} {_differences(runs[0], runs[1])}"


def sentences(runs: list[Run]) -> list[str]:
    """Say how often neighbours share the sign of their label, and chance's share."""
    lines = []
    for split in ("train", "test"):
        parts = [run.features.get(split) for run in runs]
        found = [None if part is None else _shares(part) for part in parts]
        if any(not shares for shares in found):
            continue
        assert parts[0] is not None
        lines.append(_sentence(split, runs, parts[0].label, found))
    return lines


def _shares(features: Features) -> list[float]:
    """Return the share of same signs of each seed whose features are finite."""
    if len(features.label) < embedding.FEWEST or FUSED not in features.value:
        return []
    return [
        embedding.same_sign_share(vectors, features.label)
        for vectors in features.value[FUSED]
        if np.isfinite(vectors).all()
    ]


def _sentence(split: str, runs: list[Run], label: np.ndarray, found: list[Any]) -> str:
    said = [
        _percent(float(np.mean(shares))) + (f" in {name}" if len(runs) > 1 else "")
        for name, shares in zip(names(runs), found, strict=True)
    ]
    count = min(embedding.NEIGHBOURS, len(label) - 1)
    kind = "training" if split == "train" else "test"
    return (
        f"Of each {kind} sample's {count} nearest {kind} samples {' and '.join(said)} "
        "have a label of the same sign; by chance "
        f"{_percent(embedding.chance_share(label))} would."
    )


def _differences(run: Run, other: Run) -> str:
    if run.config is None or other.config is None:
        return "Which config fields differ is not known: a config.json is missing."
    found = workdir.differences(run.config, other.config)
    if not found:
        return "The configurations of both runs are the same."
    said = [f"{field} {_value(a)} / {_value(b)}" for field, a, b in found]
    more = len(said) - FIELDS_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    return (
        f"Config fields that differ ({' / '.join(names([run, other]))}): "
        f"{'; '.join(said[:FIELDS_NAMED])}{rest}."
    )


def _value(value: Any) -> str:
    return "–" if value is None else _short(json.dumps(value), LONGEST_VALUE)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
