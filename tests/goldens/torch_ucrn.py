"""UCRN's public network in PyTorch: what reference arrays expect, from their inputs.

Independent of msa_jax: plain functions of a state dict with the public code's names;
derivatives are PyTorch's. Modalities go by their letters there.

Source: Redaimao/UCRN@21a6783, as docs/fidelity.md describes it.
"""

import math
import re
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]

Arrays = dict[str, np.ndarray]
State = dict[str, Any]
LETTERS = "lav"
HEADS = 3


def under(z: Arrays, prefix: str) -> Arrays:
    """Return what stands under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in z.items() if k.startswith(prefix)}


def tensor(x: Any) -> Any:
    """Return a float64 tensor."""
    return torch.tensor(np.asarray(x, np.float64))


def tensors(arrays: Arrays, gradients: bool = False) -> State:
    """Return a state dict of float64 tensors."""
    return {k: tensor(v).requires_grad_(gradients) for k, v in arrays.items()}


def encode(w: State, prefix: str, x: Any, heads: int, causal: bool = True) -> Any:
    """Run one encoder over [steps, batch, width]."""
    steps, batch, width = x.shape
    x = x * math.sqrt(width)
    hidden = torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1)
    count = 0
    while f"{prefix}layers.{count}.fc1.weight" in w:
        p = under(w, f"{prefix}layers.{count}.")

        def norm(x: Any, which: int, p: State = p) -> Any:
            name = f"layer_norms.{which}."
            return F.layer_norm(x, (width,), p[f"{name}weight"], p[f"{name}bias"])

        z = F.linear(
            norm(x, 0), p["self_attn.in_proj_weight"], p["self_attn.in_proj_bias"]
        )
        size = width // heads
        mixed = []
        for head in range(heads):
            start = head * size
            query, key, value = (
                z[..., k * width + start : k * width + start + size] for k in range(3)
            )
            score = torch.einsum("qbc,kbc->bqk", query, key) / math.sqrt(size)
            if causal:
                score = score.masked_fill(hidden, -math.inf)
            mixed.append(torch.einsum("bqk,kbc->qbc", score.softmax(-1), value))
        mixed = torch.cat(mixed, -1)
        output = p["self_attn.out_proj.weight"], p["self_attn.out_proj.bias"]
        x = x + F.linear(mixed, *output)
        wide = F.linear(norm(x, 1), p["fc1.weight"], p["fc1.bias"]).relu()
        x = x + F.linear(wide, p["fc2.weight"], p["fc2.bias"])
        count += 1
    final = w[f"{prefix}layer_norm.weight"], w[f"{prefix}layer_norm.bias"]
    return F.layer_norm(x, (width,), *final)


def gate(w: State, prefix: str, x: Any) -> Any:
    """Weight the channels of [steps, batch, width] by their mean over the steps."""
    hidden = F.linear(x.mean(0), w[f"{prefix}fc.0.weight"]).relu()
    return x * F.linear(hidden, w[f"{prefix}fc.2.weight"]).sigmoid()


def forward(w: State, inputs: dict[str, Any]) -> tuple[Any, Any, list[Any]]:
    """Return scores, the fused vector, and each modality's vector before its gate."""
    before, after = [], []
    for m in LETTERS:
        if f"{m}_quality.fc.0.weight" not in w:
            continue
        kernel, mix = w[f"proj_{m}.weight"][:, :, 0], w[f"temp_proj_{m}.weight"]
        x = F.linear(inputs[m], kernel).transpose(0, 1)
        x = encode(w, f"{m}_refine.", x, HEADS)
        x = torch.einsum("tbc,t->bc", x, mix[0, :, 0])[None]
        before.append(x)
        after.append(gate(w, f"{m}_quality.", x))
    last = encode(w, "cross_modal_fusion.", torch.cat(after, -1), HEADS)[-1]
    hidden = F.linear(last, w["proj1.weight"], w["proj1.bias"]).relu()
    hidden = last + F.linear(hidden, w["proj2.weight"], w["proj2.bias"])
    return F.linear(hidden, w["out_layer.weight"], w["out_layer.bias"]), last, before


def pair(a: Any, b: Any, softmax: bool) -> Any:
    """Return the public code's divergence of two sequences, summed over the batch."""
    if softmax:
        a, b = a.softmax(0), b.softmax(0)
    middle = (a + b) / 2

    def part(p: Any) -> Any:
        return F.kl_div(middle, p, reduction="batchmean", log_target=True)

    return (part(a) + part(b)) / 2


