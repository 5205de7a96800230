"""Make further reference arrays for SPT and SUGRM, with PyTorch alone.

    python tests/goldens/make_sugrm.py --seed 7 --out runs/goldens/seed7
    python tests/goldens/make_sugrm.py --check ../shared/goldens
    python -m msa_jax.parity runs/goldens/seed7 --precision float64

Needs torch, nothing of msa_jax, so the arrays (float64, softmax in float32 as the
public code's) are an independent witness. Sizes, lengths and batches are drawn;
`heads` is the one array more than the first files have. Training: labels of seeds that
3 divides lie in [-1, 1] as SIMS' do; weights start such that most u-labels lie within
the range, not at its ends. `--check` feeds the inputs of existing files through this
code and prints the largest differences from what they expect.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch_self_mm import TEXT_WIDTH, VOCABULARY, Arrays
from torch_sugrm import (
    MODES,
    NAMES,
    PAIRS,
    ROUNDS,
    STARTS,
    STRIDE,
    forward_expected,
    mrm_expected,
    random_limit,
    spt_expected,
)
from torch_sugrm_train import near_fusion, training_expected

Rng = np.random.Generator


def _linear(rng: Rng, name: str, inputs: int, outputs: int) -> Arrays:
    bound = inputs**-0.5
    return {
        f"{name}.weight": rng.uniform(-bound, bound, (outputs, inputs)),
        f"{name}.bias": rng.uniform(-bound, bound, outputs),
    }


def _norm(rng: Rng, name: str, width: int) -> Arrays:
    scale = 1 + 0.2 * rng.normal(size=width)
    return {f"{name}.weight": scale, f"{name}.bias": 0.2 * rng.normal(size=width)}


def encoder_weights(rng: Rng, embed: int, widths: dict[str, int]) -> Arrays:
    """Draw the encoder's weights; unlike at a real start, no bias is 0."""
    w = {"spe.init_hiddens": rng.uniform(-1, 1, (3, embed))}
    blocks = {f"hiddenlayer.{{}}_{m}": widths[m] for m in STARTS}
    blocks |= {f"crosslayer.{{}}_{pair}": embed for pair in PAIRS}
    blocks |= {f"selflayer.{{}}_{m}": embed for m in STARTS}
    for block, context in blocks.items():
        mha, ffn = (f"spe.{block}".format(part) for part in ("mha", "ffn"))
        bound = (3 / (embed + context)) ** 0.5
        stacked = rng.uniform(-bound, bound, (embed + 2 * context, embed))
        w[f"{mha}.attn.in_proj_weight"] = stacked
        w[f"{mha}.attn.in_proj_bias"] = 0.2 * rng.normal(size=3 * embed)
        w |= _linear(rng, f"{mha}.attn.out_proj", embed, embed)
        w |= _norm(rng, f"{mha}.layer_norm", embed)
        w |= _norm(rng, f"{mha}.layer_norm_kv", context)
        w |= _linear(rng, f"{ffn}.fc1", embed, 4 * embed)
        w |= _linear(rng, f"{ffn}.fc2", 4 * embed, embed)
        w |= _norm(rng, f"{ffn}.layer_norm", embed)
    return w | _norm(rng, "spe.layer_norm", embed)


