import json
import math
import re

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

from msa_jax.ground.errors import UserError
from msa_jax.methods import PAPERS
from msa_jax.methods.torch_names import TEXT, Names, to_torch
from msa_jax.text import encoders

WIDTH, VOCABULARY, POSITIONS = 8, 12, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film"]


def settings(**changes):
    """Return `config.text` of a tiny random encoder, with changes."""
    c = PAPERS["self_mm"].config().text
    c.update({"weights": "random", "random_width": WIDTH, **changes})
    return c


@pytest.fixture(scope="module")
def random_encoder():
    return encoders.load_encoder(settings(), ["A good film", "a bad film"])


def bert_weights() -> dict[str, np.ndarray]:
    """Draw a two-layer BERT, named as Hugging Face names it."""
    rng = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (VOCABULARY, WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
        "pooler.dense.weight": (WIDTH, WIDTH),
        "pooler.dense.bias": (WIDTH,),
    }
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        for name, outputs, inputs in (
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", 16, WIDTH),
            ("output.dense", WIDTH, 16),
        ):
            shapes[f"{layer}.{name}.weight"] = (outputs, inputs)
            shapes[f"{layer}.{name}.bias"] = (outputs,)
        for name in ("attention.output", "output"):
            for leaf in ("weight", "bias"):
                shapes[f"{layer}.{name}.LayerNorm.{leaf}"] = (WIDTH,)
    return {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}


@pytest.fixture
def folder(tmp_path):
    """A folder as Hugging Face's tools write it."""
    settings = {
        "model_type": "bert",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": POSITIONS,
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    write_weights(tmp_path, bert_weights())
    return tmp_path


def write_weights(folder, weights):
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def bert_twin(w, ids, heads=2):
    """BERT's last hidden states of one sentence without padding; NumPy, float64."""
    w = {k: np.array(v, float) for k, v in w.items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return np.array([[v * (1 + math.erf(v / 2**0.5)) / 2 for v in r] for r in x])

    t = len(ids)
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][:t]
    x = norm(
        x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
    )
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        q, k, v = (
            linear(x, f"{layer}.attention.self.{n}")
            .reshape(t, heads, -1)
            .swapaxes(0, 1)
            for n in ("query", "key", "value")
        )
        score = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
        score = np.exp(score - score.max(-1, keepdims=True))
        mixed = (score / score.sum(-1, keepdims=True)) @ v
        mixed = linear(
            mixed.swapaxes(0, 1).reshape(t, -1), f"{layer}.attention.output.dense"
        )
        x = norm(x + mixed, f"{layer}.attention.output.LayerNorm")
        wide = gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x


# --- Tokens ---------------------------------------------------------------------------


def test_tokens_masks_and_lengths(random_encoder):
    found, uncut = tiny.tokens(random_encoder, ["a GOOD film", "film", "", "odd"])
    assert found.dtype == np.int32 and uncut.tolist() == [5, 3, 2, 3]
    # ids in order of the vocabulary: 4 special ones, then a, bad, film, good
    rows = [[2, 4, 7, 6, 3], [2, 6, 3, 0, 0], [2, 3, 0, 0, 0], [2, 1, 3, 0, 0]]
    np.testing.assert_array_equal(found[:, 0], rows)
    np.testing.assert_array_equal(found[:, 1].sum(-1), [5, 3, 2, 3])
    np.testing.assert_array_equal(found[:, 1], np.array(rows) != 0)
    np.testing.assert_array_equal(found[:, 2], np.zeros((4, 5)))


def test_long_sentences_are_cut_and_counted(random_encoder):
    sentences = ["a good film", "bad film", "film", "a good good bad film"]
    found, uncut = tiny.tokens(random_encoder, sentences, 4)
    assert uncut.tolist() == [5, 4, 3, 7]
    rows = [[2, 4, 7, 3], [2, 5, 6, 3], [2, 6, 3, 0], [2, 4, 7, 3]]  # [SEP] stays
    np.testing.assert_array_equal(found[:, 0], rows)


def test_the_own_tokeniser_equals_that_of_transformers(random_encoder):
    """What is not imported for it: ids, cut or not, and the file that describes it."""
    from transformers import PreTrainedTokenizerFast

    encoder = encoders.load_encoder(settings(), ["a good film", "A bad one"])
    own = encoder.tokenizer
    core = type(own.backend_tokenizer).from_str(own.backend_tokenizer.to_str())
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]"
    )
    assert (fast.unk_token, fast.unk_token_id) == (own.unk_token, own.unk_token_id)
    assert fast.backend_tokenizer.to_str() == own.backend_tokenizer.to_str()
    sentences = ["a GOOD film one", "", "[UNK] [pad] odd", "film"]
    for most in (50, 4, 50):
        theirs = fast(sentences, truncation=True, max_length=most)["input_ids"]
        ours = tiny.tokens(encoder, sentences, most)[0]
        assert [row[0, row[1] > 0].tolist() for row in ours] == theirs


