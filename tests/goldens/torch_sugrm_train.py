"""SUGRM's whole training in PyTorch: what reference arrays expect, from their inputs.

Independent of msa_jax, like torch_sugrm.py; labels are those of make_sugrm_labels.py,
one sample at a time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from make_sugrm_labels import Book
from torch_self_mm import Arrays, under
from torch_sugrm import TASKS, State, losses, sugrm, tensors


def training_expected(z: Mapping[str, np.ndarray]) -> Arrays:
    """Train: groups of summed gradients, one Adam per group, labels in every batch."""
    w, hp = tensors(under(z, "w_init/Model.")), under(z, "hp/")
    heads, size = int(hp["num_heads"]), int(hp["batch_size"])
    optimizer = torch.optim.Adam(_groups(w, hp))
    x, y = _split(z, "train")
    settings = {
        "labels_m": y.numpy(),
        "H": hp["H"],
        "exclude_zero": np.asarray(False),
        "init_order": z["orders"][0],
        "init_batch_size": hp["batch_size"],
    }
    book = Book(settings, len(w["proj1_f.bias"]))
    log: dict[str, list] = {}
    epochs = len(z["orders"]) - 1
    for epoch in range(1, epochs + 1):
        optimizer.zero_grad()  # also discards the last epoch's incomplete group
        order = torch.tensor(z["orders"][epoch])
        for count, rows in enumerate(order.split(size), start=1):
            score, feature, _ = sugrm(w, [part[rows] for part in x], heads)
            label = {t: torch.tensor(v) for t, v in book.label.items()}
            loss = losses(label, score, rows)
            sum(loss.values()).backward()  # pyright: ignore
            for t in TASKS:
                log.setdefault(f"loss_{t}", []).append(loss[t].detach().numpy())
            seen = {t: f.detach().numpy() for t, f in feature.items()}
            book.visit(seen, rows.numpy(), epoch)
            if count % int(hp["update_epochs"]) == 0:
                optimizer.step()
                optimizer.zero_grad()
        for t in TASKS:
            log.setdefault(f"label_{t}", []).append(book.label[t].copy())
        for name, center in zip(("pos", "neg"), book.center, strict=True):
            log.setdefault(f"center_{name}", []).append(center)
        log.setdefault("val_loss", []).append(_validate(w, z, size, heads))
        if epoch in (2, epochs):
            for name, value in w.items():
                after = log.setdefault(f"w_after/Model.{name}", [])
                after.append(value.detach().numpy().copy())
    lists = {f"feat_{k}_index_list": np.asarray(v) for k, v in book.lists.items()}
    return {key: np.asarray(value) for key, value in log.items()} | lists


def near_fusion(z: Mapping[str, np.ndarray], spread: float) -> Arrays:
    """Return initial weights at which labels move by less than the label range.

    Fusion features are drawn apart, each modality's are put amid them.
    """
    prefix = "w_init/Model."
    state = under(z, prefix)
    w, x = tensors(state), _split(z, "train")[0]
    w["proj2_f.weight"].data *= spread
    with torch.no_grad():
        feature = sugrm(w, x, int(z["hp/num_heads"]))[1]
        for t, m in (("text", "t"), ("audio", "a"), ("vision", "v")):
            apart = feature["fusion"].mean(0) - feature[t].mean(0)
            w[f"proj2_{m}.bias"] += apart
    return {
        prefix + name: value.detach().numpy().astype(np.float32)
        for name, value in w.items()
    }


@torch.no_grad()
def _validate(w: State, z: Mapping[str, np.ndarray], size: int, heads: int):
    x, y = _split(z, "valid")
    means = []
    for rows in torch.arange(len(y)).split(size):
        score = sugrm(w, [part[rows] for part in x], heads)[0]["fusion"]
        means.append((score - y[rows]).abs().mean())
    return torch.stack(means).mean().numpy()


def _groups(w: State, hp: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    groups: dict[str, list] = {k: [] for k in ("bert", "spared", "spt", "other")}
    for name, value in w.items():
        part = "spt" if name.startswith("spe.") else "other"
        if name.startswith("text_model."):
            part = "spared" if "bias" in name or "LayerNorm" in name else "bert"
        groups[part].append(value)
    rate = {k: float(hp[f"learning_rate_{k}"]) for k in ("bert", "spt", "other")}
    decay = {k: float(hp[f"weight_decay_{k}"]) for k in ("bert", "other")}
    # SPT's group takes the decay that its configuration names for text.
    decay["spt"] = float(hp["weight_decay_text"])
    rate["spared"], decay["spared"] = rate["bert"], 0.0
    return [
        {"params": values, "lr": rate[k], "weight_decay": decay[k]}
        for k, values in groups.items()
    ]


def _split(z: Mapping[str, np.ndarray], name: str) -> tuple[list, Any]:
    x = [torch.tensor(z[f"{name}/{k}"]).double() for k in ("text", "audio", "vision")]
    return x, torch.tensor(z[f"{name}/y"]).double()
