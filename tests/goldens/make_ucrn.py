"""Make further reference arrays for UCRN, with PyTorch and NumPy alone.

    python tests/goldens/make_ucrn.py --seed 7 --out runs/goldens/seed7
    python tests/goldens/make_ucrn.py --check ../shared/goldens
    python -m msa_jax.parity runs/goldens/seed7 --precision float64

Needs torch, nothing of msa_jax, so the arrays (float64) are an independent witness.
Sizes, lengths, batches and layers are drawn; the full-size network has its full
lengths in a third of the files, short ones in the others. `--check` feeds the inputs of
existing files through this code and prints the largest differences from what they
expect.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch_ucrn as network
import ucrn_formulas as formulas
from torch_ucrn import HEADS, LETTERS, Arrays

Rng = np.random.Generator


class Kind(NamedTuple):
    """One kind of file: how its inputs are drawn, and what they lead to."""

    draw: Callable[[Rng], Arrays]
    expected: Callable[[Arrays], Arrays]


def _matrix(rng: Rng, *shape: int) -> np.ndarray:
    bound = (3 / np.prod(shape[1:])) ** 0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _vector(rng: Rng, width: int, around: float = 0.0) -> np.ndarray:
    return (around + 0.2 * rng.uniform(-1, 1, width)).astype(np.float32)


def _normal(rng: Rng, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def encoder_weights(rng: Rng, width: int, layers: int, prefix: str = "") -> Arrays:
    """Draw an encoder's weights; unlike at a real start, no bias is 0."""
    w: Arrays = {}
    for i in range(layers):
        name = f"{prefix}layers.{i}."
        maps = {
            "self_attn.in_proj_": (3 * width, width),
            "self_attn.out_proj.": (width, width),
            "fc1.": (4 * width, width),
            "fc2.": (width, 4 * width),
        }
        for part, shape in maps.items():
            w[f"{name}{part}weight"] = _matrix(rng, *shape)
            w[f"{name}{part}bias"] = _vector(rng, shape[0])
        for norm in range(2):
            w[f"{name}layer_norms.{norm}.weight"] = _vector(rng, width, 1.0)
            w[f"{name}layer_norms.{norm}.bias"] = _vector(rng, width)
    w[f"{prefix}layer_norm.weight"] = _vector(rng, width, 1.0)
    w[f"{prefix}layer_norm.bias"] = _vector(rng, width)
    return w


def model_weights(
    rng: Rng,
    read: str,
    sizes: dict[str, tuple[int, int]],
    width: int,
    layers: int,
    reduction: int = 16,
) -> Arrays:
    """Draw a network's weights, in the public code's order.

    Args:
        rng: the generator.
        read: letters of the modalities that are read.
        sizes: per letter, steps and features of the input.
        width: after the projection.
        layers: of every encoder.
        reduction: of the gates.
    """
    w = {f"proj_{m}.weight": _matrix(rng, width, sizes[m][1], 1) for m in LETTERS}
    w |= {f"temp_proj_{m}.weight": _matrix(rng, 1, sizes[m][0], 1) for m in LETTERS}
    narrow = width // reduction
    for m in read:
        w |= encoder_weights(rng, width, layers, f"{m}_refine.")
        w[f"{m}_quality.fc.0.weight"] = _matrix(rng, narrow, width)
        w[f"{m}_quality.fc.2.weight"] = _matrix(rng, width, narrow)
    fused = len(read) * width
    w |= encoder_weights(rng, fused, layers, "cross_modal_fusion.")
    for name, outputs in (("proj1", fused), ("proj2", fused), ("out_layer", 1)):
        w[f"{name}.weight"] = _matrix(rng, outputs, fused)
        w[f"{name}.bias"] = _vector(rng, outputs)
    return w


def _under(w: Arrays) -> Arrays:
    return {f"w/{k}": v for k, v in w.items()}


