"""The data card as markdown, for people."""

from collections.abc import Mapping

from msa_jax.data.checks import SPLITS
from msa_jax.ground.errors import listed
from msa_jax.ground.names import MODALITIES

_SYNTHETIC = (
    "**SYNTHETIC: made by this program, not recorded from people. Results on it say "
    "nothing about methods on real data.**",
    "",
)


def card_markdown(card: Mapping) -> str:
    """Render a card for people."""
    label = card["label"]
    low, high = card["label_range"]
    source = ", ".join(f"{key} `{value}`" for key, value in card["source"].items())
    lines = [
        f"# Data card: {card['name']}",
        "",
        *_SYNTHETIC[: 2 * bool(card.get("synthetic"))],
        f"- source: {source}",
        f"- content sha256 `{card['content_sha256']}`",
        f"- labels in [{low:g}, {high:g}], {label['distinct']} distinct values; "
        f"metrics as for {card['metrics']}",
        "- human unimodal labels: " + ("yes" if card["unimodal_label"] else "no"),
        "- emotions: " + _emotions(card.get("emotion")),
        "",
        "| split | samples | label mean | label range | label = 0 |",
        "|---|---|---|---|---|",
    ]
    for split, size in card["size"].items():
        low, high = label["range"][split]
        lines.append(
            f"| {split} | {size} | {label['mean'][split]} | {low:g} .. {high:g} | "
            f"{label['zero'][split]} |"
        )
    lines += [
        "",
        "| modality | what | width | length min/median/max |",
        "|---|---|---|---|",
    ]
    for modality in MODALITIES:
        entry = card[modality]
        if entry is None:
            lines.append(f"| {modality} | absent | | |")
            continue
        lengths = entry.get("length", entry.get("words"))
        kind = entry.get("kind", "features")
        lines.append(
            f"| {modality} | {kind} | {entry.get('width', '')} | "
            + ", ".join(f"{s} {a}/{b:g}/{c}" for s, (a, b, c) in lengths.items())
            + (" words |" if "words" in entry else " |")
        )
    lines += ["", "| features | range in train | padding | all zero | constant |"]
    lines += ["|---|---|---|---|---|"]
    for modality in MODALITIES:
        entry = card[modality]
        if entry is None or "width" not in entry:
            continue
        low, high = entry["range"]["train"]
        constant = entry["constant_columns"]
        lines.append(
            f"| {modality} | {low:g} .. {high:g} | {entry['padding_found']}, lengths "
            f"{entry['lengths']} | {entry['all_zero_samples']} | "
            f"{listed(constant) or 'none'} |"
        )
    edges = label["edges"]
    lines += ["", "| labels from | to | " + " | ".join(SPLITS) + " |"]
    lines += ["|---|---|" + "---|" * len(SPLITS)]
    for i in range(len(edges) - 1):
        counts = " | ".join(str(label["histogram"][s][i]) for s in SPLITS)
        lines.append(f"| {edges[i]:g} | {edges[i + 1]:g} | {counts} |")
    if card.get("checks"):
        lines += ["", "| check | verdict | finding |", "|---|---|---|"]
        lines += [
            f"| {c['check']} | {c['verdict']} | {_cell(c['line'])} |"
            for c in card["checks"]
        ]
    for title, key in (
        ("Warnings", "warnings"),
        ("Assumptions", "assumptions"),
        ("Arrays not used", "unused_arrays"),
    ):
        if card[key]:
            lines += ["", f"{title}:", "", *(f"- {line}" for line in card[key])]
    return "\n".join(lines) + "\n"


def _emotions(entry: Mapping | None) -> str:
    if entry is None:
        return "no"
    counts = zip(entry["names"], entry["present"]["train"], strict=True)
    return "present in train: " + ", ".join(f"{name} {n}" for name, n in counts)


def _cell(text: str) -> str:
    """Keep names from a file from ending their table cell."""
    return " ".join(text.split()).replace("|", "\\|")
