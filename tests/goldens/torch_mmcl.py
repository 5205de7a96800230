"""MMCL's layers out of stock torch layers, and the losses it cites, in float64.

Independent of msa_jax. Weights come and go under PyTorch's names.
"""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]
from torch.nn.utils import rnn  # pyright: ignore[reportMissingImports]

Arrays = dict[str, np.ndarray]
KERNELS = (10, 8, 4, 4, 4)
STRIDES = (5, 4, 2, 2, 2)
CPC_PADDING = (3, 2, 1, 1, 1)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float64)


def _loaded(module: nn.Module, z: Arrays) -> nn.Module:
    state = {k[2:]: _tensor(v) for k, v in z.items() if k.startswith("w/")}
    module.double().load_state_dict(state)
    return module.eval()


def _arrays(**tensors: torch.Tensor) -> Arrays:
    return {k: v.detach().numpy() for k, v in tensors.items()}


def bidirectional(z: Arrays) -> Arrays:
    """Run both directions over packed sequences, and over whole ones."""
    x = _tensor(z["x"])
    hidden = z["w/weight_hh_l0"].shape[1]
    lstm = nn.LSTM(x.shape[2], hidden, batch_first=True, bidirectional=True)
    _loaded(lstm, z)
    lengths = torch.tensor(z["lengths"])
    packed = rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
    run, (h, c) = lstm(packed)
    out, _ = rnn.pad_packed_sequence(run, True, total_length=x.shape[1])
    return _arrays(out_unpacked=lstm(x)[0], out_packed=out, h_packed=h, c_packed=c)


def one_direction(z: Arrays) -> Arrays:
    """Run one direction over whole sequences."""
    x, hidden = _tensor(z["x"]), z["w/weight_hh_l0"].shape[1]
    lstm = _loaded(nn.LSTM(x.shape[2], hidden, batch_first=True), z)
    out, (h, c) = lstm(x)
    return _arrays(out=out, h=h, c=c)


def encoder_module(width: int, heads: int, layers: int, ff: int) -> nn.Module:
    """Build a post-LN encoder with ReLU, without a norm at its end."""
    layer = nn.TransformerEncoderLayer(width, heads, ff, 0.0, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def encoder(z: Arrays) -> Arrays:
    """Encode with and without the padding mask, by the plain path only."""
    sizes = (int(z[k]) for k in ("d_model", "heads", "layers", "ff"))
    module, x = _loaded(encoder_module(*sizes), z), _tensor(z["x"])
    mask = torch.tensor(z["pad_mask"])
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        masked = module(x, src_key_padding_mask=mask)
        return _arrays(out_nomask=module(x), out_mask=masked)


class Convolutions(nn.Module):
    """The five strided convolutions, each followed by tanh."""

    def __init__(self, inputs: int, channels: int, pads: tuple[int, ...]):
        super().__init__()
        widths = (inputs, *[channels] * 4)
        sizes = zip(widths, KERNELS, STRIDES, pads, strict=True)
        self.c = nn.ModuleList(nn.Conv1d(n, channels, *size) for n, *size in sizes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """Return the last layer's output and every layer's steps."""
        steps = []
        for convolve in self.c:
            x = torch.tanh(convolve(x))
            steps.append(x.shape[2])
        return x, np.asarray(steps)


def convolutions(z: Arrays) -> Arrays:
    """Convolve with CPC's padding and with none."""
    x, found = _tensor(z["x"]), {}
    for name, pads in (("cpcpad", CPC_PADDING), ("valid", (0,) * 5)):
        module = Convolutions(x.shape[1], z["w/c.0.bias"].shape[0], pads)
        out, steps = _loaded(module, z)(x)
        found |= _arrays(**{f"out_{name}": out}) | {f"lens_{name}": steps}
    sizes = {"kernels": KERNELS, "strides": STRIDES, "pads": CPC_PADDING}
    return found | {k: np.asarray(v) for k, v in sizes.items()}


def align_uniform(z: Arrays) -> Arrays:
    """Wang and Isola's two losses, and autograd's gradients of their sum."""
    x, y = (_tensor(z[k]).requires_grad_() for k in "xy")

    def align(power: float) -> torch.Tensor:
        return torch.linalg.vector_norm(x - y, dim=1).pow(power).mean()

    def uniform(a: torch.Tensor, t: float) -> torch.Tensor:
        return torch.pdist(a).pow(2).mul(-t).exp().mean().log()

    combined = align(2) + (uniform(x, 2) + uniform(y, 2)) / 2
    combined.backward()
    assert x.grad is not None and y.grad is not None
    named = {"x": x, "y": y}
    return _arrays(
        **{f"align_{power}": align(power) for power in (1, 2)},
        **{f"uniform_{k}_t{t}": uniform(named[k], t) for k in named for t in (1, 2)},
        combo_align2_plus_mean_uniform_t2=combined,
        dcombo_dx=x.grad,
        dcombo_dy=y.grad,
    )


def cpc(z: Arrays) -> Arrays:
    """MMIM's contrast: cross-entropy of x against the in-batch predictions from y."""
    x, y, kernel, bias = (_tensor(z[k]) for k in ("x", "y", "W", "b"))
    predicted = functional.normalize(functional.linear(y, kernel, bias))
    scores = functional.normalize(x) @ predicted.T
    return _arrays(nce=functional.cross_entropy(scores, torch.arange(len(x))))
