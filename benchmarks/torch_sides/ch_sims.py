"""Training steps of MLF-DNN, MTFN and MLMF in PyTorch, as MMSA runs them.

The multimodal label stands for the unimodal ones, as in what is timed.

Source: CH-SIMS, section 4; MMSA a94e65d, the names of its parameters.
"""

from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from benchmarks.torch_sides import lf_dnn, lmf
from benchmarks.torch_sides.formulation import (
    ORIGINAL,
    Formulation,
    grouped,
    nothing,
    state,
)
from benchmarks.torch_sides.tfn import Tfn
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Method, PyTree
from msa_jax.studies.bench.shapes import Shape

_NETS = {"mlf_dnn": lf_dnn.LfDnn, "mtfn": Tfn, "mlmf": lmf.Lmf}


def written(config: Any) -> dict[str, Any]:
    """Return which values are computed; see `formulation`."""
    one = lmf if config.method == "mlmf" else lf_dnn
    return one.written(config) | {"heads.train_heads": True}


def formulations(
    config: Any, method: Method, params: PyTree, shape: Shape, label: np.ndarray
) -> dict[str, Formulation]:
    """Return it with our parameters; see `formulation`."""
    from msa_jax.methods import PAPERS
    from msa_jax.methods.torch_names import to_torch

    del method
    network = FourTasks(_NETS[config.method](config.model, shape.widths), config.heads)
    names: Any = PAPERS[config.method].torch
    network.net.load_state_dict(state(to_torch(names, params)))
    truth, weights = torch.from_numpy(label), config.loss

    def loss(x):
        scores, wanted = network.all(x), truth[x["index"]]
        means = {t: (score - wanted).abs().mean() for t, score in scores.items()}
        return sum(weights[f"{t}_weight"] * each for t, each in means.items()), nothing

    return {ORIGINAL: grouped(network, config, loss)}


class FourTasks(nn.Module):
    """A network of one vector a modality, and a head on each of these vectors."""

    def __init__(self, net: Any, heads: Any):
        """Build around a network from `config.heads`."""
        super().__init__()
        self.net = net
        for m in MODALITIES:
            width, rate = heads[f"{m}_head"], heads[f"{m}_head_dropout"]
            net.add_head(m.replace("vision", "video"), net.sizes[m], width, rate)

    def forward(self, x):
        """Return fusion's scores [b]."""
        return self.all(x)["fusion"]

    def all(self, x) -> dict[str, Any]:
        """Return the scores of all four targets."""
        vector = self.net.vectors(x)
        heads = {m: (m.replace("vision", "video"), vector[m]) for m in MODALITIES}
        scores = {m: self.net.head(*given) for m, given in heads.items()}
        return {"fusion": self.net.fused(vector), **scores}

    def groups(self) -> dict[str, list]:
        """Return the parameters by optimiser group."""
        found: dict[str, list] = {}
        nets = {"text": "text", "audio": "audio", "video": "vision"}
        for name, p in self.net.named_parameters():
            group = "other"
            if name.endswith("_factor"):
                group = "factor"
            elif "_subnet." in name:
                group = nets[name.split("_")[0]]
            if not name.startswith("fusion_"):  # the ranks' weights are in none
                found.setdefault(group, []).append(p)
        return found
