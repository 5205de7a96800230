"""Make further reference arrays for MMCL, with PyTorch and NumPy alone.

    python tests/goldens/make_mmcl.py --seed 7 --out runs/goldens/seed7
    python tests/goldens/make_mmcl.py --check ../shared/goldens
    python -m msa_jax.parity runs/goldens/seed7 --precision float64

Needs torch, nothing of msa_jax, so the arrays (float64) are an independent witness.
Batches, widths, lengths, temperatures and kappas are drawn; the last two are arrays
that the first files lack (`temperatures`, `kappas`), as are all readings over the
targets alone (`Gonly/`). Among the vectors are zeros, equal ones and targets that
equal their prediction. `--check` feeds the inputs of existing files through this code
and prints the largest differences from what they expect.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mmcl_formulas as formulas
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch_mmcl as network
from torch import nn  # pyright: ignore[reportMissingImports]

Rng = np.random.Generator
Arrays = dict[str, np.ndarray]


class Kind(NamedTuple):
    """One kind of file: how its inputs are drawn, and what they lead to."""

    draw: Callable[[Rng], Arrays]
    expected: Callable[[Arrays], Arrays]


def _normal32(rng: Rng, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _vectors(rng: Rng, batch: int, width: int, longest: float) -> np.ndarray:
    """Draw rows whose lengths lie between 0.1 and `longest`."""
    x = rng.normal(size=(batch, width))
    length = rng.uniform(0.1, longest, (batch, 1))
    return x * length / np.linalg.norm(x, axis=1, keepdims=True)


def _pair(rng: Rng, longest: float = 4.8) -> tuple[np.ndarray, np.ndarray]:
    """Draw two sets of vectors that resemble each other, with edge cases.

    Raw products reach 4.8 squared: over .05 that is 460, as in the first files;
    beyond it float32 has no digits left for its tolerance.
    """
    shape = int(rng.integers(2, 13)), int(rng.integers(2, 49))
    first, own = (_vectors(rng, *shape, longest) for _ in range(2))
    share = rng.uniform(0, 0.8)
    second = share * first + (1 - share) * own
    if rng.random() < 0.4:
        second[0] = first[0] / 2  # the same direction
    if rng.random() < 0.3:
        first[-1] = first[0]  # two equal vectors
    if rng.random() < 0.3:
        second[-1] = 0
    return first, second


def _temperatures(rng: Rng) -> np.ndarray:
    drawn = round(float(rng.uniform(0.06, 1.5)), 2)
    return np.asarray(sorted({0.05, 0.1, 0.7, drawn}))


def draw_uni(rng: Rng) -> Arrays:
    """Draw queries and keys."""
    q, k = _pair(rng)
    return {"q": q, "k": k, "temperatures": _temperatures(rng)}


def draw_cross(rng: Rng) -> Arrays:
    """Draw predictions and targets."""
    p, g = _pair(rng)
    return {"P_raw": p, "G_raw": g, "temperatures": _temperatures(rng)}


def draw_align_uniform(rng: Rng) -> Arrays:
    """Draw predictions and targets, and kappas."""
    p, g = _pair(rng)
    drawn = round(float(rng.uniform(0.1, 8)), 2)
    return {"P_raw": p, "G_raw": g, "kappas": np.asarray(sorted({1.0, 2.0, drawn}))}


def _labels(rng: Rng, batch: int) -> np.ndarray:
    """Draw labels with zeros of both signs among them."""
    y = np.round(rng.uniform(-3, 3, batch), 1)
    y[rng.random(batch) < 0.3] = 0
    y[rng.random(batch) < 0.1] = -0.0
    return y


def draw_sentiment(rng: Rng) -> Arrays:
    """Draw vectors and labels; of the second labels one is alone in its class."""
    p, g = _pair(rng)
    if len(p) < 4:
        p, g = (np.concatenate([x, _vectors(rng, 2, x.shape[1], 4)]) for x in (p, g))
    y, kinds = _labels(rng, len(p)), rng.permutation([-1.0, 0.0, 1.0])
    alone = rng.choice(kinds[1:], len(p)) * rng.choice([1e-3, 1, 3], len(p))
    alone[rng.integers(len(p))] = 2.2 * kinds[0]
    return {
        "P_raw": p,
        "G_raw": g,
        "y": y,
        "y_singleton": alone,
        "temperatures": _temperatures(rng),
    }


def draw_total(rng: Rng) -> Arrays:
    """Draw every part's vectors, labels, scores, settings; some weights are 0."""
    batch, width, hidden = (int(rng.integers(2, n)) for n in (13, 33, 33))
    y = _labels(rng, batch)
    z = {
        "y": y,
        "yhat": y + rng.normal(size=batch),
        "tau": np.asarray(rng.choice([0.05, 0.1, 0.7])),
        "kappa": np.asarray(rng.choice([0.5, 1.0, 2.0, 3.0])),
        "lam": np.asarray(rng.integers(1, 3)),
    }
    for name in ("mu", "eta", "alpha", "beta", "gamma"):
        weight = round(float(rng.uniform(0.05, 1)), 2) if rng.random() < 0.9 else 0.0
        z[name] = np.asarray(weight)
    for u in "av":
        feature = _vectors(rng, batch, width, 6)
        z[f"{u}/F"] = feature
        z[f"{u}/F_aug"] = feature * (rng.random(feature.shape) > 0.2)
        for name in ("P_raw", "G_raw"):
            z[f"{u}/{name}"] = _vectors(rng, batch, hidden, 6)
    return z


