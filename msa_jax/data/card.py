"""The data card: what is in a data set, how it was read and what was assumed.

As JSON (`make_card`), and as a text for people (`card_markdown`).
"""

import hashlib
import itertools
import re
from collections.abc import Mapping

import numpy as np

from msa_jax.data.check.checks import SPLITS
from msa_jax.data.check.findings import inspect
from msa_jax.data.read.plain import Notes
from msa_jax.data.scaling import Columns, column_statistics
from msa_jax.ground.errors import listed
from msa_jax.ground.names import EMOTIONS, MODALITIES
from msa_jax.ground.types import Examples

_BINS = 11  # odd, around 0: no grid of labels (.2, 1/3) falls on an edge
_LENGTH_BINS = 25
_SYNTHETIC_NOTE = (
    "**SYNTHETIC: made by this program, not recorded from people. Results on it say "
    "nothing about methods on real data.**",
    "",
)
# A Chinese character counts as a word; Chinese punctuation does not.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3000-\u9fff\uff00-\uff65]+")


def metrics_kind(label_range: tuple[float, float]) -> str:
    """Name the field's metric definitions that fit a label range: mosi or sims."""
    return "sims" if tuple(label_range) == (-1.0, 1.0) else "mosi"


def make_card(
    name: str,
    splits: Mapping[str, Examples],
    notes: Notes,
    *,
    source: Mapping[str, object],
    label_range: tuple[float, float],
    metrics: str,
) -> dict:
    """Describe a data set; the result is JSON as it stands.

    `checks` are lines with a verdict; an "error" means: do not train on this.
    `normaliser` holds train's statistics per column over valid steps.
    """
    features = _feature_columns(splits)
    measured = {m: c["train"] for m, c in features.items()}
    sha256 = source.get("sha256")
    findings = inspect(
        name, splits, str(sha256) if sha256 else None, label_range, measured
    )
    videos = _shared_videos(splits)
    warnings = list(notes.warnings)
    if not label_range[0] < 0 < label_range[1]:
        warnings.append(
            "0 is not inside the label range: metrics that split labels at 0 "
            "(Acc-2, F1) mean nothing here, MAE and Corr do"
        )
    for pair, count in videos.items():
        if count:
            warnings.append(f"{pair} share {count} videos (ids equal before last '_')")
    return {
        "name": name,
        "synthetic": "built_in" in source or "twin_of" in source,
        "source": dict(source),
        "content_sha256": content_sha256(splits),
        "label_range": list(label_range),
        "metrics": metrics,
        "size": {split: len(splits[split].id) for split in SPLITS},
        "checks": [finding._asdict() for finding in findings],
        "text": _text(splits, features, notes),
        "audio": _sequence("audio", splits, features, notes),
        "vision": _sequence("vision", splits, features, notes),
        "label": _labels({s: splits[s].label for s in SPLITS}, label_range),
        "unimodal_label": _unimodal_labels(splits, label_range),
        "emotion": _emotions(splits),
        "normaliser": {m: _statistics(c["train"]) for m, c in features.items()},
        "shared": {"ids": 0, "videos": videos},  # shared ids are an error, see checks
        "unused_arrays": list(notes.unused),
        "assumptions": list(notes.assumptions),
        "warnings": warnings,
    }


def content_sha256(splits: Mapping[str, Examples]) -> str:
    """Hash all ids, texts, valid steps and labels, independent of padding."""
    digest = hashlib.sha256()
    for split in SPLITS:
        examples = splits[split]
        digest.update(f"{split} {len(examples.id)}\n".encode())
        for field, values in _columns(examples):
            digest.update(f"{field}\n".encode())
            for value in values:
                if isinstance(value, np.ndarray):
                    digest.update(f"{value.shape}".encode())
                    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
                    digest.update(np.ascontiguousarray(little).data)
                else:
                    digest.update(f"{value}\0".encode())
    return digest.hexdigest()


def _columns(examples: Examples):
    """Yield each present field with one value per sample, cut to its length."""
    yield "id", examples.id
    if examples.transcript is not None:
        yield "transcript", examples.transcript
    for modality in MODALITIES:
        sequence = getattr(examples, modality)
        length = getattr(examples, f"{modality}_length")
        if sequence is None:
            continue
        if sequence.dtype == np.int32:  # token ids [n, 3, t]
            sequence = sequence.transpose(0, 2, 1)
        pairs = zip(sequence, length, strict=True)
        yield modality, (steps[:n] for steps, n in pairs)
    yield "label", (examples.label,)
    if examples.unimodal_label is not None:
        yield "unimodal_label", (examples.unimodal_label,)
    if examples.emotion is not None:
        yield "emotion", (examples.emotion,)


def _feature_columns(
    splits: Mapping[str, Examples],
) -> dict[str, dict[str, Columns]]:
    """Measure the columns of every modality that arrives as features, per split."""
    found = {}
    for modality in MODALITIES:
        sequences = _present(splits, modality)
        if sequences is not None and sequences["train"].dtype != np.int32:
            found[modality] = {
                s: column_statistics(x, getattr(splits[s], f"{modality}_length"))
                for s, x in sequences.items()
            }
    return found


def _statistics(columns: Columns) -> dict[str, list[float]]:
    return {
        "mean": columns.mean.tolist(),
        "std": columns.std.tolist(),
        "low": [_number(x) for x in columns.low],
        "high": [_number(x) for x in columns.high],
    }


