"""What the fields of MMSA's configuration are here, as data, as `torch_names` is.

A method says it once, as `Mmsa`. Names are those of MMSA's config_regression.json,
tables and lists taken apart: "dropouts.0", "outConfig.drop".
Source: thuiar/MMSA a94e65d, config_regression.json and what its models and trainers
    read of it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from msa_jax.ground.names import MODALITIES


class Meaning(NamedTuple):
    """What one field of MMSA's is here.

    paths: our fields; they take its value, and it must be there.
    values: theirs -> ours, None: as it is. Another value is refused.
    why: there are no paths: what makes it without effect; of `values`: what another
        one would ask for.
    """

    paths: tuple[str, ...] = ()
    values: Mapping[Any, Any] | None = None
    why: str = ""


Fields = Mapping[str, Meaning]


class Mmsa(NamedTuple):
    """A method as MMSA configures it.

    fields: every field that its configuration of MMSA has.
    variant: ours that runs as MMSA does; "": without a word.
    """

    fields: Fields
    variant: str = ""


def to(*paths: str) -> Meaning:
    """Return the meaning of a field that is one of ours, or several of one value."""
    return Meaning(paths)


def void(why: str) -> Meaning:
    """Return the meaning of a field without effect here."""
    return Meaning(why=why)


def only(value: Any, why: str) -> Meaning:
    """Return the meaning of a field that must have this value, and then says nothing.

    Args:
        value: of the field.
        why: what this method does so, in words.
    """
    return Meaning(values={value: value}, why=why)


def _of_modalities(names: str, paths: str) -> dict[str, Meaning]:
    """Map three names to three fields; MMSA says video, we say vision."""
    return {
        names.format(m.replace("vision", "video")): to(paths.format(m))
        for m in MODALITIES
    }


_PREPARED = void("the data set that was prepared says it")
_MISSING = void("MMSA's TFR-Net alone reads it")
_COMMON: Fields = {
    "early_stop": to("selection.early_stop"),
    "batch_size": to("optim.batch_size"),
    "KeyEval": only("Loss", "the validation loss selects"),
    "num_classes": void("a regression has none"),
    "language": void("the weights of a text encoder have a language"),
    "featurePath": _PREPARED,
    "need_data_aligned": void("prepare the file that MMSA would have read"),
    "train_samples": _PREPARED,
    **{
        f"{name}.{i}": _PREPARED
        for name in ("seq_lens", "feature_dims")
        for i in (0, 1, 2)
    },
    **{
        f"{name}.{i}": _MISSING
        for name in ("missing_rate", "missing_seed")
        for i in (0, 1, 2)
    },
}
_READY_TEXT: Fields = {
    **_COMMON,
    "use_bert": only(False, "it reads ready-made text features"),
}
# Of networks of a text and two means over time.
MEANS: Fields = MappingProxyType(
    {
        **_READY_TEXT,
        "need_model_aligned": only(False, "nothing is aligned"),
        "need_normalized": only(True, "it reads means of audio and vision over time"),
        **{
            f"hidden_dims.{i}": to(f"model.{m}_hidden")
            for i, m in enumerate(MODALITIES)
        },
        "dropouts.0": to("model.audio_dropout"),
        "dropouts.1": to("model.vision_dropout"),
        "dropouts.2": void("MMSA sets it to 0: its text LSTM has one layer"),
    }
)
WIDTHS: Fields = MappingProxyType(
    {"text_out": to("model.text_width"), "post_fusion_dim": to("model.fusion_head")}
)
LOW_RANK: Fields = MappingProxyType(
    {
        "rank": to("model.rank"),
        "factor_lr": to("optim.groups.factor.rate"),
        "weight_decay": to("optim.groups.factor.decay", "optim.groups.other.decay"),
    }
)
# Of networks of three sequences, step by step.
SEQUENCES: Fields = MappingProxyType(
    {
        **_READY_TEXT,
        "need_model_aligned": only(True, "audio and vision are aligned to the text"),
        "need_normalized": only(False, "it reads sequences of audio and vision"),
        "learning_rate": to("optim.groups.other.rate"),
        "weight_decay": to("optim.groups.other.decay"),
    }
)


def nets(**names: str) -> Fields:
    """Return the fields of small networks: MMSA's table -> ours, "retain" for one."""
    return {
        f"{name}.{key}": to(f"model.{ours}_{what}")
        for name, ours in names.items()
        for key, what in (("shapes", "hidden"), ("drop", "dropout"))
    }