def draw_cutoff(rng: Rng) -> Arrays:
    """Draw sequences, and as many channels as the ratio says."""
    batch, steps, width = (int(rng.integers(1, n)) for n in (6, 8, 40))
    ratio = float(rng.choice([0.0, 0.1, 0.2, 0.3, 0.5]))
    cut = int(np.floor(ratio * width + 1e-9))
    mask = np.ones((batch, width))
    for row in mask:
        row[rng.choice(width, cut, replace=False)] = 0
    x = rng.normal(size=(batch, steps, width))
    return {"x": x, "dim_mask": mask, "ratio": np.asarray(ratio)}


def draw_peer_cutoff(rng: Rng) -> Arrays:
    """Draw sequences, and channels with replacement."""
    batch, steps, width = (int(rng.integers(1, n)) for n in (6, 8, 40))
    ratio = float(rng.choice([0.1, 0.2, 0.4]))
    zeroed = np.zeros((batch, width), bool)
    for row in zeroed:
        row[rng.integers(0, width, int(width * ratio))] = True
    x = _normal32(rng, batch, steps, width)
    return {"x": x, "dim_zeroed": zeroed, "ratio": np.asarray(ratio)}


def draw_schedule(rng: Rng) -> Arrays:
    """Draw a number of steps and of warm-up: none, some or all; a few steps beyond."""
    total = int(rng.integers(2, 400))
    warmup = int(rng.choice([0, 1, int(rng.integers(1, total)), total]))
    return {
        "total": np.asarray(total),
        "warmup": np.asarray(warmup),
        "step": np.arange(total + 4),
    }


def draw_peer_align_uniform(rng: Rng) -> Arrays:
    """Draw vectors of length 1."""
    x, y = _pair(rng)
    y[-1] = rng.normal(size=y.shape[1])  # none of length 0
    x, y = (v / np.linalg.norm(v, axis=1)[:, None] for v in (x, y))
    return {"x": x, "y": y}


def draw_cpc(rng: Rng) -> Arrays:
    """Draw vectors, others, and the map between them."""
    batch, width, other = (int(rng.integers(2, n)) for n in (12, 40, 40))
    bound = other**-0.5
    return {
        "x": 3 * rng.normal(size=(batch, width)),
        "y": 3 * rng.normal(size=(batch, other)),
        "W": rng.uniform(-bound, bound, (width, other)),
        "b": rng.uniform(-bound, bound, width),
    }


def draw_metrics(rng: Rng) -> Arrays:
    """Draw scores: far outside the range, on the edges between classes, and zeros."""
    n = int(rng.integers(20, 150))
    truth = np.round(3 * rng.uniform(-3, 3, n)) / 3
    found = truth + rng.normal(size=n)
    edges = np.arange(-9, 10) / 2  # -4.5, -4.0, ... 4.5
    for values, share in ((found, 0.3), (truth, 0.1)):
        at = rng.random(n) < share
        values[at] = rng.choice(edges, at.sum())
    truth[rng.random(n) < 0.2] = 0
    found[rng.random(n) < 0.05] = -0.0
    found[0], found[1] = 17.25, -1e3 if rng.random() < 0.3 else -5.5
    return {"preds": found.astype(np.float32), "truths": truth.astype(np.float32)}


def _weights(module: nn.Module, rng: Rng) -> Arrays:
    """Draw the module's weights in float32; no bias is 0, no norm is the identity."""
    torch.manual_seed(int(rng.integers(2**31)))
    found = {}
    for name, start in module.state_dict().items():
        w = torch.empty_like(start)
        if w.ndim > 1:
            nn.init.xavier_uniform_(w)
        else:
            around = 1.0 if name.endswith("weight") else 0.0
            nn.init.uniform_(w, around - 0.2, around + 0.2)
        found[f"w/{name}"] = w.numpy()
    return found


def draw_bidirectional(rng: Rng) -> Arrays:
    """Draw sequences: one full or none, one of one step, what lies behind is not 0."""
    batch, steps = int(rng.integers(2, 6)), int(rng.integers(2, 16))
    width, hidden = (int(n) for n in rng.integers(1, 17, 2))
    lengths = rng.integers(1, steps + 1, batch)
    lengths[0], lengths[-1] = steps - int(rng.random() < 0.3), 1
    module = nn.LSTM(width, hidden, bidirectional=True)
    x = _normal32(rng, batch, steps, width)
    return {"x": x, "lengths": rng.permutation(lengths), **_weights(module, rng)}