def _text(
    splits: Mapping[str, Examples], features: Mapping, notes: Notes
) -> dict | None:
    transcripts = _present(splits, "transcript")
    if transcripts is not None:
        words = {
            split: np.array([len(_WORD.findall(line)) for line in lines.tolist()])
            for split, lines in transcripts.items()
        }
        return {
            "kind": "transcript",
            "words": _by_split(words),
            "histogram": _histogram(words),
        }
    text = _present(splits, "text")
    if text is None:
        return None
    if text["train"].dtype != np.int32:
        entry = _sequence("text", splits, features, notes) or {}
        return {"kind": "features", **entry}
    lengths = _present(splits, "text_length") or {}
    return {
        "kind": "tokens",
        "length": _by_split(lengths),
        "histogram": _histogram(lengths),
        "largest_id": max(int(tokens[:, 0].max()) for tokens in text.values()),
    }


def _sequence(
    modality: str,
    splits: Mapping[str, Examples],
    features: Mapping[str, Mapping[str, Columns]],
    notes: Notes,
) -> dict | None:
    sequences = _present(splits, modality)
    lengths = _present(splits, f"{modality}_length")
    if sequences is None or lengths is None:
        return None
    columns = features[modality]
    found = notes.padding[modality]
    return {
        "width": sequences["train"].shape[2],
        "length": _by_split(lengths),
        "histogram": _histogram(lengths),
        "range": {
            s: [_number(c.low.min()), _number(c.high.max())] for s, c in columns.items()
        },
        "constant_columns": np.flatnonzero(columns["train"].constant).tolist(),
        "nan": 0,  # either would have been an error, see checks
        "infinite": 0,
        "padding_found": found.side,
        "lengths": found.lengths,
        "all_zero_samples": found.blank,
        "steps_beyond_length": found.dropped,
    }


def _labels(labels: Mapping[str, np.ndarray], label_range: tuple[float, float]) -> dict:
    low, high = label_range
    half = (high - low) / (_BINS - 1) / 2
    edges = np.round(np.linspace(low - half, high + half, _BINS + 1), 6)
    return {
        "edges": edges.tolist(),
        "histogram": {
            s: np.histogram(np.clip(y, *label_range), edges)[0].tolist()
            for s, y in labels.items()
        },
        "distinct": len(np.unique(np.concatenate(list(labels.values())))),
        "range": {s: [_number(y.min()), _number(y.max())] for s, y in labels.items()},
        "mean": {
            s: round(float(y.mean(dtype=np.float64)), 4) for s, y in labels.items()
        },
        "zero": {s: int(np.sum(y == 0)) for s, y in labels.items()},
    }


def _unimodal_labels(
    splits: Mapping[str, Examples], label_range: tuple[float, float]
) -> dict | None:
    labels = _present(splits, "unimodal_label")
    if labels is None:
        return None
    return {
        modality: _labels({s: y[:, m] for s, y in labels.items()}, label_range)
        for m, modality in enumerate(MODALITIES)
    }


def _emotions(splits: Mapping[str, Examples]) -> dict | None:
    """Count per split how many samples show each emotion at all."""
    emotions = _present(splits, "emotion")
    if emotions is None:
        return None
    return {
        "names": list(EMOTIONS),
        "present": {s: np.sum(e > 0, axis=0).tolist() for s, e in emotions.items()},
        "largest": max(_number(e.max()) for e in emotions.values()),
    }


def _histogram(values: Mapping[str, np.ndarray]) -> dict:
    """Count whole numbers in bins of equal width, the same for every split."""
    high = max(int(v.max()) for v in values.values())
    step = -(-(high + 1) // _LENGTH_BINS)
    edges = np.arange(0, high + step + 1, step)
    return {
        "edges": edges.tolist(),
        "counts": {s: np.histogram(v, edges)[0].tolist() for s, v in values.items()},
    }


def _present(
    splits: Mapping[str, Examples], field: str
) -> dict[str, np.ndarray] | None:
    """Return a field of every split, or None if the data set lacks it."""
    arrays = {split: getattr(splits[split], field) for split in SPLITS}
    return None if arrays["train"] is None else arrays


def _shared_videos(splits: Mapping[str, Examples]) -> dict[str, int]:
    videos = {
        s: {sample.rsplit("_", 1)[0] for sample in splits[s].id.tolist()}
        for s in SPLITS
    }
    return {
        f"{a} and {b}": len(videos[a] & videos[b])
        for a, b in itertools.combinations(SPLITS, 2)
    }


def _by_split(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Return min, median and max per split."""
    return {
        s: [int(v.min()), float(np.median(v)), int(v.max())] for s, v in values.items()
    }


def _number(value: np.float32) -> float:
    return float(str(np.float32(value)))  # 2.4, not 2.4000000953674316


def card_markdown(card: Mapping) -> str:
    """Render a card for people."""
    label = card["label"]
    low, high = card["label_range"]
    source = ", ".join(f"{key} `{value}`" for key, value in card["source"].items())
    lines = [
        f"# Data card: {card['name']}",
        "",
        *_SYNTHETIC_NOTE[: 2 * bool(card.get("synthetic"))],
        f"- source: {source}",
        f"- content sha256 `{card['content_sha256']}`",
        f"- labels in [{low:g}, {high:g}], {label['distinct']} distinct values; "
        f"metrics as for {card['metrics']}",
        "- human unimodal labels: " + ("yes" if card["unimodal_label"] else "no"),
        "- emotions: " + _emotion_counts(card.get("emotion")),
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


def _emotion_counts(entry: Mapping | None) -> str:
    if entry is None:
        return "no"
    counts = zip(entry["names"], entry["present"]["train"], strict=True)
    return "present in train: " + ", ".join(f"{name} {n}" for name, n in counts)


def _cell(text: str) -> str:
    """Keep names from a file from ending their table cell."""
    return " ".join(text.split()).replace("|", "\\|")
