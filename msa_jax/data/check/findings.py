"""Checks of any data set that leave a line in the card instead of stopping.

What must hold at all is in `checks`; what is known of single sets in `known`.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from msa_jax.data import scaling
from msa_jax.data.check.known import KNOWN, Finding, compare, longest_steps
from msa_jax.data.scaling import Columns
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Examples

# Source: the vocabularies of bert-base-uncased and bert-base-chinese.
VOCABULARY = {"en": 30522, "cn": 21128}
_TRANSCRIPTS, _CHARACTERS = 2_000, 500  # what tells the language, per split
FIRST_TOKEN = 101  # [CLS] of both


def inspect(
    name: str,
    splits: Mapping[str, Examples],
    source_sha256: str | None,
    label_range: tuple[float, float],
    columns: Mapping[str, Columns],
) -> list[Finding]:
    """Run every check; errors come first, then warnings.

    Args:
        columns: train's statistics, per modality that arrives as features.
    """
    language = KNOWN[name].language if name in KNOWN else None
    findings = compare(name, splits, source_sha256, label_range)
    findings += [_labels(splits), _alignment(splits), _duplicates(splits)]
    if splits["train"].transcript is not None:
        findings.append(_language(name, splits, language))
    elif splits["train"].text is not None and splits["train"].text.dtype == np.int32:
        findings.append(_tokens(splits, language))
    findings += _lengths(splits)
    for modality, measured in columns.items():
        count, width = int(measured.constant.sum()), len(measured.mean)
        line = f"{modality}: {count} of {width} never change in train"
        findings.append(Finding("constant columns", "warning" if count else "ok", line))
        far = scaling.far_from_one(modality, measured)
        reach = max(-measured.low.min(), measured.high.max())
        line = far or f"{modality}: columns of train reach {reach:.3g}"
        findings.append(Finding("feature scale", "warning" if far else "ok", line))
    findings.append(Finding("ids", "ok", "none stands in two splits"))
    values = "none in labels and features"
    findings.append(Finding("NaN and infinity", "ok", values))
    order = ("error", "warning", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.verdict))


def _labels(splits: Mapping[str, Examples]) -> Finding:
    """See whether labels differ at all in every split, human unimodal ones too."""
    lines, zero = [], False
    for split, examples in splits.items():
        labels = {"label": examples.label}
        for i, modality in enumerate(MODALITIES):
            if examples.unimodal_label is not None:
                labels[f"label_{modality}"] = examples.unimodal_label[:, i]
        for key, values in labels.items():
            if np.all(values == values[0]):
                zero |= values[0] == 0
                lines.append(
                    f"'{key}' is {values[0]:g} in all {len(values)} samples of {split}"
                )
    if not lines:
        return Finding("labels", "ok", "they differ in every split")
    line = f"{'; '.join(lines)}: Corr has no value there"
    if zero:
        line += ", nor have the metrics that leave out labels of 0 (Non0) where it is 0"
    return Finding("labels", "warning", line)


def _alignment(splits: Mapping[str, Examples]) -> Finding:
    """Find out from the lengths whether the modalities share one time axis."""
    longest = longest_steps(splits)
    check = "alignment"
    if not {"audio", "vision"} <= set(longest):
        return Finding(check, "ok", "a modality is missing, so there is nothing to say")
    shown = ", ".join(f"{m} {n}" for m, n in longest.items())
    share = {}  # of samples whose lengths are equal
    for names in (tuple(longest), ("audio", "vision")):
        lengths = [[getattr(s, f"{m}_length") for m in names] for s in splits.values()]
        equal = np.concatenate([np.ptp(part, axis=0) == 0 for part in lengths])
        share[names] = float(np.mean(equal))
    all_of, two = share[tuple(longest)], share["audio", "vision"]
    if all_of > 0.9:
        what = "aligned" if len(longest) > 2 else "audio and vision are aligned"
        line = f"{what}: their lengths are equal in {100 * all_of:.0f} % of samples"
    elif two > 0.9:
        line = (
            "unaligned: text has its own lengths, those of audio and vision are equal "
            f"in {100 * two:.0f} % of samples"
        )
    else:
        line = "unaligned: every modality has its own lengths"
    return Finding(check, "ok", f"{line} (longest: {shown})")


def _duplicates(splits: Mapping[str, Examples]) -> Finding:
    """Find samples that are equal in every modality under different ids."""
    rows: dict[bytes, list[tuple[str, int]]] = {}
    for split, examples in splits.items():
        for i in range(len(examples.id)):  # hash little first: most rows differ early
            rows.setdefault(_digest(examples, i, 2), []).append((split, i))
    groups: dict[bytes, list[tuple[str, int]]] = {}
    for alike in rows.values():
        for split, i in alike if len(alike) > 1 else ():
            groups.setdefault(_digest(splits[split], i, None), []).append((split, i))
    groups = {key: group for key, group in groups.items() if len(group) > 1}
    if not groups:
        return Finding("duplicates", "ok", "no sample stands under two ids")
    repeated = sum(len(group) - 1 for group in groups.values())
    across = [g for g in groups.values() if len({split for split, _ in g}) > 1]
    first = (across or list(groups.values()))[0][:2]
    names = " and ".join(f"'{splits[s].id[i]}' ({s})" for s, i in first)
    line = f"{repeated} samples repeat others under another id, as {names}"
    if across:
        line += f"; {len(across)} of them stand in two splits"
    return Finding("duplicates", "warning", line)


def _digest(examples: Examples, i: int, steps: int | None) -> bytes:
    digest = hashlib.sha1(usedforsecurity=False)
    if examples.transcript is not None:
        digest.update(str(examples.transcript[i]).encode())
    for part in _steps(examples, i, steps):
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def _steps(examples: Examples, i: int, steps: int | None) -> Iterator[np.ndarray]:
    for modality in MODALITIES:
        sequence = getattr(examples, modality)
        if sequence is None:
            continue
        length = int(getattr(examples, f"{modality}_length")[i])
        stop = length if steps is None else min(steps, length)
        yield np.array([length])
        time_last = sequence.dtype == np.int32
        yield sequence[i, :, :length] if time_last else sequence[i, :stop]


def _language(
    name: str, splits: Mapping[str, Examples], language: str | None
) -> Finding:
    """Tell the language by the share of Chinese characters among the letters."""
    share = chinese_share([_given(s.transcript) for s in splits.values()]) or 0.0
    line = f"{100 * share:.0f} % of the letters are Chinese characters"
    if (language == "cn" and share < 0.5) or (language == "en" and share > 0.1):
        spoken = {"en": "English", "cn": "Chinese"}[language]
        line += f", but {name} is {spoken}: wrong file, or choose another name"
        return Finding("language", "error", line)
    return Finding("language", "ok", line)


def chinese_share(parts: Sequence[np.ndarray]) -> float | None:
    """Return the share of Chinese characters among the letters of sentences [n].

    Args:
        parts: sentences, of each split; some of each are looked at.

    Returns: from 0 to 1; None where there is no letter.
    """
    letters = chinese = 0
    for transcripts in parts:
        some = transcripts[:: -(-len(transcripts) // _TRANSCRIPTS)]
        for character in "".join(line[:_CHARACTERS] for line in some):
            if character.isalpha():
                letters += 1
                chinese += character > "\u2e7f" and is_chinese(character)
    return chinese / letters if letters else None


def is_chinese(character: str) -> bool:
    """Tell whether one character is a Chinese one."""
    return unicodedata.name(character, "").startswith("CJK")


def _tokens(splits: Mapping[str, Examples], language: str | None) -> Finding:
    tokens = {split: _given(examples.text) for split, examples in splits.items()}
    largest = max(int(ids[:, 0].max()) for ids in tokens.values())
    vocabulary = VOCABULARY[language or "en"]
    check = "token ids"
    if largest >= vocabulary:
        known = f" of {language} BERT" if language else ""
        line = (
            f"up to {largest}, beyond the {vocabulary} of the usual vocabulary{known}: "
            "only an encoder with a larger one can read them"
        )
        return Finding(check, "warning", line)
    first = np.concatenate([ids[:, 0, 0] for ids in tokens.values()])
    other = int(np.sum(first != FIRST_TOKEN))
    line = f"up to {largest}, within the usual {vocabulary}"
    if other:
        line += f"; {other} samples do not start with [CLS] ({FIRST_TOKEN})"
    return Finding(check, "warning" if other else "ok", line)


def _lengths(splits: Mapping[str, Examples]) -> list[Finding]:
    """See whether most sequences end at once, as front padding misread would."""
    findings = []
    for modality, longest in longest_steps(splits).items():
        lengths = np.concatenate(
            [getattr(s, f"{modality}_length") for s in splits.values()]
        )
        short = float(np.mean(lengths == 1))
        line = f"{modality}: 1 to {longest} steps, median {np.median(lengths):g}"
        line = line.replace("1 to", f"{lengths.min()} to", 1)
        if longest > 1 and short > 0.1:
            line += (
                f"; {100 * short:.0f} % have a single step: is the padding at the "
                "front?"
            )
        verdict = "warning" if longest > 1 and short > 0.1 else "ok"
        findings.append(Finding("lengths", verdict, line))
    return findings


def _given(array: np.ndarray | None) -> np.ndarray:
    assert array is not None  # the caller has looked
    return array
