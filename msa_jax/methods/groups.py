"""What is said of parts that several methods have: optimiser groups, what they read."""

from typing import Any

from msa_jax.layers import spt


def shared(path: str) -> str | None:
    """Name the group of a text encoder's or an SPT's parameter; None: of neither.

    Args:
        path: of the parameter, "a/b/kernel".

    Source: the trainers of Self-MM and SUGRM: BERT with and without decay (biases and
        LayerNorm). The norm that self attention never uses gets no gradient there.
    """
    if path.startswith("text_encoder/"):
        spared = "bias" in path or "LayerNorm" in path
        return "bert_no_decay" if spared else "bert"
    if path.startswith("spt/"):
        return "frozen" if spt.is_unused(path) else "spt"
    return None


def reads_padding(settings: Any) -> str:
    """Return the setting that makes recalibration or SPT read padding, or ""."""
    if settings.model.recalibrate == "mean":
        return "model.recalibrate = 'mean'"
    transformer = settings.model.sequence == "spt"
    read = transformer and not settings.spt.respect_lengths
    return "spt.respect_lengths = False" if read else ""


def reads_padded_text(settings: Any) -> str:
    """Return the setting that makes an LSTM over text read its padding, or ""."""
    read = settings.model.text_state == "padded_end"
    return "model.text_state = 'padded_end'" if read else ""