def mrm_weights(rng: Rng, widths: dict[str, int], prefix: str = "") -> Arrays:
    """Draw the recalibration's weights."""
    total = sum(widths.values())
    w = _linear(rng, f"{prefix}wg", total, total // 4)
    for m, name in zip("avt", ("wa", "wv", "wl"), strict=True):
        w |= _linear(rng, prefix + name, total // 4, widths[m])
    return w


def sugrm_weights(rng: Rng, embed: int, widths: dict[str, int]) -> Arrays:
    """Draw the whole model's weights with the stub text encoder."""
    shape = (VOCABULARY, TEXT_WIDTH)
    w: Arrays = {"text_model.emb.weight": rng.normal(size=shape)}
    w |= _linear(rng, "text_model.proj", TEXT_WIDTH, TEXT_WIDTH)
    w |= _norm(rng, "text_model.LayerNorm", TEXT_WIDTH)
    w |= mrm_weights(rng, widths, "se_model.")
    for m, inputs in {"f": 3 * embed, "t": embed, "a": embed, "v": embed}.items():
        w |= _linear(rng, f"proj1_{m}", inputs, embed)
        w |= _linear(rng, f"proj2_{m}", embed, embed)
        w |= _linear(rng, f"out_layer_{m}", embed, 1)
    return w | encoder_weights(rng, embed, widths)


def _named(prefix: str, w: Arrays) -> Arrays:
    return {prefix + key: value.astype(np.float32) for key, value in w.items()}


def _sequences(rng: Rng, b: int, steps: int, width: int) -> np.ndarray:
    """Draw sequences with zeros in places that matter to the position code."""
    x = rng.normal(size=(b, steps, width)).astype(np.float32)
    x[0, steps - int(rng.integers(1, steps // 2 + 1)) :] = 0  # rows at the back
    x[1, : int(rng.integers(1, steps // 2 + 1))] = 0  # and at the front
    x[-1, steps // 2, 0] = 0  # the first feature alone
    if rng.random() < 0.3:
        x[-1, :, 0] = 0
    return x


def _steps(rng: Rng) -> dict[str, dict[str, int]]:
    """Draw lengths; the shortest are below every window."""
    short, middle, long = int(rng.integers(2, 7)), rng.integers(8, 40), 0
    long = int(rng.integers(11, 27)) * 2 + 1
    drawn = dict(zip(rng.permutation(list("tav")), (short, middle, long), strict=True))
    same = int(rng.integers(6, 26))
    unaligned = {m: int(drawn[m]) for m in "tav"}
    return {"aligned": dict.fromkeys("tav", same), "unaligned": unaligned}


def _sizes(rng: Rng) -> tuple[int, int]:
    """Draw the width of the states and a number of heads."""
    heads = int(rng.choice([1, 2, 4]))
    return heads * int(rng.integers(max(1, 4 // heads), 12 // heads + 1)), heads


def spt_inputs(rng: Rng) -> Arrays:
    """Draw sizes, weights, sequences and letter R's shifts."""
    embed, heads = _sizes(rng)
    widths = dict(zip("tav", (int(n) for n in rng.integers(4, 14, 3)), strict=True))
    widths[str(rng.choice(list("tav")))] = embed
    w = encoder_weights(rng, embed, widths)
    for name in ("proj1", "proj2"):
        w |= _linear(rng, name, 3 * embed, 3 * embed)
    z = _named("w/", w | _linear(rng, "out_layer", 3 * embed, 1))
    z["heads"] = np.asarray(heads)
    share = MODES["ISPR"][1][2]
    for data, steps in _steps(rng).items():
        b = int(rng.integers(2, 5))
        for m in "tav":
            z[f"{data}/{m}"] = _sequences(rng, b, steps[m], widths[m])
            limit = random_limit(steps, m, share)
            for layer in range(ROUNDS):
                drawn = rng.integers(0, limit, -(-steps[m] // STRIDE))
                z[f"{data}/ISPR/randint/{layer}_{m}"] = drawn
    shape = {f"posemb/{width}": (12, width) for width in rng.integers(4, 80, 5)}
    return z | {key: np.zeros(value, np.float32) for key, value in shape.items()}


def mrm_inputs(rng: Rng) -> Arrays:
    """Draw widths, lengths, weights and sequences."""
    widths = {m: int(n) for m, n in zip("tav", rng.integers(3, 30, 3), strict=True)}
    b, z = int(rng.integers(1, 6)), _named("w/", mrm_weights(rng, widths))
    for m, n in NAMES.items():
        shape = (b, int(rng.integers(1, 15)), widths[m])
        z[f"in_{n}"] = rng.normal(size=shape).astype(np.float32)
    return z


def forward_inputs(rng: Rng) -> Arrays:
    """Draw sizes, weights and two batches."""
    embed, heads = _sizes(rng)
    widths = {"t": TEXT_WIDTH, "a": int(rng.integers(4, 9)), "v": embed}
    if rng.random() < 0.5:
        widths["v"] = int(rng.integers(10, 30))
    z = _named("w/", sugrm_weights(rng, embed, widths))
    z["heads"] = np.asarray(heads)
    for data, steps in _steps(rng).items():
        b = int(rng.integers(2, 7))
        z[f"{data}/text_bert"] = _tokens(rng, b, steps["t"])
        for m in "av":
            z[f"{data}/{NAMES[m]}"] = _sequences(rng, b, steps[m], widths[m])
        human = np.round(rng.uniform(-3, 3, b) * 5) / 5
        z[f"{data}/label_fusion"] = human
        for n in NAMES.values():
            z[f"{data}/label_{n}"] = np.clip(human + rng.normal(size=b) / 2, -3, 3)
        z[f"{data}/label_text"][0] = human[0]  # weight 0
    return z


def training_inputs(rng: Rng, seed: int) -> Arrays:
    """Draw data, orders, settings and initial weights."""
    n, valid = int(rng.integers(12, 27)), int(rng.integers(4, 9))
    heads, high = int(rng.choice([1, 2, 4])), 3.0 if seed % 3 else 1.0
    steps = {"t": int(rng.integers(6, 12)), "a": 0, "v": 0}
    steps |= {m: int(rng.integers(4, 30)) for m in "av"}
    widths = {"t": TEXT_WIDTH, "a": 5, "v": int(rng.choice([8, 20]))}
    z = _named("w_init/Model.", sugrm_weights(rng, 8, widths))
    for name, count in (("train", n), ("valid", valid)):
        z[f"{name}/text"] = _tokens(rng, count, steps["t"])
        y = np.clip(np.round(rng.uniform(-1.4, 1.4, count) * 5) / 5, -1, 1) * high
        y[:5] = (high, 0, -high, high, -high)[: len(y)]
        z[f"{name}/y"] = y = rng.permutation(y)
        for m, key in (("a", "al"), ("v", "vl")):
            length = rng.integers(1, steps[m] + 1, count)
            x = rng.normal(size=(count, steps[m], widths[m])).astype(np.float32)
            if seed % 3 != 1:  # features that tell the labels apart
                x[:, :, 1] += (2 * y / high)[:, None]
            x[np.arange(steps[m]) >= length[:, None]] = 0
            z |= {f"{name}/{key}": length, f"{name}/{NAMES[m]}": x}
    z["orders"] = np.stack([rng.permutation(n) for _ in range(6)])
    hp: dict[str, float] = {
        "learning_rate_bert": 5e-4,
        "learning_rate_spt": float(rng.choice([5e-4, 1e-3])),
        "learning_rate_other": 3e-3,
        "weight_decay_bert": 1e-3,
        "weight_decay_text": 3e-3,
        "weight_decay_other": 1e-2,
        "H": high,
        "update_epochs": int(rng.integers(2, 5)),
        "early_stop": 2,
        "batch_size": int(rng.integers(3, 7)),
        "d_model": 8,
        "num_heads": heads,
        "layers": ROUNDS,
        "S": STRIDE,
    }
    z |= {f"hp/{key}": np.asarray(value) for key, value in hp.items()}
    if seed % 3 != 1:
        z |= near_fusion(z, 4.0)
    return z | {"scripted_val_for_early_stop": np.asarray([1.0, 0.9, 0.8, 0.85, 0.86])}


def _tokens(rng: Rng, b: int, steps: int) -> np.ndarray:
    length = rng.integers(1, steps + 1, b)
    length[0] = steps
    mask = np.arange(steps) < length[:, None]
    ids = rng.integers(1, VOCABULARY, mask.shape) * mask
    return np.stack([ids, mask, np.zeros_like(ids)], 1).astype(np.float32)


def make(seed: int, folder: Path) -> None:
    """Write the four files."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        "spt": (spt_inputs(rng), spt_expected),
        "sugrm_mrm": (mrm_inputs(rng), mrm_expected),
        "sugrm_forward": (forward_inputs(rng), forward_expected),
        "sugrm_train": (training_inputs(rng, seed), training_expected),
    }
    for name, (z, expected) in given.items():
        np.savez_compressed(folder / f"{name}.npz", **(z | expected(z)))  # pyright: ignore


def check(folder: Path) -> None:
    """Print how far this code is from the expectations of existing files."""
    kinds: dict[str, Callable] = {
        "spt": spt_expected,
        "sugrm_mrm": mrm_expected,
        "sugrm_forward": forward_expected,
        "sugrm_train": training_expected,
    }
    inputs = ("w/", "w_init/", "hp/", "train/", "valid/", "orders", "in_", "heads")
    for kind, expected in kinds.items():
        with np.load(folder / f"{kind}.npz") as file:
            z = dict(file)
        worst: dict[str, tuple[float, str]] = {}
        found = expected(z)
        for key, value in found.items():
            group = "gradients" if "grad/" in key or "grad_" in key else "values"
            if "w_after" in key:
                group = "weights"
                # A shift of all of a query's scores: its gradient is rounding only.
                if key.endswith("in_proj_bias") and "crosslayer" not in key:
                    kept = np.arange(value.shape[1]) // (value.shape[1] // 3) != 1
                    value, z[key] = value[:, kept], z[key][:, kept]
            if value.dtype.kind in "Ub" or "index_list" in key:
                assert sorted(value.ravel()) == sorted(z[key].ravel()), key
                if value.dtype.kind == "b":
                    assert (value == z[key]).all(), key
                continue
            assert value.shape == z[key].shape, (key, value.shape, z[key].shape)
            gap = np.abs(value.astype(float) - z[key])
            assert not np.isnan(gap).any(), key
            worst[group] = max(worst.get(group, (0.0, "")), (float(gap.max()), key))
        for group, (gap, key) in worst.items():
            print(f"{kind:<16} {group:<10} {gap:.1e}  {key}")
        left = [k for k in z if k not in found and not k.startswith(inputs)]
        print(f"{kind:<16} not expected: {', '.join(left[:9])} ({len(left)})")


def main() -> None:
    """Parse the command line, then make or check."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write the files into")
    parser.add_argument("--check", type=Path, help="folder of existing files")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    if options.check:
        check(options.check)
    if options.out:
        make(options.seed, options.out)


if __name__ == "__main__":
    main()
