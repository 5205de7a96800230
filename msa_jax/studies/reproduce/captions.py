"""What a table says about itself: caption, warnings, whether it may be compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msa_jax.config import reads
from msa_jax.evaluation import compare
from msa_jax.studies.reproduce.wanted_runs import Wanted
from msa_jax.studies.table_spec import Part

_COMPARABLE_ENCODER = "bert-base"


def about(
    found: Mapping[str, Any],
    wanted: Sequence[Wanted],
    cards: Mapping[str, Mapping[str, Any]],
    reasons: Sequence[str],
) -> dict[str, Any]:
    """Return caption, comparability, warnings and the methods paragraph.

    Args:
        found: what `gather.table` has so far.
        wanted: every configuration of the table.
        cards: data set -> data card.
        reasons: from `why_not_comparable`.
    """
    why = f"{'; '.join(reasons)}." if reasons else ""
    caption = [
        *[_data(cards[name]) for name in dict.fromkeys(_datasets(found))],
        f"{len(found['seeds'])} seeds: {_listed(found['seeds'])}.",
        *selection(wanted),
        _tuning(wanted),
        "± is the sample standard deviation over seeds (n − 1). Intervals are 95 %: "
        "over seeds BCa bootstrap of the mean, over test samples percentile bootstrap "
        "with the seeds as they are.",
        f"Differences are taken from the row “{found['against']}”, paired by seed and "
        "by test sample; p-values by an exact sign-flip test over seeds and a "
        "permutation test over test samples, both Holm-corrected over the rows of a "
        "column.",
    ]
    return {
        "comparable": not reasons,
        "comparable_why": why,
        "caption": caption,
        "warnings": warnings(found),
        "methods_paragraph": paragraph(found, wanted, cards, why),
    }


def why_not_comparable(
    parts: Sequence[tuple[int, Part, str]],
    wanted: Sequence[Wanted],
    cards: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, str],
) -> list[str]:
    """List what differs from the paper's setting, so that values cannot be compared."""
    reasons = []
    for _, part, dataset in parts:
        if dataset != part.dataset:
            reasons.append(f"data set {dataset}, the paper's is {part.dataset}")
        reasons += part.differs
        if cards[dataset].get("synthetic"):
            reasons.append(f"the data of {dataset} are made up")
    settings = [want.recipe.settings for want in wanted if want.recipe]
    for setting in settings:
        weights = str(setting.text.weights)
        bert = setting.text.encoder == "bert" and "text" in reads(setting)
        if bert and not Path(weights).name.startswith(_COMPARABLE_ENCODER):
            reasons.append(
                f"text encoder {Path(weights).name}, not {_COMPARABLE_ENCODER}"
            )
    for want in wanted:
        reasons += want.recipe.differs if want.recipe else ()
    changed = [
        f"{name} = {value}"
        for name, value in overrides.items()
        if name != "text.weights"
    ]
    if changed:
        reasons.append(f"set by hand: {', '.join(changed)}")
    return list(dict.fromkeys(reasons))


def selection(wanted: Sequence[Wanted]) -> list[str]:
    """Say which epoch counts, and what happens on ties."""
    said = {}
    for want in wanted:
        if want.recipe is None:
            continue
        s = want.recipe.settings.selection
        tie = "the later" if s.min_delta == 0 else "the earlier"
        least = f" (by {s.min_delta:g} at least)" if s.min_delta else ""
        said[
            f"Per seed the epoch with the lowest validation loss{least}, mean over "
            f"{s.valid_mean}, is kept; on a tie {tie}; training ends {s.early_stop} "
            f"epochs after it, at the latest after {s.max_epochs}. Test is read once, "
            "afterwards"
        ] = want.recipe.settings.method
    if len(said) == 1:
        return [f"{next(iter(said))}."]
    return [f"{method}: {sentence}." for sentence, method in said.items()]


