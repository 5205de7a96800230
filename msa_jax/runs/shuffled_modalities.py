"""Does a trained network use a modality? Test once more, with other samples' one.

Every test sample gets audio and vision of another one, features and lengths together,
and is answered again by the selected parameters. What a metric loses by that is what
the network takes from them; no loss: it answers from text alone. Test is read after
selection, and nothing is chosen by it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from msa_jax.config import reads
from msa_jax.data.batches import count, cut, gather, in_order
from msa_jax.data.sealed_test import Sealed
from msa_jax.evaluation import metrics
from msa_jax.evaluation.statistics import summarise
from msa_jax.ground import hosts
from msa_jax.ground.types import Method, Split
from msa_jax.methods import network
from msa_jax.training import seed_axis, train
from msa_jax.training.train_state import (
    Devices,
    lying,
    split_sharding,
    state_sharding,
)

DRAWS = 5
SHUFFLED = " shuffled across test samples"
AUDIO_VISION = f"audio and vision{SHUFFLED}"
AUDIO, VISION, TEXT = (f"{m}{SHUFFLED}" for m in ("audio", "vision", "text"))


class Answers(NamedTuple):
    """What the selected parameters answer to test.

    own: to test as it is, by the program that answers the others: a network that does
        not read a modality gives the same to the bit; [s, n] or [s, n, outputs].
    shuffled: name of the control -> [s, draws, n] or [s, draws, n, outputs].
    """

    own: np.ndarray
    shuffled: dict[str, np.ndarray]


def partners(n: int, draw: int) -> np.ndarray:
    """Give every one of n samples another one, [n]: a random cycle through all.

    Nobody keeps its own, unless it is alone. A pure function: `RandomState` draws the
    same in every version of NumPy.
    """
    order = np.random.RandomState(draw).permutation(n)
    partner = np.empty(n, np.int32)
    partner[order] = np.roll(order, -1)
    return partner


def answers(
    config: Any, fitted: train.Fitted, test: Sealed[Split], devices: Devices
) -> Answers:
    """Answer test with shuffled modalities, those that are read, `DRAWS` times each.

    Args:
        config: see `config.sections`.
        fitted: from `train.fitted`.
        test: what its selection opens.
        devices: from `train_state.devices_of`.
    """
    mesh = devices.mesh
    split = hosts.put(test.open(fitted.frozen), split_sharding(mesh))
    n = split.label.shape[0]
    cycles = np.stack([partners(n, draw) for draw in range(DRAWS)])
    alone = np.broadcast_to(np.arange(n, dtype=np.int32), cycles.shape)
    # Answering keeps no gradients: four batches need about the room of a training step.
    size = max(1, 4 * config.optim.batch_size // (3 * DRAWS + 1))
    lie = lying(fitted.frozen.variables, mesh)
    program = make_program(
        fitted.method,
        size,
        mesh,
        over_seeds=devices.over_seeds,
        lie=lie,
        options=devices.options,
    )
    found = program(
        fitted.frozen.variables,
        split,
        np.concatenate([cycles, cycles, alone, alone[:1]]),
        np.concatenate([cycles, alone, cycles, alone[:1]]),
    )
    stops = (DRAWS, 2 * DRAWS, 3 * DRAWS)
    both, audio, vision, own = np.split(hosts.to_host(found), stops, axis=1)
    # Text of j with audio and vision of i: an answer for j whose audio and vision are
    # shuffled, and for i whose text is. So shuffled text needs no passes of its own.
    text = [both[:, draw][:, np.argsort(cycle)] for draw, cycle in enumerate(cycles)]
    shuffled = {
        AUDIO_VISION: (("audio", "vision"), both),
        AUDIO: (("audio",), audio),
        VISION: (("vision",), vision),
        TEXT: (("text",), np.stack(text, axis=1)),
    }
    read = set(reads(config))
    return Answers(
        own[:, 0],
        {name: x for name, (of, x) in shuffled.items() if read.issuperset(of)},
    )


def make_program(
    method: Method,
    size: int,
    mesh: Mesh,
    *,
    over_seeds: str,
    lie: Any = None,
    options: dict[str, Any] | None = None,
) -> Callable[..., Array]:
    """Compile-ready program: (variables, split, rows, rows) -> answers [s, p, n, ...].

    The rows [p, n] say whose audio, and whose vision, a sample gets in each of p
    passes; they are data. All passes of a batch run side by side around one pass of the
    text encoder, which does not depend on them. `lie`: see `step.make_predict`.
    """
    divide, columns = seed_axis.division(mesh, size)

    def one_seed(variables, split, audio_rows, vision_rows):
        n, videos = split.label.shape[0], method.videos

        def one(index):
            batch = gather(split, index, videos)
            rows = jnp.minimum(index, n - 1)

            def one_pass(audio_rows, vision_rows):
                audio, vision = audio_rows[rows], vision_rows[rows]
                mixed = replace(
                    batch,
                    audio=split.audio[audio],
                    audio_length=split.audio_length[audio],
                    vision=split.vision[vision],
                    vision_length=split.vision_length[vision],
                )
                outputs = network.answer(method, variables, divide(mixed))
                return method.task.read(outputs)

            # Samples before passes, as in every other answer.
            return jax.vmap(one_pass, out_axes=1)(audio_rows, vision_rows)

        index = cut(split, jnp.arange(count(split, videos)), columns, videos)
        found = in_order(split, jax.lax.map(one, index), index, videos)
        return jnp.moveaxis(found, 1, 0)

    shared = split_sharding(mesh)
    return jax.jit(
        seed_axis.per_device(seed_axis.over_seed_axis(one_seed, over_seeds), mesh),
        in_shardings=(lie or state_sharding(mesh), shared, shared, shared),
        out_shardings=state_sharding(mesh),
        compiler_options=options,
    )


def summaries(
    kind: str, truth: np.ndarray, found: Answers
) -> dict[str, dict[str, Any]]:
    """Score shuffled answers; each metric of a seed is its mean over draws.

    Args:
        kind: the metrics, see `metrics.score`.
        truth: labels of test.
        found: from `answers`.

    Returns: control -> metric -> what `summarise` says, and the same of "change": per
        seed, shuffled minus as it is, in the metric's unit.
    """
    own = [metrics.score(kind, of_seed, truth) for of_seed in found.own]
    cells = {}
    for name, of_seeds in found.shuffled.items():
        scores = [[metrics.score(kind, a, truth) for a in draws] for draws in of_seeds]
        cells[name] = {metric: _cell(metric, scores, own) for metric in own[0]}
    return cells


def _cell(metric: str, scores: Sequence[Sequence[Any]], own: Sequence[Any]) -> Any:
    values = [float(np.mean([s[metric] for s in draws])) for draws in scores]
    change = [v - o[metric] for v, o in zip(values, own, strict=True)]
    return summarise(values) | {"change": summarise(change)}