def test_tokens_the_encoder_cannot_read_are_refused(random_encoder):
    good = np.ones((2, 3, 5), np.int32)
    encoders.check_tokens(good, random_encoder, "here")
    long = np.ones((2, 3, 513), np.int32)
    with pytest.raises(UserError, match="^here: text has 513 tokens.*at most 512"):
        encoders.check_tokens(long, random_encoder, "here")
    good[1, 0, 3] = random_encoder.vocabulary
    with pytest.raises(UserError, match="^here: token id 64 lies outside.* of 64"):
        encoders.check_tokens(good, random_encoder, "here")
    good[1, 0, 3] = -1
    with pytest.raises(UserError, match="^here: token id -1 lies outside.* of 64"):
        encoders.check_tokens(good, random_encoder, "here")
    good[1, 0, 3] = random_encoder.vocabulary - 1
    encoders.check_tokens(good, random_encoder, "here")


def test_vocabulary_grows_with_the_training_words():
    words = " ".join(f"w{i}" for i in range(100))
    assert encoders.load_encoder(settings(), [words]).vocabulary == 104


# --- Pooling --------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [7.0, np.nan])
def test_pooling_takes_the_first_or_the_mean_of_valid_tokens(rest):
    rng = np.random.default_rng(1)
    hidden, length = rng.normal(size=(3, 4, 5)).astype(np.float32), np.array([1, 4, 2])
    hidden[np.arange(4) >= length[:, None]] = rest
    pool = jax.tree_util.Partial(
        encoders.pool, jnp.asarray(hidden), jnp.asarray(length)
    )
    np.testing.assert_array_equal(pool("first"), hidden[:, 0])
    means = [row[:n].mean(0) for row, n in zip(hidden, length, strict=True)]
    np.testing.assert_allclose(pool("mean"), means, rtol=1e-5, atol=1e-6)


# --- BERT -----------------------------------------------------------------------------


def states(encoder, tokens):
    """Return the last hidden states."""
    apply = tiny.quick(
        lambda p: encoder.module.apply({"params": p}, tokens, train=False)
    )
    return apply(encoder.params)


def load(folder, **changes):
    return encoders.load_encoder(settings(weights=str(folder), **changes))


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_weights_of_a_folder_are_loaded_whole(folder, prefix):
    weights = bert_weights()
    write_weights(folder, {prefix + k: v for k, v in weights.items()})
    encoder = load(folder)
    found = to_torch(Names(TEXT), {"text_encoder": encoder.params})
    expected = {k: v for k, v in weights.items() if not k.startswith("pooler")}
    assert found.keys() == {f"text_model.model.{k}" for k in expected}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[f"text_model.model.{name}"], value)
    assert (encoder.max_positions, encoder.vocabulary) == (POSITIONS, VOCABULARY)


def test_bert_equals_a_numpy_twin_and_ignores_padding(folder):
    encoder = load(folder)
    sentences = ["a good film", "bad"]
    tokens, _ = tiny.tokens(encoder, sentences)
    ids = [[2, 5, 6, 8, 3], [2, 7, 3]]
    tokens[1, 0, 3:] = 5  # whatever stands beyond the mask
    hidden = states(encoder, tokens)
    for i, row in enumerate(ids):
        expected = bert_twin(bert_weights(), row)
        found = hidden[i, : len(row)]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_an_encoder_learns_and_drops_in_training(folder):
    encoder = load(folder)
    tokens, _ = tiny.tokens(encoder, ["a good film"])

    def hidden(params, **options):
        return encoder.module.apply({"params": params}, tokens, **options)

    def everything(params):
        dropped = hidden(params, train=True, rngs={"dropout": jax.random.key(1)})
        gradient = jax.grad(lambda p: jnp.square(hidden(p, train=False)).sum())(params)
        return dropped, hidden(params, train=False), gradient

    dropped, plain, gradient = tiny.quick(everything)(encoder.params)
    query = gradient["bert"]["encoder"]["layer"]["1"]["attention"]["self"]["query"]
    assert (query["kernel"] != 0).any() and (dropped != plain).any()