def warnings(found: Mapping[str, Any]) -> list[str]:
    """List what a reader must know before believing a number."""
    lines = []
    for part in found["parts"]:
        of_rows = {row["name"]: row["cells"] for row in part["rows"]}
        lines += compare.warnings_of(of_rows)
        lines += [
            f"“{row['name']}” could not be trained: {row['why']}"
            for row in part["rows"]
            if row["why"]
        ]
        lines += _same_rows(part["rows"])
    commits = found["provenance"].get("git_commits", [])
    if len(commits) > 1:
        lines.append(f"Runs were made by {len(commits)} versions of the code.")
    return list(dict.fromkeys(lines))


def _same_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name rows that cannot be told apart: what tells them apart is not in force.

    With a frozen text encoder, for one, the text task of Self-MM trains nothing that
    the other tasks share.
    """
    alike: dict[tuple, list[str]] = {}
    for row in rows:
        values = [tuple(cell["per_seed"].items()) for cell in row["cells"]]
        if row["kind"] == "ours" and any(values):
            alike.setdefault(tuple(values), []).append(row["name"])
    return [
        f"{' and '.join(f'“{name}”' for name in names)} have the same value in every "
        "seed and column: in this setting they are the same network."
        for names in alike.values()
        if len(names) > 1
    ]


def paragraph(
    found: Mapping[str, Any],
    wanted: Sequence[Wanted],
    cards: Mapping[str, Mapping[str, Any]],
    why: str,
) -> str:
    """Write the paragraph that goes into a paper's experiments section."""
    names = [
        f"“{row['name']}”"
        for part in found["parts"][:1]
        for row in part["rows"]
        if row["kind"] == "ours" and row["seeds"]
    ]
    data = " ".join(
        _data(cards[name], hashed=True) for name in dict.fromkeys(_datasets(found))
    )
    made = found["provenance"]
    versions = made.get("versions", {})
    listed = ", ".join(
        f"{name} {versions[name]}"
        for name in ("jax", "flax", "optax", "transformers", "scipy", "scikit-learn")
        if versions.get(name)
    )
    commits = ", ".join(c[:10] for c in made.get("git_commits", [])) or "unknown"
    encoders = "; ".join(made.get("encoders", [])) or "unknown"
    return " ".join(
        sentence
        for sentence in [
            f"We trained {_listed(names) or 'no row yet'} with seeds "
            f"{_listed(found['seeds'])}.",
            data,
            f"Text encoder: {encoders}.",
            *selection(wanted),
            _tuning(wanted),
            "We report the mean over seeds and the sample standard deviation; 95 % "
            "intervals over seeds are bias-corrected and accelerated bootstrap "
            "intervals of the mean, those over test samples percentile bootstrap "
            "intervals with the trained networks fixed.",
            f"Differences from “{found['against']}” were tested over paired seeds "
            "(exact sign-flip test) and over paired test samples (permutation of the "
            "two systems' answers); p-values are Holm-corrected over the rows of each "
            "column, and a difference is called significant only if both are below "
            ".05.",
            f"These numbers cannot be compared with published ones: {why}"
            if why
            else "",
            f"Software: msa_jax (commit {commits}), {listed}, on "
            f"{', '.join(made.get('devices', [])) or 'an unknown device'}.",
        ]
        if sentence
    )


def _tuning(wanted: Sequence[Wanted]) -> str:
    files = dict.fromkeys(want.recipe.file for want in wanted if want.recipe)
    listed = _listed(files) or "none"
    return f"Hyper-parameters are those of {listed}; nothing was tuned for this table."


def _data(card: Mapping[str, Any], *, hashed: bool = False) -> str:
    size = card["size"]
    made_up = ", MADE UP, not real data" if card.get("synthetic") else ""
    digest = f", content SHA-256 {card['content_sha256'][:16]}" if hashed else ""
    return (
        f"Data: {card['name']}{made_up}, {size['train']} / {size['valid']} / "
        f"{size['test']} samples (train / valid / test{digest})."
    )


def _datasets(found: Mapping[str, Any]) -> list[str]:
    return [part["dataset"] for part in found["parts"]]


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))
