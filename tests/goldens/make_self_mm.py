"""Make further reference arrays for Self-MM and its metrics, with PyTorch alone.

    python tests/goldens/make_self_mm.py --seed 7 --out runs/goldens/seed7
    python tests/goldens/make_self_mm.py --seed 8 --vary --out runs/goldens/seed8
    python tests/goldens/make_self_mm.py --edges --out runs/goldens/edges
    python tests/goldens/make_self_mm.py --check ../shared/goldens
    python -m msa_jax.parity runs/goldens/seed7

Needs torch and scikit-learn, nothing of msa_jax, so the arrays (float64) are an
independent witness. `--check` feeds the inputs of existing files through this code and
prints the largest difference from what they expect. `--vary` draws other sizes, too;
`--edges` makes label bookkeeping alone: classes without samples, batches of one sample,
many epochs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from sklearn_metrics import labels, metric_inputs, metric_values
from torch_self_mm import (
    RATES,
    TASKS,
    TEXT_WIDTH,
    VOCABULARY,
    Arrays,
    LabelBook,
    SelfMM,
    forward_expected,
    training_expected,
    ulgm_expected,
    under,
)


def ulgm_inputs(
    rng: np.random.Generator,
    label: np.ndarray,
    epochs: int,
    size: int,
    *,
    high: float = 3.0,
    exclude_zero: bool = False,
    edges: bool = False,
) -> Arrays:
    """Draw a scenario; `edges`: epoch 3's first rows lie on and between centres."""
    widths = {"fusion": 8, "text": 6, "audio": 4, "vision": 5}
    book = LabelBook(torch.tensor(label), widths, high, exclude_zero)
    z: dict[str, list] = {"epoch": [], "indexes": []}
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(label))
        for start in range(0, len(label), size):
            rows = order[start : start + size]
            feature = {
                t: np.maximum(rng.normal(0.5, 1, (len(rows), widths[t])), 0)
                for t in TASKS
            }
            if edges and epoch == 3:
                _edges(feature, book)
            z["epoch"].append(epoch)
            z["indexes"].append(_padded(rows, size, -1))
            for t in TASKS:
                z.setdefault(f"feat_{t}", []).append(_padded(feature[t], size, 0.0))
                score = 1.4 * rng.normal(size=len(rows))
                z.setdefault(f"pred_{t}", []).append(_padded(score, size, 0.0))
            tensors = {t: torch.tensor(f) for t, f in feature.items()}
            book.visit(tensors, torch.tensor(rows), epoch)
    rest = {"labels_m": label, "H": high, "exclude_zero": exclude_zero}
    return {key: np.asarray(value) for key, value in (z | rest).items()}


def _edges(feature: Arrays, book: LabelBook) -> None:
    rows = len(feature["text"])
    center = {t: [c.numpy() for c in book.center[t]] for t in TASKS}
    positive, negative = center["fusion"]
    edges = (
        ("text", center["text"][0]),
        ("audio", center["audio"][1]),
        ("fusion", positive),
        ("fusion", (positive + negative) / 2 + 1e-3 * (positive - negative)),
    )
    for row, (t, value) in enumerate(edges[:rows]):
        feature[t][row] = value


def _padded(rows: np.ndarray, size: int, value: float) -> np.ndarray:
    out = np.full((size, *rows.shape[1:]), value, rows.dtype)
    out[: len(rows)] = rows
    return out


def forward_inputs(rng: np.random.Generator, b: int, steps: dict) -> Arrays:
    """Draw a batch and weights; equal steps for all modalities: aligned lengths."""
    inputs, aligned = {"audio": 5, "vision": 20}, len(set(steps.values())) == 1
    model = SelfMM(
        inputs,
        {"audio": 12, "vision": 24},
        {"audio": 16, "vision": 32},
        {"fusion": 40, "text": 12, "audio": 16, "vision": 32},
    )
    norm = model.text_model.LayerNorm
    for value, center in ((norm.weight, 1.0), (norm.bias, 0.0)):
        value.data = center + 0.02 * torch.tensor(rng.normal(size=TEXT_WIDTH))
    z = {f"w/{k}": _numpy(v) for k, v in model.state_dict().items()}
    length = rng.integers(3, steps["text"] + 1, b)
    length[0] = steps["text"]
    z["text_bert"] = _tokens(rng, length, steps["text"]).astype(np.float64)
    for row, t in enumerate(("audio", "vision")):
        lengths = length if aligned else rng.integers(1, steps[t] + 1, b)
        if not aligned:
            lengths[row], lengths[1 - row] = steps[t], 1
        z[f"{t}_lengths"] = lengths
        z[t] = _sequences(rng, lengths, steps[t], inputs[t])
        z[t][2, lengths[2] :] = 7.0  # must not be seen
    z["label_fusion"] = labels(rng, b)
    for t, spread in (("text", 0.3), ("audio", 0.8), ("vision", 0.8)):
        shifted = z["label_fusion"] + spread * rng.normal(size=b)
        z[f"label_{t}"] = np.clip(shifted, -3, 3)
    z["label_text"][0] = z["label_fusion"][0]  # weight 0
    return z