def apart(h: list[Any], softmax: bool = False) -> Any:
    """Return the public code's loss of one, two or three sequences."""
    batch = h[0].shape[1]
    if len(h) == 3:
        pairs = ((0, 1), (1, 2), (2, 0))
        return sum(pair(h[i], h[j], softmax) for i, j in pairs) / 3 / batch
    if len(h) == 2:
        return pair(h[0], h[1], True) / batch
    return torch.zeros((), dtype=torch.float64)


def encoder_expected(z: Arrays) -> Arrays:
    """Return outputs and gradients with the mask and without."""
    found: Arrays = {}
    for name, causal in (("causal", True), ("nomask", False)):
        w, x = tensors(under(z, "w/"), True), tensor(z["x"]).requires_grad_()
        y = encode(w, "", x, int(z["num_heads"]), causal)
        (y * tensor(z["cot"])).sum().backward()
        found |= {f"y_{name}": y.detach().numpy(), f"dx_{name}": x.grad.numpy()}
        found |= {f"g_{name}/{k}": v.grad.numpy() for k, v in w.items()}
    return found


def gate_expected(z: Arrays) -> Arrays:
    """Return the gate's outputs."""
    w = tensors(under(z, "w/"))
    names = [k.removeprefix("x_") for k in z if k.startswith("x_")]
    return {f"y_{k}": gate(w, "", tensor(z[f"x_{k}"])).numpy() for k in names}


def model_expected(z: Arrays) -> Arrays:
    """Return scores, features, losses and what each gradient comes to."""
    w = tensors(under(z, "w/"), True)
    out, last, h = forward(w, {m: tensor(z[f"x{m}"]) for m in LETTERS})
    error, divergence = (out - tensor(z["y"])).abs().mean(), apart(h)
    (error + divergence).backward()
    gradients = {
        k: np.zeros(v.shape) if v.grad is None else v.grad.numpy() for k, v in w.items()
    }
    return {
        "out": out.detach().numpy(),
        "last_h": last.detach().numpy(),
        **{f"h{i}": x.detach().numpy() for i, x in enumerate(h)},
        "l1": np.asarray(error.item()),
        "jsd": np.asarray(divergence.item()),
        "loss": np.asarray((error + divergence).item()),
        "grad_names": np.asarray(list(gradients)),
        "grad_norm": np.asarray([np.linalg.norm(g) for g in gradients.values()]),
        "grad_sum": np.asarray([g.sum() for g in gradients.values()]),
    }


def full_size_expected(z: Arrays) -> Arrays:
    """Return scores and features of networks whose weights follow from seeds."""
    found: Arrays = {}
    for which in dict.fromkeys(k.split("/")[0] for k in z if "/" in k):
        state: Arrays = {}
        names, shapes = z[f"{which}/param_names"], z[f"{which}/param_shapes"]
        for i, (name, text) in enumerate(zip(names, shapes, strict=True)):
            rng = np.random.RandomState(int(z["weight_seed_base"]) + i)
            shape = tuple(map(int, re.findall(r"\d+", str(text))))
            u = rng.uniform(-1, 1, shape)
            if len(shape) > 1:
                u = math.sqrt(3 / math.prod(shape[1:])) * u
            else:
                u = u / 5 + ("norm" in str(name) and str(name).endswith("weight"))
            state[str(name)] = u.astype(np.float32)
        inputs = {}
        for m, seed in zip(LETTERS, z["x_seeds"], strict=True):
            steps = state[f"temp_proj_{m}.weight"].shape[1]
            shape = (len(z[f"{which}/out"]), steps, state[f"proj_{m}.weight"].shape[1])
            x = np.random.RandomState(int(seed)).standard_normal(shape)
            inputs[m] = tensor(x.astype(np.float32))
        with torch.no_grad():
            out, last, h = forward(tensors(state), inputs)
        mine = {"out": out, "last_h": last, "jsd": apart(h)}
        mine |= {f"h{i}": x for i, x in enumerate(h)}
        found |= {f"{which}/{k}": v.numpy() for k, v in mine.items()}
        count = sum(v.size for v in state.values())
        found[f"{which}/n_params"] = np.asarray(count)
    return found


def divergence_expected(z: Arrays) -> Arrays:
    """Return the public loss of three, two and one sequence."""
    found = {}
    for scenario in dict.fromkeys(k.split("/")[0] for k in z):
        h = [tensor(z[f"{scenario}/h{i}"]) for i in range(3)]
        mine = {
            "three_default": apart(h),
            "three_softmax": apart(h, True),
            "two_default": apart(h[:2]),
            "one": apart(h[:1]),
            "pair_raw_01": pair(h[0], h[1], False),
            "pair_softmax_01": pair(h[0], h[1], True),
        }
        found |= {f"{scenario}/{k}": v.numpy() for k, v in mine.items()}
    return found
