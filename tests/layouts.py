"""Random clips, and the same clips in each layout of the field."""

from typing import Any

import numpy as np

SPLITS = ("train", "valid", "test")
SIZES = {"train": 6, "valid": 3, "test": 4}
Arrays = dict[str, Any]


def split(name: str) -> Arrays:
    """Random clips of one split, padded at the back; ids as video_clip."""
    rng = np.random.default_rng(SPLITS.index(name))
    n = SIZES[name]
    out: Arrays = {"id": [f"{name}{i // 2}_{i % 2}" for i in range(n)]}
    for modality, steps, width in (("audio", 7, 5), ("vision", 8, 4)):
        lengths = rng.integers(1, steps + 1, n)
        values = rng.normal(size=(n, steps, width)).astype(np.float32)
        values[np.arange(steps) >= lengths[:, None]] = 0
        out[modality], out[f"{modality}_length"] = values, lengths
    out["vision_length"][0], out["audio_length"][1] = 8, 7  # full length once
    out["audio"][1, 6] = out["vision"][0] = 1
    tokens = rng.integers(1, 6, n)
    mask = np.arange(6) < tokens[:, None]
    ids = rng.integers(1000, 9000, (n, 6)) * mask
    out["text_bert"] = np.stack([ids, mask, 0 * ids], axis=1)
    out["raw_text"] = [f"you said {name} {i}" for i in range(n)]
    out["label"] = (rng.integers(-15, 16, n) / 5).astype(np.float32)
    out["text"] = rng.normal(size=(n, 6, 8)).astype(np.float32)
    out["emotion"] = rng.integers(0, 4, (n, 6)).astype(np.float32)
    return out


def every() -> dict[str, Arrays]:
    return {name: split(name) for name in SPLITS}


def mmsa(data: Arrays, *, lengths: bool = True, tokens: Any = np.float32) -> Arrays:
    n = len(data["id"])
    out = {
        "id": [i.replace("_", "$_$") for i in data["id"]],
        "raw_text": np.array(data["raw_text"], object),
        "text": np.zeros((n, 6, 768), np.float32),
        "text_bert": data["text_bert"].astype(tokens),
        "audio": data["audio"],
        "vision": data["vision"],
        "annotations": ["Neutral"] * n,
        "classification_labels": np.ones(n),
        "regression_labels": data["label"],
    }
    if lengths:
        out["audio_lengths"] = data["audio_length"].tolist()
        out["vision_lengths"] = data["vision_length"].tolist()
    return out


def fet(data: Arrays) -> Arrays:
    out = mmsa(data, tokens=np.float64)
    del out["classification_labels"]
    out |= {key: np.array(out[key]) for key in ("id", "annotations", "audio_lengths")}
    for key in ("T", "A", "V"):
        out[f"regression_labels_{key}"] = np.full(len(out["id"]), np.nan)
    return out | {key: out[key].astype(float) for key in ("audio", "vision")}


def sims(data: Arrays) -> Arrays:
    out = mmsa(data, tokens=np.int64)
    for i, key in enumerate(("T", "A", "V")):
        out[f"regression_labels_{key}"] = np.clip(data["label"] - i / 10, -3, 3)
    return out


def mult(data: Arrays) -> Arrays:
    ids = [i.rsplit("_", 1) for i in data["id"]]
    return {
        "text": data["text"],
        "audio": data["audio"].astype(np.float64),
        "vision": data["vision"],
        "labels": data["label"][:, None, None],
        "id": np.array([(v, f"{k}.5", f"{k}.9") for v, k in ids], object),
    }


def clips(data: Arrays, *, misa: bool = False, words=None) -> list:
    out = []
    for i, name in enumerate(data["id"]):
        spoken = data["raw_text"][i].split() if words is None else words
        steps = len(spoken)
        parts = [spoken, data["vision"][i, :steps], data["audio"][i, :steps]]
        label = np.array([[data["label"][i]]])
        if misa:
            parts = [np.arange(steps), *parts[1:], spoken]
            label = np.concatenate([label, data["emotion"][i : i + 1]], axis=1)
        video, clip = name.rsplit("_", 1)
        out.append((tuple(parts), label, f"{video}[{clip}]"))
    return out


def bracketed(name: str) -> str:
    video, clip = name.rsplit("_", 1)
    return f"{video}[{clip}]"


def tbje(data: Arrays) -> dict[str, dict]:
    keys = [bracketed(i) for i in data["id"]]

    def by_key(values) -> dict:
        return dict(zip(keys, values, strict=True))

    def cut(modality: str) -> dict:
        pairs = zip(data[modality], data[f"{modality}_length"], strict=True)
        return by_key(values[:length] for values, length in pairs)

    extra = {"only_here[0]": "text"}
    return {
        "sentences": by_key(line.split() for line in data["raw_text"]) | extra,
        "mels": cut("audio"),
        "r21d": cut("vision"),
        "sentiment": by_key(data["label"]),
        "emotion": by_key(data["emotion"]),
    }