def training_inputs(rng: np.random.Generator, vary: bool) -> Arrays:
    """Draw data, orders, settings and initial weights."""
    n, valid = (int(rng.integers(16, 30)), 5) if vary else (22, 7)
    model = SelfMM(
        {"audio": 5, "vision": 20},
        {"audio": 6, "vision": 8},
        {"audio": 5, "vision": 7},
        {"fusion": 12, "text": 10, "audio": 6, "vision": 8},
    )
    z = {f"w_init/Model.{k}": _numpy(v) for k, v in model.state_dict().items()}
    for name, count in (("train", n), ("valid", valid)):
        length = rng.integers(3, 9, count)
        z[f"{name}/text"] = _tokens(rng, length, 8).astype(np.float32)
        for t, key, steps, width in (("audio", "al", 14, 5), ("vision", "vl", 10, 20)):
            z[f"{name}/{key}"] = rng.integers(1, steps + 1, count)
            x = _sequences(rng, z[f"{name}/{key}"], steps, width)
            z[f"{name}/{t}"] = x
        z[f"{name}/y"] = labels(rng, count)
        z[f"{name}/y"][:2] = 0
    z["orders"] = np.stack([rng.permutation(n) for _ in range(6)])
    rates = {"bert": 5e-4, "audio": 5e-3, "video": 2e-3, "other": 5e-3}
    decays = {"bert": 1e-3, "audio": 1e-2, "video": 1e-3, "other": 1e-3}
    for key, values in zip(RATES, (rates, decays), strict=True):
        z |= {f"hp/{key}_{part}": np.asarray(x) for part, x in values.items()}
    size, group = (int(rng.integers(3, 7)), int(rng.integers(2, 5))) if vary else (4, 4)
    rest = {"H": 3.0, "update_epochs": group, "early_stop": 2, "batch_size": size}
    z |= {f"hp/{key}": np.asarray(value) for key, value in rest.items()}
    scripted = np.asarray([1.0, 0.9, 0.8, 0.85, 0.86])
    return z | {"scripted_val_for_early_stop": scripted, "best_epoch": np.asarray(3)}


def _tokens(rng: np.random.Generator, length: np.ndarray, steps: int) -> np.ndarray:
    mask = np.arange(steps) < length[:, None]
    ids = rng.integers(1, VOCABULARY, mask.shape) * mask
    return np.stack([ids, mask, np.zeros_like(ids)], 1)


def _sequences(
    rng: np.random.Generator, length: np.ndarray, steps: int, width: int
) -> np.ndarray:
    x = rng.normal(size=(len(length), steps, width)).astype(np.float32)
    x[np.arange(steps) >= length[:, None]] = 0
    return x


def _numpy(value) -> np.ndarray:
    return value.detach().numpy().astype(np.float32)