MEMORY: Fields = MappingProxyType(
    {
        **{
            f"hidden_dims.{i}": to(f"model.{m}_hidden")
            for i, m in enumerate(MODALITIES)
        },
        "memsize": to("model.memory"),
        **nets(gamma1Config="retain", gamma2Config="update"),
    }
)
WINDOW: Fields = MappingProxyType(
    {
        "windowsize": only(2, "attention sees two steps"),
        **nets(NN1Config="attention", NN2Config="candidate"),
    }
)
# Of a text and two means over time with human unimodal labels.
FOUR_TASKS: Fields = MappingProxyType(
    {
        **MEANS,
        **_of_modalities("post_{}_dim", "heads.{}_head"),
        **{
            f"post_dropouts.{i}": to(f"heads.{m}_head_dropout")
            for i, m in enumerate(MODALITIES)
        },
        "M": to("loss.fusion_weight"),
        **{m[0].upper(): to(f"loss.{m}_weight") for m in MODALITIES},
        "learning_rate": to(
            *(f"optim.groups.{g}.rate" for g in (*MODALITIES, "other"))
        ),
        **_of_modalities("{}_weight_decay", "optim.groups.{}.decay"),
    }
)
# Of Self-MM, which reads tokens with a BERT of its own.
GENERATED: Fields = MappingProxyType(
    {
        **_COMMON,
        "need_data_aligned": to("data.aligned"),
        "need_model_aligned": only(False, "nothing is aligned"),
        "need_normalized": only(False, "it reads sequences of audio and vision"),
        "use_bert": only(True, "it has a BERT of its own"),
        "use_finetune": to("text.finetune"),
        "transformers": only("bert", "its text encoder is BERT"),
        "pretrained": to("text.weights"),
        "save_labels": void("u-labels of every epoch are kept"),
        "excludeZero": Meaning(("ulgm.zero_is_positive",), {True: False, False: True}),
        "update_epochs": to("optim.accumulate_batches"),
        "H": void(
            "u-labels end where the data set's labels do (prepare --label_range)"
        ),
        "text_out": void("it is the width of the text encoder"),
        "t_bert_dropout": void("MMSA defines and never uses it"),
        "learning_rate_bert": to(
            "optim.groups.bert.rate", "optim.groups.bert_no_decay.rate"
        ),
        "weight_decay_bert": to("optim.groups.bert.decay"),
        **{
            f"{theirs}_{name}": to(f"optim.groups.{group}.{ours}")
            for theirs, ours in (("learning_rate", "rate"), ("weight_decay", "decay"))
            for name, group in (
                ("audio", "audio"),
                ("video", "vision"),
                ("other", "other"),
            )
        },
        **{
            name: meaning
            for letter, m, theirs in (("a", "audio", "audio"), ("v", "vision", "video"))
            for name, meaning in (
                (f"{letter}_lstm_hidden_size", to(f"model.{m}_hidden")),
                (f"{letter}_lstm_layers", only(1, "its LSTMs have one layer")),
                (f"{letter}_lstm_dropout", to(f"model.{m}_dropout")),
                (f"{theirs}_out", to(f"model.{m}_width")),
            )
        },
        "post_fusion_dim": to("model.fusion_head"),
        "post_fusion_dropout": to("model.fusion_head_dropout"),
        **_of_modalities("post_{}_dim", "model.{}_head"),
        **_of_modalities("post_{}_dropout", "model.{}_head_dropout"),
    }
)