def draw_one_direction(rng: Rng) -> Arrays:
    """Draw sequences, some of one step."""
    shape = int(rng.integers(1, 6)), int(rng.integers(1, 10)), int(rng.integers(1, 17))
    module = nn.LSTM(shape[2], int(rng.integers(1, 17)))
    return {"x": _normal32(rng, *shape), **_weights(module, rng)}


def draw_encoder(rng: Rng) -> Arrays:
    """Draw sizes and sequences; the mask has gaps, one sequence one step."""
    heads, layers = int(rng.choice([1, 2, 4, 8])), int(rng.integers(1, 5))
    width = heads * int(rng.integers(-(-12 // heads), 5 + 12 // heads))
    ff, batch, steps = (int(rng.integers(*span)) for span in ((8, 65), (2, 7), (1, 12)))
    mask = rng.random((batch, steps)) < rng.uniform(0, 0.6)
    mask[:, 0], mask[-1] = False, np.arange(steps) != rng.integers(steps)
    return {
        "d_model": np.asarray(width),
        "heads": np.asarray(heads),
        "layers": np.asarray(layers),
        "ff": np.asarray(ff),
        "x": _normal32(rng, batch, steps, width),
        "pad_mask": mask,
        **_weights(network.encoder_module(width, heads, layers, ff), rng),
    }


def draw_convolutions(rng: Rng) -> Arrays:
    """Draw a signal: of the fewest steps, of one less than for another, or any."""
    channels, inputs = int(rng.integers(1, 10)), int(rng.choice([1, 1, 3]))
    steps = int(rng.choice([465, 624, 625, 768, int(rng.integers(465, 1000))]))
    module = network.Convolutions(inputs, channels, (0,) * 5)
    w = {k: v.astype(float) for k, v in _weights(module, rng).items()}
    return {"x": rng.normal(size=(int(rng.integers(1, 4)), inputs, steps)), **w}


KINDS = {
    "formula_infonce": Kind(draw_uni, formulas.info_nce),
    "formula_icl": Kind(draw_cross, formulas.cross_contrast),
    "formula_align_uniform": Kind(draw_align_uniform, formulas.align_uniform),
    "formula_scl": Kind(draw_sentiment, formulas.sentiment_contrast),
    "formula_total": Kind(draw_total, formulas.total),
    "formula_cutoff": Kind(draw_cutoff, formulas.cutoff),
    "formula_schedule": Kind(draw_schedule, formulas.schedule),
    "peer_align_uniform": Kind(draw_peer_align_uniform, network.align_uniform),
    "peer_mmim_cpc": Kind(draw_cpc, network.cpc),
    "peer_mmim_metrics": Kind(draw_metrics, formulas.peer_metrics),
    "peer_dim_cutoff": Kind(draw_peer_cutoff, formulas.peer_cutoff),
    "torch_blstm": Kind(draw_bidirectional, network.bidirectional),
    "torch_slstm": Kind(draw_one_direction, network.one_direction),
    "torch_transformer": Kind(draw_encoder, network.encoder),
    "torch_cnn": Kind(draw_convolutions, network.convolutions),
}


def make(seed: int, folder: Path) -> None:
    """Write one file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, kind) in enumerate(KINDS.items()):
        z = kind.draw(np.random.default_rng([seed, i]))
        np.savez_compressed(folder / f"mmcl_{name}.npz", **z | kind.expected(z))  # pyright: ignore


def check(folder: Path) -> None:
    """Print how far this code is from the expectations of existing files."""
    for name, kind in KINDS.items():
        with np.load(folder / f"mmcl_{name}.npz") as file:
            z = dict(file)
        found = kind.expected(z)
        gaps = {k: _gap(k, found[k], z) for k in found if k in z}
        worst = max(gaps, key=lambda k: gaps[k])
        row = f"mmcl_{name:<22} {len(gaps):>3} arrays {gaps[worst]:.1e}  {worst}"
        drawn = kind.draw(np.random.default_rng(0))
        left = [k for k in z if k not in found and k not in drawn and k[:2] != "w/"]
        print(row + (f"  not expected: {', '.join(left)}" if left else ""))


def _gap(key: str, value: np.ndarray, z: Arrays) -> float:
    """Return the largest difference over 1 + size; of texts, between their numbers."""
    other = z[key]
    if value.dtype.kind == "U":
        text = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
        assert text.sub("#", str(value)) == text.sub("#", str(other)), key
        value, other = (np.asarray(text.findall(str(x)), float) for x in (value, other))
    assert value.shape == other.shape, (key, value.shape, other.shape)
    if key == "out_mask":  # padded steps may differ: nobody reads them
        value, other = value[~z["pad_mask"]], other[~z["pad_mask"]]
    assert (np.isnan(value) == np.isnan(other)).all(), key
    gap = np.abs(value - other.astype(float)) / (1 + np.abs(other))
    return float(np.nanmax(gap))


def main() -> None:
    """Parse the command line, then make or check."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write the files into")
    parser.add_argument("--check", type=Path, help="folder of existing files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.check:
        check(options.check)
    if options.out:
        make(options.seed, options.out)


if __name__ == "__main__":
    main()
