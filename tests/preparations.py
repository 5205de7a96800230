"""Small preparations and data sets: of sentences, of token ids, of features."""

import json

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from msa_jax.data import Dataset
from msa_jax.data.preparation import Preparation
from msa_jax.ground.types import Examples
from msa_jax.methods import PAPERS
from msa_jax.training import splits
from msa_jax.training.splits import Inputs
from tests.tiny import make_proof

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]
CLS, SEP, UNK = 2, 3, 1


def tokenizer():
    core = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]")
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return json.loads(core.to_str())


SENTENCES = Preparation(
    method="self_mm",
    dataset="d",
    task="sentiment",
    seeds=(1, 2),
    label_range=(-3.0, 3.0),
    reads=("text", "audio", "vision"),
    text="sentences",
    steps={"text": 5, "audio": 4, "vision": 3},
    width={"audio": 2, "vision": 3},
    vocabulary=len(WORDS),
    columns={},
    padding="back",
    aligned=False,
    encoder={},
    frozen_sha256=None,
    tokenizer=tokenizer(),
)
TOKENS = SENTENCES._replace(text="tokens", tokenizer=None)
FEATURES = TOKENS._replace(
    text="features", width=SENTENCES.width | {"text": 4}, vocabulary=0, encoder=None
)

SPOKEN = ["a good film", "bad", "a bad film indeed", "good good"]


def settings(**changes):
    c = PAPERS["self_mm"].config()
    c.text.update({"weights": "random", "random_width": 8, "random_layers": 1})
    for path, value in changes.items():
        section, field = path.split("__")
        c[section][field] = value
    return c


def examples(seed, **changes) -> Examples:
    """Four samples: sentences, 9 steps of audio, 5 of vision."""
    rng = np.random.default_rng(seed)

    def sequence(steps, width):
        length = rng.integers(1, steps + 1, 4).astype(np.int32)
        x = 5 + 3 * rng.normal(size=(4, steps, width)).astype(np.float32)
        return x * (np.arange(steps)[None, :, None] < length[:, None, None]), length

    audio, audio_length = sequence(9, 3)
    vision, vision_length = sequence(5, 2)
    label = rng.uniform(-3, 3, 4).astype(np.float32)
    name = np.array([f"{seed}_{i}" for i in range(4)])
    sentences = np.array(SPOKEN)
    found = Examples(
        name,
        sentences,
        None,
        None,
        audio,
        audio_length,
        vision,
        vision_length,
        label,
        None,
    )
    return found._replace(**changes)


def dataset(**changes) -> Dataset:
    names = ("train", "valid", "test")
    splits = {name: examples(i, **changes) for i, name in enumerate(names)}
    return Dataset("movies", splits, {})


def with_text(array, length=(3, 1, 2, 4)):
    length = np.array(length, np.int32)
    return dataset(transcript=None, text=array, text_length=length)


def in_steps(data: Dataset, steps: int) -> Dataset:
    """Repeat or cut audio and vision to `steps` steps."""

    def change(x):
        return np.concatenate([x, x], axis=1)[:, :steps]

    splits = {
        name: s._replace(
            audio=change(s.audio),
            audio_length=np.minimum(s.audio_length, steps),
            vision=change(s.vision),
            vision_length=np.minimum(s.vision_length, steps),
        )
        for name, s in data.splits.items()
    }
    return data._replace(splits=splits)


def opened(found: Inputs):
    return splits.opened(found, make_proof())
