"""What is publicly known of the field's data sets, and how a file compares with it.

Sources: sizes, widths, longest sequences and SHA-256 sums from MMSA's configs and
README (https://github.com/thuiar/MMSA); counts of negative, zero and positive labels
from Self-MM, table 1 (MOSI, MOSEI, SIMS). Of SIMS v2, valid and test sizes and the
sum are taken from users' repositories that name them (not seen at the source).
`mosei_emotion` is MOSEI with emotions; `mosei_tbje` has the widths of TBJE's features
(jbdel/MOSEI_UMONS).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from msa_jax.data.check.checks import SPLITS
from msa_jax.ground.types import Examples


class Finding(NamedTuple):
    """One line of the data card: what was checked, and how it came out."""

    check: str
    verdict: str  # "ok", "warning", "error"
    line: str


class Features(NamedTuple):
    """Longest sequence and width of a modality."""

    steps: int
    width: int


class Known(NamedTuple):
    """What the literature says of one data set.

    signs: negative, zero and positive labels per split; None where nobody says.
    grid: labels are multiples of 1 / grid (the means of that many raters).
    files: SHA-256 of published files.
    doubt: what of this was not seen at the source; the card says so.
    emotions: people rated six emotions; models read word vectors.
    """

    sizes: tuple[int, int, int]
    label_range: tuple[float, float]
    grid: int
    signs: tuple[tuple[int, int, int], ...] | None
    language: str
    tokens: int
    audio: Features
    vision: Features
    aligned: bool  # whether aligned files (all modalities `tokens` steps) exist
    unimodal: bool  # whether people labelled each modality on its own
    files: Mapping[str, str]
    doubt: str = ""
    emotions: bool = False


WORD_VECTOR = 300  # width of GloVe's, in MulT's and TBJE's pickles

_SENTIMENT = {
    "mosi": Known(
        sizes=(1284, 229, 686),
        label_range=(-3.0, 3.0),
        grid=5,
        signs=((552, 53, 679), (92, 13, 124), (379, 30, 277)),
        language="en",
        tokens=50,
        audio=Features(375, 5),
        vision=Features(500, 20),
        aligned=True,
        unimodal=False,
        files={
            "MOSI/Processed/unaligned_50.pkl": (
                "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524"
            ),
            "MOSI/Processed/aligned_50.pkl": (
                "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9"
            ),
        },
    ),
    "mosei": Known(
        sizes=(16326, 1871, 4659),
        label_range=(-3.0, 3.0),
        grid=3,
        signs=((4738, 3540, 8048), (506, 433, 932), (1350, 1025, 2284)),
        language="en",
        tokens=50,
        audio=Features(500, 74),
        vision=Features(375, 35),
        aligned=True,
        unimodal=False,
        files={
            "MOSEI/Processed/unaligned_50.pkl": (
                "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f"
            ),
            "MOSEI/Processed/aligned_50.pkl": (
                "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791"
            ),
        },
    ),
    "sims": Known(
        sizes=(1368, 456, 457),
        label_range=(-1.0, 1.0),
        grid=5,
        signs=((742, 207, 419), (248, 69, 139), (248, 69, 140)),
        language="cn",
        tokens=39,
        audio=Features(400, 33),
        vision=Features(55, 709),
        aligned=False,
        unimodal=True,
        files={
            "SIMS/Processed/unaligned_39.pkl": (
                "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f"
            ),
        },
    ),
    "simsv2": Known(
        sizes=(2722, 647, 1034),
        label_range=(-1.0, 1.0),
        grid=5,
        signs=None,
        language="cn",
        tokens=50,
        audio=Features(925, 25),
        vision=Features(232, 177),
        aligned=False,
        unimodal=True,
        files={
            "SIMS_V2/ch-simsv2s.pkl": (
                "f8fd9a1dd070588a714ff357b00f31d5bb93277b4e502cf2dc4ff718a95fc49b"
            ),
        },
        doubt="valid and test sizes and the sum are second-hand, from repositories "
        "of users",
    ),
}
KNOWN = {
    **_SENTIMENT,
    "mosei_emotion": _SENTIMENT["mosei"]._replace(emotions=True),
    "mosei_tbje": _SENTIMENT["mosei"]._replace(
        tokens=60,
        audio=Features(60, 80),
        vision=Features(60, 512),
        files={},
        doubt="sizes are taken to be MOSEI's, 60 steps to be the most",
        emotions=True,
    ),
}


def default_label_range(name: str) -> tuple[float, float]:
    """Return the label range that `prepare` takes for a name without a flag."""
    return KNOWN[name].label_range if name in KNOWN else (-3.0, 3.0)


def compare(
    name: str,
    splits: Mapping[str, Examples],
    source_sha256: str | None,
    label_range: tuple[float, float],
) -> list[Finding]:
    """Hold a data set against what is known under its name; [] for other names."""
    findings = [_published(name, source_sha256)] if source_sha256 else []
    findings = [finding for finding in findings if finding]
    if name not in KNOWN:
        return findings
    known = KNOWN[name]
    findings += [_sizes(name, splits, known), *_widths(name, splits, known)]
    if known.doubt:
        line = f"what is known of {name}: {known.doubt}"
        findings.append(Finding("published", "warning", line))
    findings += [_labels(name, splits, known, label_range), _steps(splits, known)]
    if known.unimodal and splits["train"].unimodal_label is None:
        line = f"{name} has labels of each modality, this file holds none"
        findings.append(Finding("unimodal labels", "warning", line))
    if known.emotions and splits["train"].emotion is None:
        line = f"{name} has six emotions, this file holds none: join them, --emotions"
        findings.append(Finding("emotions", "warning", line))
    return findings


def _published(name: str, sha256: str) -> Finding | None:
    check = "SHA-256"
    own = KNOWN[name].files if name in KNOWN else {}
    for file, published in own.items():
        if sha256 == published:
            return Finding(check, "ok", f"this is the published {file}")
    for owner, known in KNOWN.items():
        for file, published in known.files.items():
            if sha256 == published:
                verdict = "error" if name in KNOWN else "warning"
                line = f"this is the published {file}: call the data set {owner}"
                return Finding(check, verdict, line)
    if not own:
        return None
    line = (
        f"none of the {len(KNOWN[name].files)} published files of {name} has this sum; "
        "expected of a converted file, of a download it means another version"
    )
    return Finding(check, "warning", line)


def _sizes(name: str, splits: Mapping[str, Examples], known: Known) -> Finding:
    found = tuple(len(splits[split].id) for split in SPLITS)
    shown = "/".join(map(str, found))
    if found == known.sizes:
        return Finding("split sizes", "ok", f"{shown}, as published")
    published = "/".join(map(str, known.sizes))
    line = (
        f"{shown}, but {name} is published with {published}: results cannot be put "
        "beside published tables"
    )
    return Finding("split sizes", "warning", line)


def _widths(name: str, splits: Mapping[str, Examples], known: Known) -> list[Finding]:
    train, findings = splits["train"], []
    widths = {
        modality: getattr(train, modality).shape[2]
        for modality in ("audio", "vision")
        if getattr(train, modality) is not None
    }
    expected = {"audio": known.audio.width, "vision": known.vision.width}
    other = {"audio": expected["vision"], "vision": expected["audio"]}
    if widths and all(width == other[m] for m, width in widths.items()):
        shown = ", ".join(f"{m} {width}" for m, width in widths.items())
        line = (
            f"{shown}: audio and vision look swapped, {name} has audio "
            f"{expected['audio']}, vision {expected['vision']}; swap the arrays, or "
            "choose another name for other features"
        )
        return [Finding("widths", "error", line)]
    for modality, width in widths.items():
        same = width == expected[modality]
        line = f"{modality} {width}" + (
            ", as published" if same else f", published is {expected[modality]}"
        )
        findings.append(Finding("widths", "ok" if same else "warning", line))
    return findings


def _labels(
    name: str,
    splits: Mapping[str, Examples],
    known: Known,
    label_range: tuple[float, float],
) -> Finding:
    check, (low, high) = "label range", known.label_range
    reach = max(float(np.abs(splits[split].label).max()) for split in SPLITS)
    if tuple(label_range) != known.label_range:
        line = f"{label_range[0]:g} to {label_range[1]:g}, published is {low:g} to "
        return Finding(check, "warning", line + f"{high:g}")
    if reach <= high / 2:
        line = (
            f"no label lies beyond {reach:g}, though {name} is labelled {low:g} to "
            f"{high:g}: another scale?"
        )
        return Finding(check, "warning", line)
    return Finding(check, "ok", f"{low:g} to {high:g}, as published")


def _steps(splits: Mapping[str, Examples], known: Known) -> Finding:
    longest = longest_steps(splits)
    beyond = [
        f"{modality} has {longest[modality]} steps, published files at most {most}"
        for modality, most in (
            ("text", known.tokens),
            ("audio", known.audio.steps),
            ("vision", known.vision.steps),
        )
        if longest.get(modality, 0) > most
    ]
    if beyond:
        return Finding("longest", "warning", "; ".join(beyond))
    return Finding("longest", "ok", "no longer than in the published files")


def longest_steps(splits: Mapping[str, Examples]) -> dict[str, int]:
    """Return the longest valid length per modality that has lengths."""
    return {
        modality: max(
            int(getattr(splits[split], f"{modality}_length").max()) for split in SPLITS
        )
        for modality in ("text", "audio", "vision")
        if getattr(splits["train"], f"{modality}_length") is not None
    }
