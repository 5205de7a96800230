"""A run's representations, fused and of each modality, or two runs' side by side.

Source: MMCL, Figure 5; UCRN, Figure 2.
"""

import json
from typing import Any

import numpy as np

from msa_jax.evaluation.wording import listed
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import TARGETS
from msa_jax.report import embedding
from msa_jax.runs import workdir
from msa_jax.runs.finished import Features, Run

FUSED = TARGETS[0]
MOST = 1000  # samples of a panel where there are several features: t-SNE takes time
FIELDS_NAMED = 6
LONGEST_NAME, LONGEST_VALUE, LONGEST_ROW = 44, 40, 30  # characters


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
    if run.folder.resolve() == other.folder.resolve():
        raise UserError(f"--beside {other.folder}: that is the same run")
    here, there = run.results["dataset"], other.results["dataset"]
    if here != there:
        raise UserError(
            f"--beside {other.folder}: a run on {there}, this one is on {here}; name "
            "a run on the same data set"
        )
    for one in (run, other):
        if not can_draw(one):
            raise UserError(
                f"{one.folder}: no fused features (features.npz) that could be drawn; "
                "train that run again, or report without --beside"
            )
    mine, others = run.features["train"], other.features["train"]
    same = np.array_equal(mine.index, others.index)
    if not same or not np.array_equal(mine.label, others.label):
        raise UserError(
            f"--beside {other.folder}: its training samples are not those of "
            f"{run.folder}; prepare {here} once and train both on it"
        )


def drawn_features(runs: list[Run]) -> list[str]:
    """Name what is drawn of runs: fusion, after the modalities if two or more are."""
    every = [run.features["train"].value for run in runs]
    own = [
        name
        for name in TARGETS[1:]
        if all(name in v and embedding.can_embed(v[name][0]) for v in every)
    ]
    return [*own, FUSED] if len(own) > 1 else [FUSED]


def figure(runs: list[Run]) -> Any:
    """Draw the training samples of each run's first seed."""
    shown, features = [], drawn_features(runs)
    several = len(features) > 1
    for run, name in zip(runs, names(runs), strict=True):
        train = run.features["train"]
        kept = drawn_samples(len(train.label), features)
        title = name if len(runs) > 1 else f"seed {run.results['seeds'][0]}"
        for feature in features:
            panel = embedding.Panel(
                feature if several else title,
                embedding.tsne(train.value[feature][0][kept]),
                train.label[kept],
                _short(title, LONGEST_ROW)
                if several and feature is features[0]
                else "",
            )
            shown.append(panel)
    return embedding.clouds(shown, len(features) if several else 3)


def drawn_samples(n: int, features: list[str]) -> np.ndarray:
    """Choose the samples that are drawn: all, or evenly spaced ones."""
    count = n if len(features) == 1 else min(n, MOST)
    return np.arange(count) * n // max(count, 1)


def names(runs: list[Run]) -> list[str]:
    """Name runs after their workdirs, with the folder above where these are alike."""
    paths = [run.folder.resolve() for run in runs]
    if len({path.name for path in paths}) == len(paths):
        return [_short(path.name, LONGEST_NAME) for path in paths]
    return [_short("/".join(path.parts[-2:]), LONGEST_NAME) for path in paths]


def caption(runs: list[Run]) -> str:
    """Say what is seen, of which samples and seeds, and how the runs differ."""
    train = runs[0].features["train"]
    features = drawn_features(runs)
    kept = drawn_samples(len(train.label), features)
    n, several = len(kept), len(features) > 1
    whole = np.array_equal(train.index[kept], np.arange(n))
    what = (
        f"the features of {listed(features[:-1])} alone and of fusion"
        if several
        else "the feature that fusion's score is made of"
    )
    first = {run.results["seeds"][0] for run in runs}
    which = f"seed {first.pop()}" if len(first) == 1 else "each run's first seed"
    alone = all(len(run.results["seeds"]) == 1 for run in runs)
    said = (
        f"{n} {'' if whole else 'evenly spaced '}training samples, {which}"
        f"{'' if alone else ' only'}: {what}, by the parameters kept, in two "
        f"dimensions (t-SNE, perplexity {embedding.perplexity(n):.3g}). Who is near "
        "whom tells something, axes and the distance of far groups do not. In the "
        "sentences, “near” is Euclidean "
        "distance in the feature itself, signs are negative, zero and positive"
        f"{'' if alone else ', numbers are means over all seeds'}; training samples "
        "were learnt, test samples were not."
    )
    return said if len(runs) == 1 else f"{said} {_differences(runs[0], runs[1])}"


def sentences(runs: list[Run]) -> list[str]:
    """Say how often neighbours share the sign of their label, and chance's share.

    One sentence per split for all runs; where several features are drawn, one for each.
    """
    lines, features = [], drawn_features(runs)
    several, many = len(features) > 1, len(runs) > 1
    for split in ("train", "test"):
        parts = [run.features.get(split) for run in runs]
        found = [
            [[] if part is None else _shares(part, name) for name in features]
            for part in parts
        ]
        if any(not shares for of_run in found for shares in of_run):
            continue
        assert parts[0] is not None
        means = [[_percent(float(np.mean(x))) for x in of_run] for of_run in found]
        if several:
            for name, of_run in zip(names(runs), means, strict=True):
                said = [f"{m} by {f}" for m, f in zip(of_run, features, strict=True)]
                start = f"{name}: of" if many else "Of"
                lines.append(_sentence(start, split, parts[0].label, said))
        else:
            said = [
                of_run[0] + (f" in {name}" if many else "")
                for name, of_run in zip(names(runs), means, strict=True)
            ]
            lines.append(_sentence("Of", split, parts[0].label, said))
    return lines


def _shares(features: Features, name: str) -> list[float]:
    """Return the share of same signs of each seed whose features are finite."""
    if len(features.label) < embedding.FEWEST or name not in features.value:
        return []
    return [
        embedding.same_sign_share(vectors, features.label)
        for vectors in features.value[name]
        if np.isfinite(vectors).all()
    ]


def _sentence(start: str, split: str, label: np.ndarray, said: list[str]) -> str:
    count = min(embedding.NEIGHBOURS, len(label) - 1)
    kind = "training" if split == "train" else "test"
    return (
        f"{start} each {kind} sample's {count} nearest {kind} samples {listed(said)} "
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
