"""Self-MM in PyTorch: what reference arrays expect, from their inputs.

Independent of msa_jax: modules, optimiser and derivatives are PyTorch's.

Source: Self-MM, Eq. 1 to 10 and Algorithm 1, with the readings of the public code
    (thuiar/Self-MM@1786283) that docs/fidelity.md lists.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn.utils.rnn import (  # pyright: ignore[reportMissingImports]
    pack_padded_sequence,
)

Arrays = dict[str, np.ndarray]
TASKS = ("fusion", "text", "audio", "vision")
NAMES = {"fusion": "fusion", "text": "text", "audio": "audio", "vision": "video"}
LETTERS = dict(zip(TASKS, "ftav", strict=True))
RATES = ("learning_rate", "weight_decay")
EPSILON = 1e-8
VOCABULARY, TEXT_WIDTH = 40, 24


def under(z: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    """Return the arrays whose key starts with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in z.items() if k.startswith(prefix)}


class LabelBook:
    """Labels, features and class centres of all training samples."""

    def __init__(self, label, widths: dict, high: float, exclude_zero: bool):
        """Start every label at the human one, features and centres at zero."""
        self.label = {t: label.clone() for t in TASKS}
        self.buffer = {t: torch.zeros(len(label), widths[t]) for t in TASKS}
        self.center = {t: [torch.zeros(widths[t])] * 2 for t in TASKS}
        self.high, self.exclude_zero = high, exclude_zero

    def losses(self, score: dict, rows) -> dict:
        """Return the four weighted L1 losses of a batch, by the stored labels."""
        human, out = self.label["fusion"][rows], {}
        for t in TASKS:
            label = self.label[t][rows]
            weight = torch.ones_like(label)
            if t != "fusion":
                weight = torch.tanh((label - human).abs())
            out[t] = (weight * (score[t] - label).abs()).mean()
        return out

    def alpha(self, t: str, feature):
        """Return how much nearer the positive centre a feature is (Eq. 3 to 5)."""
        positive, negative = (
            (feature - c).square().sum(-1).sqrt() for c in self.center[t]
        )
        return (negative - positive) / (positive + EPSILON)

    def visit(self, feature: dict, rows, epoch: int) -> None:
        """Relabel a batch (from epoch 2 on), store its features, move the centres."""
        if epoch > 1:
            human = self.label["fusion"][rows]
            fusion = self.alpha("fusion", feature["fusion"])
            for t in TASKS[1:]:
                own = self.alpha(t, feature[t])
                ratio = own / (fusion + EPSILON)
                new = 0.5 * ratio * human + 0.5 * (human + own - fusion)
                new = new.clamp(-self.high, self.high)
                keep, take = (epoch - 1) / (epoch + 1), 2 / (epoch + 1)
                self.label[t][rows] = keep * self.label[t][rows] + take * new
        for t in TASKS:
            self.buffer[t][rows] = feature[t]
            y = self.label[t]
            positive = y > 0 if self.exclude_zero else y >= 0
            members = (positive, y < 0)  # the mean of no rows is NaN
            self.center[t] = [self.buffer[t][m].mean(0) for m in members]


def ulgm_expected(z: Mapping[str, np.ndarray]) -> Arrays:
    """Replay the label bookkeeping of one scenario."""
    widths = {t: z[f"feat_{t}"].shape[-1] for t in TASKS}
    label = torch.tensor(z["labels_m"])
    book = LabelBook(label, widths, float(z["H"]), bool(z["exclude_zero"]))
    log: dict[str, list] = {}
    for s, epoch in enumerate(z["epoch"]):
        rows = torch.tensor(z["indexes"][s])
        rows = rows[rows >= 0]
        score = {t: torch.tensor(z[f"pred_{t}"][s])[: len(rows)] for t in TASKS}
        feature = {t: torch.tensor(z[f"feat_{t}"][s])[: len(rows)] for t in TASKS}
        for t, loss in book.losses(score, rows).items():
            log.setdefault(f"loss_{t}", []).append(loss)
        book.visit(feature, rows, int(epoch))
        _log_book(log, book)
    return {key: torch.stack(value).numpy() for key, value in log.items()}


