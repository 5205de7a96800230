"""What is timed: batches with the shapes and the true lengths of known data sets."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from msa_jax.data.check.known import KNOWN
from msa_jax.data.made_up import twins
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import MODALITIES
from msa_jax.ground.types import Batch, Split

NAMES = ("mosi", "mosei", "sims")
TEXT_WIDTH = 768  # what bert-base returns
_TWIN_SAMPLES = 400  # lengths are drawn from so many clips


class Shape(NamedTuple):
    """Sizes of a data set; `label` holds all training labels."""

    name: str
    aligned: bool
    steps: dict[str, int]
    widths: dict[str, int]
    label: np.ndarray
    label_range: tuple[float, float]


def of_dataset(name: str, *, aligned: bool = False) -> Shape:
    """Return the published sizes of a data set."""
    known = KNOWN[name]
    if aligned and not known.aligned:
        raise UserError(
            f"no aligned files of {name} are published: leave --aligned out"
        )
    steps: dict[str, int] = dict.fromkeys(MODALITIES, known.tokens)
    if not aligned:
        steps |= {m: getattr(known, m).steps for m in ("audio", "vision")}
    widths = {m: getattr(known, m).width for m in ("audio", "vision")}
    grid, counts = twins.label_histogram(name, 0)
    return Shape(
        name=name,
        aligned=aligned,
        steps=steps,
        widths={"text": TEXT_WIDTH, **widths},
        label=np.repeat(grid, counts).astype(np.float32),
        label_range=known.label_range,
    )


def true_lengths(shape: Shape) -> dict[str, np.ndarray]:
    """Return the lengths of some clips of the data set's twin, [n] per modality."""
    made = twins.make_twin(shape.name, aligned=shape.aligned, samples=_TWIN_SAMPLES)
    train = made.splits["train"]
    # The first clip is stretched to the published maximum: it is no draw.
    return {m: getattr(train, f"{m}_length")[1:] for m in MODALITIES}


def full_lengths(shape: Shape) -> dict[str, np.ndarray]:
    """Return the lengths of one clip that fills every step."""
    return {m: np.array([shape.steps[m]], np.int32) for m in MODALITIES}


def make_batches(
    shape: Shape, lengths: dict[str, np.ndarray], size: int, count: int
) -> list[Batch]:
    """Draw batches of noise whose clips have lengths from `lengths`, zeros after."""
    rng = np.random.default_rng(len(lengths["text"]))
    label = rng.permutation(shape.label)
    made = []
    for _ in range(count):
        clip = rng.integers(0, len(lengths["text"]), size)
        index = rng.choice(len(label), size, replace=len(label) < size)
        fields: dict[str, Any] = {
            "label": label[index],
            "index": index.astype(np.int32),
            "valid": np.ones(size, bool),
        }
        for m in MODALITIES:
            length = lengths[m][clip].astype(np.int32)
            x = rng.normal(size=(size, shape.steps[m], shape.widths[m]))
            x[np.arange(shape.steps[m]) >= length[:, None]] = 0
            fields |= {m: x.astype(np.float32), f"{m}_length": length}
        made.append(Batch(**fields))
    return made


def make_split(shape: Shape, batches: list[Batch]) -> Split:
    """Return a training split for label tables: all labels, sequences without steps.

    The multimodal label stands for the unimodal ones.
    """
    label = np.array(shape.label)
    for batch in batches:
        label[batch.index] = batch.label
    n = len(label)
    sequences = {m: jnp.zeros((n, 0, shape.widths[m]), jnp.float32) for m in MODALITIES}
    lengths = {f"{m}_length": jnp.zeros(n, jnp.int32) for m in MODALITIES}
    return Split(
        **sequences,
        **lengths,
        label=jnp.asarray(label),
        unimodal_label=jnp.tile(label[:, None], 3),
    )


def draw_split(shape: Shape, n: int, tokens: np.ndarray | None = None) -> Split:
    """Draw a split of noise with the twin's lengths; every array lies on the device.

    Args:
        shape: sizes.
        n: samples.
        tokens: ids, mask and segments in place of text features, [n, 3, t].
    """
    rng, drawn = np.random.default_rng(n), true_lengths(shape)
    fields: dict[str, Any] = {}
    for m in MODALITIES:
        if m == "text" and tokens is not None:
            x, length = tokens, tokens[:, 1].sum(-1).astype(np.int32)
        else:
            length = rng.choice(drawn[m], n).astype(np.int32)
            x = rng.standard_normal((n, shape.steps[m], shape.widths[m]), np.float32)
            x[np.arange(shape.steps[m]) >= length[:, None]] = 0
        fields |= {m: jnp.asarray(x), f"{m}_length": jnp.asarray(length)}
    label = jnp.asarray(rng.choice(shape.label, n), jnp.float32)
    return Split(**fields, label=label, unimodal_label=jnp.full((n, 3), jnp.nan))
