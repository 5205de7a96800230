"""SPT and SUGRM in PyTorch: what reference arrays expect, from their inputs.

Independent of msa_jax: plain functions of a state dict with the public code's names;
derivatives and the optimiser are PyTorch's. Modalities go by their letters there.

Source: SUGRM, sections 3.1 to 3.3, and SP-Transformer, with the readings of their
    public code (skystarhyw/SUGRM@04e6ebc) that docs/fidelity.md lists.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch_self_mm import LETTERS, Arrays, under

State = dict[str, Any]
TASKS = ("fusion", "text", "audio", "vision")
NAMES = {"t": "text", "a": "audio", "v": "vision"}
STARTS = "atv"  # rows of the start states
PAIRS = ("at", "tv", "va")
ROUNDS, STRIDE = 4, 5
# stride and window of input, cross and self attention
WINDOWS = {"IA": (STRIDE, 17), "CA": (1, 9), "SA": (1, 7)}
# Letters of the three; the shift of round l is the sum over S: A l, P: trunc(steps
# sin(B i)) for query i, R: drawn from ceil(G steps / hidden steps) values.
MODES = {
    "default": (("", "S", "S"), (1, 0.25, 0.05)),
    "IS": (("S", "S", "S"), (1, 0.25, 0.05)),
    "ISP": (("SP", "S", "S"), (1, 0.25, 0.05)),
    "ISPR": (("SPR", "S", "S"), (1, 0.25, 0.5)),
    "allSP": (("SP", "SP", "SP"), (2, 0.25, 0.05)),
    "none": (("", "", ""), (1, 0.25, 0.05)),
}
DENSE = ("default_dense", "ISP_dense")


def indices(kind: str, queries: int, keys: int, shift: Any = 0) -> np.ndarray:
    """Return the sampled keys, [queries, window]; `shift` one number or per query."""
    stride, width = WINDOWS[kind]
    last = (np.arange(queries) + 1) * stride - 1 + shift
    return (last[:, None] - np.arange(width)[::-1]) % keys


def hidden_mask(kind: str, queries: int, keys: int) -> np.ndarray:
    """Return which keys the dense reading hides, [queries, keys]."""
    hidden = np.ones((queries, keys), bool)
    for query, seen in enumerate(indices(kind, queries, keys)):
        hidden[query, seen] = False
    return hidden


def phase(steps: int, queries: int, rate: float = 0.25) -> np.ndarray:
    """Return letter P's shifts."""
    return np.trunc(steps * np.sin(rate * np.arange(queries))).astype(np.int64)


def random_limit(steps: Mapping[str, int], m: str, share: float) -> int:
    """Return how many values letter R has; vision's divisor is the text's length."""
    divisor = _hidden(steps["t" if m == "v" else m])
    return math.ceil(share * steps[m] / divisor)


def _hidden(steps: int) -> int:
    return math.ceil(steps / STRIDE)


def position_table(rows: int, width: int):
    """Return sines, then cosines, of the step; row 0 is for padding: zeros."""
    half = width // 2
    rate = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    angle = torch.arange(rows)[:, None] * rate
    table = torch.cat([angle.sin(), angle.cos()], 1)
    table = F.pad(table, (0, width - 2 * half))
    table[0] = 0
    return table


def _coded(x):
    table = position_table(x.shape[1] + 1, x.shape[2])
    step = torch.arange(1, x.shape[1] + 1) * (x[:, :, 0] != 0)
    return x + table[step]