def draw_encoder(rng: Rng) -> Arrays:
    """Draw an encoder of 1 to 3 layers and a sequence."""
    heads, layers = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    width = heads * int(rng.integers(2, 6))
    width *= -(-10 // width)  # norms over few channels lose float32's digits
    shape = int(rng.integers(1, 12)), int(rng.integers(1, 6)), width
    return {
        "embed_dim": np.asarray(width),
        "num_heads": np.asarray(heads),
        "layers": np.asarray(layers),
        "x": _normal(rng, *shape),
        "cot": _normal(rng, *shape),
        **_under(encoder_weights(rng, width, layers)),
    }


def draw_gate(rng: Rng) -> Arrays:
    """Draw a squeezing gate and sequences of one and several steps."""
    reduction = int(rng.integers(2, 9))
    channel = reduction * int(rng.integers(1, 5)) + int(rng.integers(0, reduction))
    narrow, batch = channel // reduction, int(rng.integers(1, 6))
    steps = int(rng.integers(2, 9))
    return {
        "channel": np.asarray(channel),
        "reduction": np.asarray(reduction),
        "w/fc.0.weight": _matrix(rng, narrow, channel),
        "w/fc.2.weight": _matrix(rng, channel, narrow),
        "x_T1": _normal(rng, 1, batch, channel),
        f"x_T{steps}": _normal(rng, steps, batch, channel),
    }


def drawn_model(read: str) -> Callable[[Rng], Arrays]:
    """Return what draws a network that reads these modalities."""

    def draw(rng: Rng) -> Arrays:
        width, batch = HEADS * int(rng.integers(6, 11)), int(rng.integers(2, 6))
        sizes = {
            m: (int(rng.integers(1, 11)), int(rng.integers(3, 10))) for m in LETTERS
        }
        w = model_weights(rng, read, sizes, width, int(rng.integers(1, 3)))
        return {
            **{f"x{m}": _normal(rng, batch, *sizes[m]) for m in LETTERS},
            "y": rng.uniform(-3, 3, (batch, 1)).astype(np.float32),
            **_under(w),
        }

    return draw


def draw_full_size(rng: Rng) -> Arrays:
    """Draw the seeds of networks of five layers at the published widths."""
    seed = int(rng.integers(1000))
    steps = (50, 500, 500) if seed % 3 == 0 else tuple(rng.integers(5, 40, 3))
    sizes = dict(zip(LETTERS, zip(steps, (300, 74, 35), strict=True), strict=True))
    z = {
        "weight_seed_base": np.asarray(seed),
        "x_seeds": rng.integers(1000, size=3),
    }
    for read in ("lav", "la", "lv", "av"):
        shapes = model_weights(rng, read, sizes, 30, 5)
        z[f"{read}/param_names"] = np.asarray(list(shapes))
        z[f"{read}/param_shapes"] = np.asarray([str(w.shape) for w in shapes.values()])
        z[f"{read}/out"] = np.zeros((2, 1))  # as many rows as samples
    return z


def draw_divergence(rng: Rng) -> Arrays:
    """Draw three sequences of one step and of several."""
    shape = int(rng.integers(1, 7)), int(rng.integers(2, 9))
    return {
        f"T{t}/h{i}": _normal(rng, t, *shape)
        for t in (1, int(rng.integers(2, 6)))
        for i in range(3)
    }


def draw_formula_divergence(rng: Rng) -> Arrays:
    """Draw three sets of vectors."""
    shape = int(rng.integers(1, 9)), int(rng.integers(2, 31))
    return {f"x_{m}": rng.normal(size=shape) for m in LETTERS}


def draw_formula_gates(rng: Rng) -> Arrays:
    """Draw vectors, sequences and gates of both kinds."""
    width = 2 * int(rng.integers(2, 13))
    batch, narrow = int(rng.integers(1, 7)), int(rng.choice([1, 2, width // 2]))
    return {
        "x": rng.normal(size=(batch, width)),
        "x_seq": rng.normal(size=(batch, int(rng.integers(1, 9)), width)),
        **{k: 0.4 * rng.normal(size=(width, width)) for k in ("W", "stack_W2")},
        **{k: 0.4 * rng.normal(size=width) for k in ("b", "stack_b2")},
        "se_W1": 0.4 * rng.normal(size=(width, narrow)),
        "se_W2": 0.4 * rng.normal(size=(narrow, width)),
    }


def draw_formula_layer(rng: Rng) -> Arrays:
    """Draw one layer of Eq. 3 to 5 and sequences."""
    heads, size = int(rng.integers(1, 5)), int(rng.integers(2, 6))
    size *= -(-6 // (heads * size))  # norms over few channels lose float32's digits
    width = heads * size
    shape = int(rng.integers(1, 6)), int(rng.integers(1, 9)), width
    z = {
        "x": rng.normal(size=shape),
        "heads": np.asarray(heads),
        "ln_eps": np.asarray(1e-5),
        "ln_g": 1 + 0.2 * rng.normal(size=width),
        "ln_b": 0.2 * rng.normal(size=width),
    }
    maps = {"fc1": (width, width), "fc2": (width, 4 * width), "fc3": (4 * width, width)}
    for name, (inputs, outputs) in maps.items():
        z[f"{name}_W"] = inputs**-0.5 * rng.normal(size=(inputs, outputs))
        z[f"{name}_b"] = 0.2 * rng.normal(size=outputs)
    for k in range(heads):
        for n in "qkv":
            z[f"W{n}{k}"] = size**-0.5 * rng.normal(size=(size, size))
            z[f"b{n}{k}"] = 0.2 * rng.normal(size=size)
    return z


def draw_emotions(rng: Rng) -> Arrays:
    """Draw emotions of unlike frequency; each is present and absent at least once."""
    n = int(rng.integers(12, 300))
    truth = (rng.random((n, 6)) < rng.uniform(0.05, 0.6, 6)).astype(int)
    truth[0], truth[1] = 0, 1
    return {"truth": truth, "logits": 2 * truth - 1 + 1.5 * rng.normal(size=(n, 6))}


def draw_noise(rng: Rng) -> Arrays:
    """Draw features and noise."""
    shape = tuple(rng.integers(1, 8, 3))
    present = (rng.random((shape[0], 1, 1)) < 0.5).astype(float)
    return {
        "x": rng.normal(size=shape),
        "bern": (rng.random(shape) < 0.5).astype(float),
        "present": present,
    }


def draw_scores(rng: Rng) -> Arrays:
    """Draw scores on and between the classes' edges, beyond the range, too."""
    return {"score": np.concatenate([np.arange(-16, 17) / 4, rng.uniform(-4, 4, 60)])}


def draw_metrics(rng: Rng) -> Arrays:
    """Draw predictions, labels with zeros among them, and emotions."""
    n = int(rng.integers(30, 90))
    truth = np.round(3 * rng.uniform(-3, 3, n)).clip(-9, 9) / 3
    emotions = draw_emotions(rng)
    return {
        "preds": (truth + rng.normal(size=n)).astype(np.float32),
        "truths": truth.astype(np.float32),
        "emo_logits": emotions["logits"].astype(np.float32),
        "emo_truth": emotions["truth"].astype(np.float32),
    }


KINDS = {
    "formula_mjs": Kind(draw_formula_divergence, formulas.divergence),
    "formula_sqil": Kind(draw_formula_gates, formulas.gates),
    "formula_urm_layer": Kind(draw_formula_layer, formulas.layer),
    "formula_emotion_metrics": Kind(draw_emotions, formulas.emotions),
    "formula_noise": Kind(draw_noise, formulas.noise),
    "formula_acc7_binning": Kind(draw_scores, formulas.seven_classes),
    "peer_encoder": Kind(draw_encoder, network.encoder_expected),
    "peer_sqlayer": Kind(draw_gate, network.gate_expected),
    "peer_fullsize": Kind(draw_full_size, network.full_size_expected),
    "peer_multijsd": Kind(draw_divergence, network.divergence_expected),
    "peer_metrics": Kind(draw_metrics, formulas.peer_metrics),
    "peer_tbje_binning": Kind(draw_scores, formulas.tbje_classes),
} | {
    f"peer_model_{read}": Kind(drawn_model(read), network.model_expected)
    for read in ("lav", "la", "lv", "av", "l", "a", "v")
}


def make(seed: int, folder: Path) -> None:
    """Write one file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, kind) in enumerate(KINDS.items()):
        z = kind.draw(np.random.default_rng([seed, i]))
        np.savez_compressed(folder / f"ucrn_{name}.npz", **z | kind.expected(z))


def check(folder: Path) -> None:
    """Print how far this code is from the expectations of existing files."""
    for name, kind in KINDS.items():
        path = folder / f"ucrn_{name}.npz"
        if not path.exists():
            continue
        with np.load(path) as file:
            z = dict(file)
        worst = (0.0, "")
        for key, value in kind.expected(z).items():
            if value.dtype.kind == "U":
                assert list(value) == list(z[key]), key
                continue
            assert value.shape == z[key].shape, (name, key, value.shape, z[key].shape)
            gap = np.abs(value - z[key]) / (1 + np.abs(z[key]))
            worst = max(worst, (float(np.max(gap)), key))
        print(f"{path.name:<36} {worst[0]:.1e}  {worst[1]}")


def main() -> None:
    """Parse the command line, then make or check."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write the files into")
    parser.add_argument("--check", type=Path, help="folder of existing files")
    options = parser.parse_args()
    if options.check:
        check(options.check)
    if options.out:
        make(options.seed, options.out)


if __name__ == "__main__":
    main()