def _log_book(log: dict[str, list], book: LabelBook) -> None:
    for t in TASKS:
        log.setdefault(f"label_{t}", []).append(book.label[t].clone())
        log.setdefault(f"center_{t}_pos", []).append(book.center[t][0])
        log.setdefault(f"center_{t}_neg", []).append(book.center[t][1])


class Recurrent(nn.Module):
    """LSTM over the valid steps, then a linear map of its last state."""

    def __init__(self, inputs: int, hidden: int, out: int):
        """Build with PyTorch's default initialisation."""
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, batch_first=True)
        self.linear_1 = nn.Linear(hidden, out)

    def forward(self, x, length):
        """Return the last valid state and its projection."""
        packed = pack_padded_sequence(x, length, batch_first=True, enforce_sorted=False)
        state = self.rnn(packed)[1][0][0]
        return state, self.linear_1(state)


class StubText(nn.Module):
    """Stand-in for BERT: embedding, linear map, LayerNorm."""

    def __init__(self):
        """Build with PyTorch's default initialisation."""
        super().__init__()
        self.emb = nn.Embedding(VOCABULARY, TEXT_WIDTH)
        self.proj = nn.Linear(TEXT_WIDTH, TEXT_WIDTH)
        self.LayerNorm = nn.LayerNorm(TEXT_WIDTH)

    def forward(self, tokens):
        """Encode every token, masked or not."""
        return self.LayerNorm(self.proj(self.emb(tokens)))


class SelfMM(nn.Module):
    """The network without dropout, with the public code's parameter names."""

    def __init__(self, inputs: dict, hidden: dict, out: dict, post: dict):
        """Build from widths by modality; `post` also has "fusion"."""
        super().__init__()
        self.text_model = StubText()
        a, v = "audio", "vision"
        self.audio_model = Recurrent(inputs[a], hidden[a], out[a])
        self.video_model = Recurrent(inputs[v], hidden[v], out[v])
        width = {"text": TEXT_WIDTH, a: out[a], v: out[v]}
        width["fusion"] = sum(width.values())
        for t in TASKS:
            sizes = (width[t], post[t], post[t], 1)
            for i in (1, 2, 3):
                layer = nn.Linear(sizes[i - 1], sizes[i])
                setattr(self, f"post_{NAMES[t]}_layer_{i}", layer)

    def forward(self, text, audio, audio_length, vision, vision_length):
        """Return scores [b], features and what lies between, by name."""
        hidden = self.text_model(text[:, 0].long())
        audio_state, audio = self.audio_model(audio, audio_length)
        vision_state, vision = self.video_model(vision, vision_length)
        inputs = {"text": hidden[:, 0], "audio": audio, "vision": vision}
        inputs["fusion"] = torch.cat(list(inputs.values()), -1)
        score, feature = {}, {}
        for t in TASKS:
            one, two, three = (
                getattr(self, f"post_{NAMES[t]}_layer_{i}") for i in (1, 2, 3)
            )
            feature[t] = torch.relu(one(inputs[t]))
            score[t] = three(torch.relu(two(feature[t])))[:, 0]
        between = {
            "text_hidden": hidden,
            "audio_lstm_h": audio_state,
            "vision_lstm_h": vision_state,
            "audio_sub": audio,
            "vision_sub": vision,
        }
        return score, feature, between


def build(weights: Mapping[str, np.ndarray]) -> SelfMM:
    """Build the network that a state dict belongs to, in float64, and load it."""
    shape = {name: value.shape for name, value in weights.items()}
    inputs, hidden, out = {}, {}, {}
    for t in ("audio", "vision"):
        gates = shape[f"{NAMES[t]}_model.rnn.weight_ih_l0"]
        inputs[t], hidden[t] = gates[1], gates[0] // 4
        out[t] = shape[f"{NAMES[t]}_model.linear_1.bias"][0]
    post = {t: shape[f"post_{NAMES[t]}_layer_1.bias"][0] for t in TASKS}
    model = SelfMM(inputs, hidden, out, post)
    state = {k: torch.tensor(v, dtype=torch.float64) for k, v in weights.items()}
    model.load_state_dict(state)
    return model