def _linear(w: State, name: str, x):
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(w: State, name: str, x):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def _attention(w: State, name: str, query, entries, mask, heads: int, swapped: bool):
    """Attend from [q, b, e] to [w, q, b, d]; with a mask [q, k], to all of [k, b, d].

    The stacked matrix [e + 2 d, e] is query, key and value if d = e; if not, its rows
    below e, read as [d, 2 e], are the transposed maps to keys and values.
    """
    stacked, biases = w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]
    e, d = query.shape[-1], entries.shape[-1]
    if d == e:
        maps = list(stacked.split(e))
    else:
        maps = [stacked[:e], *stacked[e:].reshape(d, 2 * e).t().split(e)]
    b = list(biases.split(e))
    if swapped:
        maps, b = [maps[1], maps[0], maps[2]], [b[1], b[0], b[2]]
    q = F.linear(query, maps[0], b[0]) * (e // heads) ** -0.5
    k, v = (F.linear(entries, m, c) for m, c in zip(maps[1:], b[1:], strict=True))
    q, k, v = (x.unflatten(-1, (heads, e // heads)) for x in (q, k, v))
    if mask is None:
        score = torch.einsum("qbhe,wqbhe->wqbh", q, k)
    else:
        score = torch.einsum("qbhe,kbhe->kqbh", q, k)
        hide = torch.tensor(mask.T)[:, :, None, None]
        score = score.masked_fill(hide, -torch.inf)
    weight = score.float().softmax(0).type_as(score)  # float32, as in the public code
    form = "wqbh,wqbhe->qbhe" if mask is None else "kqbh,kbhe->qbhe"
    return _linear(w, f"{name}.out_proj", torch.einsum(form, weight, v).flatten(2))


def _block(w: State, name: str, state, context, sampled, heads, swapped=False):
    """Attention and feed-forward, each with its norm and residual.

    Args:
        w: state dict.
        name: of the block, with a place for mha or ffn.
        state: queries before their norm.
        context: keys before theirs; None: the normed queries, without a second norm.
        sampled: indices or, for the dense reading, a mask.
        heads: of the attention.
        swapped: whether query and key map change roles.
    """
    mha, ffn = name.format("mha"), name.format("ffn")
    query = _norm(w, f"{mha}.layer_norm", state)
    dense = sampled.dtype == bool
    entries = query if context is None else context
    entries = entries if dense else entries[torch.tensor(sampled.T)]
    if context is not None:
        entries = _norm(w, f"{mha}.layer_norm_kv", entries)
    mask = sampled if dense else None
    state = state + _attention(w, f"{mha}.attn", query, entries, mask, heads, swapped)
    inner = _linear(w, f"{ffn}.fc1", _norm(w, f"{ffn}.layer_norm", state)).relu()
    return state + _linear(w, f"{ffn}.fc2", inner)


def encoder(
    w: State,
    inputs: Mapping[str, Any],
    heads: int,
    mode: str = "default",
    drawn: Mapping[str, np.ndarray] | None = None,
    log: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the states [steps, b, e] by letter from inputs [b, steps, d].

    Args:
        w: state dict; names start with spe.
        inputs: by letter.
        heads: of all attentions.
        mode: one of MODES or DENSE.
        drawn: letter R's values by "round_letter".
        log: takes the states after every sub-layer.
    """
    letters, (per_round, rate, _) = MODES[mode.removesuffix("_dense")]
    steps = {m: x.shape[1] for m, x in inputs.items()}
    hidden = {m: _hidden(n) for m, n in steps.items()}
    start = w["spe.init_hiddens"]
    root = math.sqrt(start.shape[1])
    context = {m: _coded(root * x).transpose(0, 1) for m, x in inputs.items()}
    states = {}
    for row, m in enumerate(STARTS):
        same = start[row].expand(inputs[m].shape[0], hidden[m], -1)
        states[m] = _coded(root * same).transpose(0, 1)

    def sampled(kind: str, query: str, keys: int, layer: int) -> np.ndarray:
        if mode.endswith("_dense"):
            return hidden_mask(kind, hidden[query], keys)
        active = letters[("IA", "CA", "SA").index(kind)]
        shift = np.zeros(hidden[query], np.int64)
        if "S" in active:
            shift = shift + per_round * layer
        if "P" in active:
            shift = shift + phase(steps[query], hidden[query], rate)
        if "R" in active:
            assert drawn is not None
            shift = shift + drawn[f"{layer}_{query}"]
        return indices(kind, hidden[query], keys, shift)

    def note(kind: str, layer: int) -> None:
        if log is not None:
            log.update({f"layer{layer}/{kind}_{m}": x for m, x in states.items()})

    for layer in range(ROUNDS):
        for m in STARTS:
            name, at = f"spe.hiddenlayer.{{}}_{m}", sampled("IA", m, steps[m], layer)
            states[m] = _block(w, name, states[m], context[m], at, heads)
        note("IA", layer)
        parts = {m: [] for m in STARTS}
        for pair in PAIRS:
            for query, key in (pair, pair[::-1]):
                at = sampled("CA", query, hidden[key], layer)
                name, swapped = f"spe.crosslayer.{{}}_{pair}", query != pair[0]
                args = (w, name, states[query], states[key], at, heads, swapped)
                parts[query].append(_block(*args))
        states = {m: one + two for m, (one, two) in parts.items()}
        note("CA", layer)
        for m in STARTS:
            name, at = f"spe.selflayer.{{}}_{m}", sampled("SA", m, hidden[m], layer)
            states[m] = _block(w, name, states[m], None, at, heads)
        note("SA", layer)
    return {m: _norm(w, "spe.layer_norm", x) for m, x in states.items()}


def spt_expected(z: Mapping[str, np.ndarray]) -> Arrays:
    """Run the encoder and the standalone head in every mode; gradients of one."""
    w, heads = tensors(under(z, "w/")), int(z.get("heads", 2))
    out: State = {}
    for data in ("aligned", "unaligned"):
        inputs = {m: torch.tensor(z[f"{data}/{m}"]).double() for m in "tav"}
        for mode in (*MODES, *DENSE):
            log: State = {}
            drawn = under(z, f"{data}/{mode}/randint/")
            states = encoder(w, inputs, heads, mode, drawn, log)
            made = {f"h_{m}": x for m, x in states.items()}
            last = torch.cat([states[m][-1] for m in "tav"], -1)
            inner = _linear(w, "proj2", _linear(w, "proj1", last).relu())
            if mode != "ISPR":
                score = _linear(w, "out_layer", last + inner)
                made |= {"out": score, "last_hs": last}
            if (data, mode) == ("unaligned", "default"):
                made |= {key: x.detach().float() for key, x in log.items()}
                made["grad_loss"] = made["out"].mean() + last.square().mean()
                made["grad_loss"].backward()
            out |= {f"{data}/{mode}/{key}": x for key, x in made.items()}
    arrays = {key: x.detach().numpy() for key, x in out.items()}
    without = [name for name, x in w.items() if x.grad is None]
    arrays["params_without_gradient"] = np.asarray(without)
    return arrays | _gradients(w, "unaligned/default/grad/") | _tables(z)


def _tables(z: Mapping[str, np.ndarray]) -> Arrays:
    """Position tables of the widths in `z`; keys at MOSI's unaligned lengths."""
    out = {}
    for key in (k for k in z if k.startswith("posemb/")):
        rows, width = z[key].shape
        out[key] = position_table(rows, width).numpy().astype(np.float32)
    steps = {"t": 50, "a": 375, "v": 500}
    hidden = {m: _hidden(n) for m, n in steps.items()}
    for m, n in steps.items():
        out[f"idx/IA_{m}{n}_shift0"] = indices("IA", hidden[m], n)
    for shift in (0, 3):
        for pair in ("at", "ta", "tv", "vt", "va", "av"):
            at = indices("CA", hidden[pair[0]], hidden[pair[1]], shift)
            out[f"idx/CA_{pair}_shift{shift}"] = at
        for m, n in hidden.items():
            out[f"idx/SA_{m}_shift{shift}"] = indices("SA", n, n, shift)
    out["idx/phase_a375"] = shifts = phase(375, 75)
    out["idx/IA_a375_phase_shift_layer2"] = indices("IA", 75, 375, 2 + shifts)
    masks = {"IA_t50": ("IA", 10, 50), "CA_at": ("CA", 75, 10)}
    return out | {f"mask/{key}": hidden_mask(*args) for key, args in masks.items()}


def recalibrate(w: State, x: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Weigh all features [b, t, d] by the means over all steps, padding included."""
    means = torch.cat([x[m].mean(1) for m in "avt"], -1)
    signal = _linear(w, f"{prefix}wg", means).relu()
    maps = {"a": "wa", "v": "wv", "t": "wl"}
    scale = {m: 2 * _linear(w, prefix + n, signal).sigmoid() for m, n in maps.items()}
    return {m: x[m] * scale[m][:, None] for m in "tav"}


def mrm_expected(z: Mapping[str, np.ndarray]) -> Arrays:
    """Run the recalibration alone; gradients of the outputs' mean squares."""
    w = tensors(under(z, "w/"))
    x = {m: torch.tensor(z[f"in_{n}"]).double() for m, n in NAMES.items()}
    made = recalibrate(w, {m: v.requires_grad_() for m, v in x.items()}, "")
    loss = torch.stack([v.square().mean() for v in made.values()]).sum()
    loss.backward()
    out = {"loss": loss.detach().numpy()}
    for m, n in NAMES.items():
        out |= {f"out_{n}": made[m].detach().numpy(), f"grad_in_{n}": x[m].grad.numpy()}
    return out | {f"grad/{name}": x.grad.numpy() for name, x in w.items()}


def sugrm(w: State, x: list, heads: int):
    """Return scores [b] and features by target, and what lies between.

    Args:
        w: state dict.
        x: tokens, audio, vision.
        heads: of all attentions.
    """
    text, audio, vision = x
    hidden = F.embedding(text[:, 0].long(), w["text_model.emb.weight"])
    hidden = _linear(w, "text_model.proj", hidden)
    hidden = _norm(w, "text_model.LayerNorm", hidden)
    made = recalibrate(w, {"t": hidden, "a": audio, "v": vision}, "se_model.")
    states = encoder(w, made, heads)
    last = {m: x[-1] for m, x in states.items()}
    last["f"] = torch.cat([last[m] for m in "tav"], -1)
    score, feature = {}, {}
    for t in TASKS:
        m = LETTERS[t]
        inner = _linear(w, f"proj1_{m}", last[m]).relu()
        feature[t] = _linear(w, f"proj2_{m}", inner)
        score[t] = _linear(w, f"out_layer_{m}", feature[t])[:, 0]
    between = {"text_hidden": hidden}
    between |= {f"mrm_{NAMES[m]}": x for m, x in made.items()}
    return score, feature, between | {f"h_{m}": x for m, x in states.items()}


def forward_expected(z: Mapping[str, np.ndarray]) -> Arrays:
    """Run the model on both sets of inputs; gradients of the unaligned loss."""
    w, heads, arrays = tensors(under(z, "w/")), int(z.get("heads", 4)), {}
    for data in ("aligned", "unaligned"):
        part = under(z, f"{data}/")
        keys = ("text_bert", "audio", "vision")
        x = [torch.tensor(part[k]).double() for k in keys]
        score, feature, out = sugrm(w, x, heads)
        labels = {t: torch.tensor(part[f"label_{t}"]) for t in TASKS}
        loss = losses(labels, score, torch.arange(len(x[0])))
        out["loss"] = torch.stack(list(loss.values())).sum()
        for t, head in zip(TASKS, "MTAV", strict=True):
            out |= {f"out_{head}": score[t][:, None], f"loss_{t}": loss[t]}
            out[f"Feature_{LETTERS[t]}"] = feature[t]
        if data == "unaligned":
            out["loss"].backward()
        arrays |= {f"{data}/{k}": v.detach().numpy() for k, v in out.items()}
    return arrays | _gradients(w, "unaligned/grad/")


def losses(labels: Mapping[str, Any], score: Mapping[str, Any], rows) -> State:
    """Return the weighted L1 losses of a batch."""
    out = {}
    for t in TASKS:
        label = labels[t][rows]
        weight = torch.ones_like(label)
        if t != "fusion":
            weight = torch.tanh((label - labels["fusion"][rows]).abs())
        out[t] = (weight * (score[t] - label).abs()).mean()
    return out


def tensors(weights: Mapping[str, np.ndarray]) -> State:
    """Return a state dict in float64, ready for gradients."""
    made = {k: torch.tensor(v, dtype=torch.float64) for k, v in weights.items()}
    return {k: v.requires_grad_() for k, v in made.items()}


def _gradients(w: State, prefix: str) -> Arrays:
    found = {name: x.grad for name, x in w.items() if x.grad is not None}
    return {f"{prefix}{n}": g.numpy().astype(np.float32) for n, g in found.items()}
