"""Small intakes: of sentences, of token ids, of features."""

import json

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from msa_jax.data.intake import Intake

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


SENTENCES = Intake(
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