def forward_expected(z: Mapping[str, np.ndarray]) -> Arrays:
    """Run the model once: outputs, losses and their sum's gradient."""
    model = build(under(z, "w/"))
    x = [torch.tensor(z[k]).double() for k in ("text_bert", "audio", "vision")]
    lengths = [torch.tensor(z[f"{t}_lengths"]) for t in ("audio", "vision")]
    score, feature, out = model(x[0], x[1], lengths[0], x[2], lengths[1])
    labels = {t: torch.tensor(z[f"label_{t}"]) for t in TASKS}
    book = LabelBook(labels["fusion"], dict.fromkeys(TASKS, 1), 3.0, False)
    book.label = labels
    losses = book.losses(score, torch.arange(len(x[0])))
    out["loss"] = torch.stack(list(losses.values())).sum()
    out["loss"].backward()
    for t, head in zip(TASKS, "MTAV", strict=True):
        out |= {f"Feature_{LETTERS[t]}": feature[t], f"out_{head}": score[t][:, None]}
        out[f"loss_{t}"] = losses[t]
    arrays = {key: value.detach().numpy() for key, value in out.items()}
    for name, value in model.named_parameters():
        arrays[f"grad/{name}"] = value.grad.numpy().astype(np.float32)
    return arrays


def training_expected(z: Mapping[str, np.ndarray], exclude_zero: bool) -> Arrays:
    """Train: groups of summed gradients, one Adam per group, labels in every batch."""
    model, hp = build(under(z, "w_init/Model.")), under(z, "hp/")
    optimizer = torch.optim.Adam(_groups(model, hp))
    x, y = _split(z, "train")
    book = LabelBook(
        y,
        {t: getattr(model, f"post_{NAMES[t]}_layer_1").out_features for t in TASKS},
        float(hp["H"]),
        exclude_zero,
    )
    size, group = int(hp["batch_size"]), int(hp["update_epochs"])
    log: dict[str, list] = {}
    epochs = len(z["orders"]) - 1
    for epoch in range(1, epochs + 1):
        optimizer.zero_grad()  # also discards the last epoch's incomplete group
        order = torch.tensor(z["orders"][epoch])
        for count, rows in enumerate(order.split(size), start=1):
            score, feature, _ = model(*(part[rows] for part in x))
            losses = book.losses(score, rows)
            sum(losses.values()).backward()  # pyright: ignore
            for t in TASKS:
                log.setdefault(f"loss_{t}", []).append(losses[t].detach())
            book.visit({t: f.detach() for t, f in feature.items()}, rows, epoch)
            if count % group == 0:
                optimizer.step()
                optimizer.zero_grad()
        _log_book(log, book)
        log.setdefault("val_loss", []).append(_validate(model, z, size))
        if epoch in (2, epochs):
            for name, value in model.named_parameters():
                after = log.setdefault(f"w_after/Model.{name}", [])
                after.append(value.detach().clone())
    return {key: torch.stack(value).numpy() for key, value in log.items()}


@torch.no_grad()
def _validate(model: SelfMM, z: Mapping[str, np.ndarray], size: int):
    x, y = _split(z, "valid")
    means = [
        (model(*(part[rows] for part in x))[0]["fusion"] - y[rows]).abs().mean()
        for rows in torch.arange(len(y)).split(size)
    ]
    return torch.stack(means).mean()


def _groups(model: SelfMM, hp: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    groups: dict[str, list] = {}
    for name, value in model.named_parameters():
        part = name.split("_model.")[0] if "_model." in name else "other"
        if part == "text":
            part = "spared" if "bias" in name or "LayerNorm" in name else "bert"
        groups.setdefault(part, []).append(value)
    spared = {"params": groups.pop("spared"), "weight_decay": 0.0}
    made = [spared | {"lr": float(hp["learning_rate_bert"])}]
    for part, values in groups.items():
        rate, decay = (float(hp[f"{k}_{part}"]) for k in RATES)
        made.append({"params": values, "lr": rate, "weight_decay": decay})
    return made


def _split(z: Mapping[str, np.ndarray], name: str) -> tuple[list, Any]:
    part = under(z, f"{name}/")
    keys = ("text", "audio", "al", "vision", "vl", "y")
    *x, y = (torch.tensor(part[k]) for k in keys)
    return [v.double() if v.is_floating_point() else v for v in x], y.double()