def make(seed: int, folder: Path, vary: bool) -> None:
    """Write the four files."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    n = {"zero_pos": 18, "zero_excl": 18, "sims": 16, "no_negative": 12}
    if vary:
        n = {name: int(rng.integers(10, 40)) for name in n}
    label = {name: labels(rng, count) for name, count in n.items()}
    for name in ("zero_pos", "zero_excl"):
        label[name][:6] = (0, 3, -3, 0.2, -0.4, 0)
    label["sims"] = labels(rng, n["sims"], 1.0)
    label["no_negative"] = np.maximum(np.abs(label["no_negative"]), 0.2)
    plain = {
        "zero_pos": ulgm_inputs(rng, label["zero_pos"], 5, 8, edges=True),
        "zero_excl": ulgm_inputs(
            rng, label["zero_excl"], 5, 8, edges=True, exclude_zero=True
        ),
        "sims": ulgm_inputs(rng, label["sims"], 4, 8, high=1.0, exclude_zero=True),
        "no_negative": ulgm_inputs(rng, label["no_negative"], 3, 6),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, "selfmm_ulgm", {k: z | ulgm_expected(z) for k, z in plain.items()})
    low, high = (4, 9) if vary else (6, 5)
    batches = {
        "unaligned": (low, {"text": 12, "audio": 37, "vision": 50}),
        "aligned": (high, dict.fromkeys(("text", "audio", "vision"), 12)),
    }
    cases = {k: forward_inputs(rng, *given) for k, given in batches.items()}
    cases = {k: z | forward_expected(z) for k, z in cases.items()}
    _save(folder, "selfmm_forward", cases)
    z = training_inputs(rng, vary)
    name = "zero_excl" if vary and seed % 2 else "zero_pos"
    expected = training_expected(z, name == "zero_excl")
    _save(folder, "selfmm_train", {name: z | expected})
    cases = {}
    for name, pair in metric_inputs(rng).items():
        pred, truth = (x.astype(np.float32) for x in pair)
        values = metric_values(pred, truth, name.startswith("sims"))
        cases[name] = {"pred": pred, "truth": truth} | values
    cases["error_all_zero_truth"] = {"": np.asarray("IndexError")}
    _save(folder, "metrics", cases)


def make_edges(seed: int, folder: Path) -> None:
    """Write label bookkeeping of unusual data."""
    rng = np.random.default_rng(seed)
    below = -np.abs(labels(rng, 12))
    below[:3] = 0  # no positive label if zeros are excluded
    one_negative = np.asarray([2.0, 1.4, 0.4, 2.2, 1.0, -0.2, 0.6, 1.8])
    given = {
        "no_positive": ((below - 0.2, 3, 5), {}),
        "no_positive_excl": ((below, 3, 5), {"exclude_zero": True}),
        "no_negative_excl": ((-below, 3, 5), {"exclude_zero": True}),
        "all_zero": ((np.zeros(9), 3, 4), {}),
        "batch_of_one": ((labels(rng, 9), 5, 1), {}),
        "long": ((labels(rng, 30), 9, 8), {"edges": True}),
        "long_excl": ((labels(rng, 30), 9, 8), {"exclude_zero": True, "edges": True}),
        "long_sims": ((labels(rng, 30, 1.0), 9, 8), {"high": 1.0, "edges": True}),
    }
    for i in range(4):  # a unimodal class may lose its last sample while training
        given[f"one_negative_{i}"] = ((one_negative, 6, 3), {"exclude_zero": True})
    plain = {name: ulgm_inputs(rng, *a, **k) for name, (a, k) in given.items()}
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, "selfmm_ulgm", {k: z | ulgm_expected(z) for k, z in plain.items()})


def _save(folder: Path, name: str, scenarios: dict[str, Arrays]) -> None:
    flat = {
        f"{scenario}/{key}".rstrip("/"): value
        for scenario, arrays in scenarios.items()
        for key, value in arrays.items()
    }
    np.savez_compressed(folder / f"{name}.npz", **flat)  # pyright: ignore


def check(folder: Path) -> None:
    """Print how far this code is from the expectations of existing files."""
    kinds: dict[str, Callable] = {
        "selfmm_ulgm": lambda name, z: ulgm_expected(z),
        "selfmm_forward": lambda name, z: forward_expected(z),
        "selfmm_train": lambda name, z: training_expected(z, "excl" in name),
        "metrics": lambda name, z: metric_values(z["pred"], z["truth"], "sims" in name),
    }
    for kind, expected in kinds.items():
        with np.load(folder / f"{kind}.npz") as file:
            arrays = dict(file)
        for name in dict.fromkeys(k.split("/")[0] for k in arrays if "/" in k):
            z = under(arrays, f"{name}/")
            worst = (0.0, "")
            for key, value in expected(name, z).items():
                if value.dtype.kind == "U":
                    assert list(value) == list(z[key]), key
                    continue
                assert value.shape == z[key].shape, (key, value.shape, z[key].shape)
                gap = np.atleast_1d(np.abs(value - z[key]))
                gap[np.atleast_1d(np.isnan(value) & np.isnan(z[key]))] = 0
                assert not np.isnan(gap).any(), key
                worst = max(worst, (float(gap.max()), key))
            print(f"{kind:<16} {name:<24} {worst[0]:.1e}  {worst[1]}")


def main() -> None:
    """Parse the command line, then make or check."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write the files into")
    parser.add_argument("--vary", action="store_true", help="draw other sizes, too")
    parser.add_argument("--edges", action="store_true", help="unusual labels only")
    parser.add_argument("--check", type=Path, help="folder of existing files")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    if options.check:
        check(options.check)
    if options.out and options.edges:
        make_edges(options.seed, options.out)
    elif options.out:
        make(options.seed, options.out, options.vary)


if __name__ == "__main__":
    main()