def test_precomputed_features_pass_through():
    encoder = encoders.load_encoder(settings(encoder="features"))
    x = jnp.ones((2, 3, 4))
    assert encoder.module.apply({}, x, train=True) is x
    assert encoder.params is None and encoder.tokenizer is None


# --- Mistakes -------------------------------------------------------------------------


def test_a_missing_folder_is_named():
    with pytest.raises(UserError, match=r"^text.weights = ./nowhere: no such folder"):
        load("./nowhere")


def test_a_hub_name_is_read_from_the_cache(folder, monkeypatch):
    def cached(name, *, allow_patterns, local_files_only=False):
        assert (name, local_files_only) == ("some/bert", True)
        assert "model.safetensors" in allow_patterns
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert load("some/bert").vocabulary == VOCABULARY


def test_a_hub_name_out_of_reach_is_named(monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match="^text.weights = some/bert: neither a folder"):
        load("some/bert")


@pytest.mark.parametrize("missing", ["model.safetensors", "vocab.txt", "config.json"])
def test_a_folder_without_one_of_its_files_is_refused(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(UserError, match="^text.weights = .*give a folder with"):
        load(folder)


@pytest.mark.parametrize(
    "there, said",
    [
        ("pytorch_model.bin", "pytorch_model.bin is a pickle and not read"),
        ("tf_model.h5", "tf_model.h5 is TensorFlow's .*from_tf=True"),
        ("model.safetensors.index.json", "in several files .*max_shard_size"),
        ("pytorch_model.bin.index.json", "in several files .*max_shard_size"),
    ],
)
def test_weights_of_another_kind_are_named_with_their_conversion(folder, there, said):
    (folder / "model.safetensors").rename(folder / there)
    with pytest.raises(UserError, match=f"no model.safetensors or .*{said}") as error:
        load(folder)
    (program,) = re.findall('python -c "(.*)"$', str(error.value))
    compile(program, "", "exec")
    assert "config.json" in str(error.value) and "\n" not in str(error.value)


def test_a_folder_says_what_it_holds_instead(folder):
    (folder / "vocab.txt").rename(folder / "vocabulary.txt")
    with pytest.raises(
        UserError, match="no tokenizer.json or vocab.txt in there .found"
    ):
        load(folder)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"no config.json in there \(found: nothing\)"):
        load(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"msgpack in there \(found: config.json\); give"
    ):
        load(folder)
    with pytest.raises(
        UserError, match="a file; give the folder that holds config.json"
    ):
        load(folder / "config.json")


def damage(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def drop_a_layer(folder):
    weights = bert_weights()
    write_weights(folder, {k: v for k, v in weights.items() if "layer.1" not in k})


def rename(folder):
    write_weights(folder, {f"roberta.{k}": v for k, v in bert_weights().items()})


def widen(folder):
    weights = bert_weights()
    weights["encoder.layer.0.output.dense.bias"] = np.zeros(9, np.float32)
    write_weights(folder, weights)


@pytest.mark.parametrize("spoil", [damage, drop_a_layer, rename, widen])
def test_weights_that_do_not_fit_are_refused(folder, spoil):
    spoil(folder)
    with pytest.raises(UserError, match="^text.weights = .*give a folder with"):
        load(folder)


# --- Real weights ---------------------------------------------------------------------


def test_minilm(minilm):
    """Weights as in the file, padding without influence, meanings where they belong."""
    encoder = encoders.load_encoder(settings(weights="minilm"))
    stored = load_file(minilm / "model.safetensors")
    found = to_torch(Names(TEXT), {"text_encoder": encoder.params})
    for name, value in found.items():
        expected = stored[name.removeprefix("text_model.model.")]
        np.testing.assert_array_equal(value, expected)
    assert len(found) == 5 + 6 * 16
    sentences = ["a good movie", "a great film", "the train to London was late again"]
    tokens, _ = tiny.tokens(encoder, sentences)
    wide = np.pad(tokens, ((0, 0), (0, 0), (0, 7)))
    length = jnp.asarray(tokens[:, 1].sum(-1))
    vectors = []
    for rows in (tokens, wide):
        hidden = states(encoder, rows)
        vectors.append(np.asarray(encoders.pool(hidden, length, "mean")))
    # measured: 2e-7
    np.testing.assert_allclose(*vectors, rtol=0, atol=1e-5)
    unit = vectors[0] / np.linalg.norm(vectors[0], axis=1, keepdims=True)
    close, far = unit[0] @ unit[1], unit[0] @ unit[2]
    assert close > 0.7 > 0.3 > far
