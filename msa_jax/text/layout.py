"""How the sentences of a batch lie before the encoder: padded, or several in a row.

What `text.packing` means is said here and in `packing`; whoever trains or predicts
has a `TextLayout`, and does not know which it is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from msa_jax.config import reads
from msa_jax.ground.errors import UserError
from msa_jax.ground.types import Split
from msa_jax.text import packing


class TextLayout(NamedTuple):
    """How text lies in the batches of some splits.

    on_batch: see `types.Method`.
    notes: what a reader of the results should know of it.
    """

    on_batch: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda run: run
    notes: tuple[str, ...] = ()


def of_batches(
    settings: Any,
    splits: dict[str, Split],
    padding: str,
    *,
    platform: str,
    shards: int,
    together: int,
) -> TextLayout:
    """Choose how text lies in batches.

    Args:
        settings: the configuration; text.packing = "auto" packs where that can be
            done, and on a CPU.
        splits: all that is read in this layout, "train" among them.
        padding: the setting by which the method reads padding behind a text, or "".
        platform: of the devices: "cpu", "gpu", "tpu".
        shards: devices that share a batch.
        together: seeds that run as one program.

    Raises:
        UserError: text that is to be packed has a mask with holes.
    """
    packs = settings.text.packing == "tokens"
    if settings.text.packing == "auto":
        packs = platform == "cpu" and not _against_packing(settings, padding)
    if not packs:
        return TextLayout()
    columns = -(-settings.optim.batch_size // shards) * shards
    sizes = packing.choose_sizes(splits, columns, shards=shards, together=together)
    note = packing.size_note(sizes, splits["train"].text.shape[-1])
    return TextLayout(partial(packing.by_size, sizes), (note,))


def check(settings: Any, padding: str) -> None:
    """Refuse a layout that a run's text cannot have; see `of_batches`.

    Raises:
        UserError: saying why.
    """
    if settings.text.packing != "tokens":
        return
    if reason := _against_packing(settings, padding):
        raise UserError(
            f"config.text.packing = 'tokens' {reason}; change it or use "
            "--config.text.packing=none"
        )


def _against_packing(settings: Any, padding: str) -> str:
    """Say why a run's text cannot be packed; "" where it can."""
    text = settings.text
    if "text" not in reads(settings):
        return f"packs text, which {settings.method} does not read here"
    for name, needed in (
        ("encoder", "bert"),
        ("finetune", True),
        ("implementation", "own"),
    ):
        if text[name] != needed:
            return f"needs config.text.{name} = {needed!r}, not {text[name]!r}"
    if padding:
        return (
            f"leaves out padding, which {settings.method} reads with config.{padding}"
        )
    return ""
