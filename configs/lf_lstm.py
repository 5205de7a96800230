"""LF-LSTM, a baseline of late fusion: ours, because nobody published one.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/lf_lstm_mosi.py

configs/lf_lstm_mosi.py, lf_lstm_mosei.py, lf_lstm_sims.py and lf_lstm_mosi_real.py are
this card with the values for that data set. Text as frozen BERT's hidden states (MMSA's
files bring them as `text`); token ids or sentences: --config.text.encoder=bert, which
encodes every text once.

MulT's and SUGRM's tables have a row of this name; their repositories have no such code
and neither paper gives sizes. Public classes called so differ from each other in all
but three LSTMs. This one: an LSTM per modality (64, 32, 32) over its own valid steps,
last states side by side, Linear 64, ReLU, Linear 1; L1, Adam 1e-3, norm clipped at 1,
batches of 32, patience 8. Variant, after a colon: `vote`, a score for each modality and
their mean, which is how SUGRM describes it. Say in a report that it is ours.

Where others differ:

    fusion        SUGRM: votes; public classes: concatenation          model.fusion
    LSTMs         MultimodalSDK-Tutorials: two bidirectional layers, the states of
                  both; MultiBench: GRUs
    head          MultimodalSDK-Tutorials: batch norm, dropout .25
                                                        model.fusion_head_dropout

Published, of networks unknown: SUGRM aligned MOSI F1 75.4, Acc-2 76.4, MAE 1.037, Corr
.620, MOSEI 80.0, 79.4, .625, .655; unaligned MOSI 77.8, 77.6, .988, .624, MOSEI 78.2,
77.5, .624, .656. No number of this one stands beside them as a reproduction.
"""

from msa_jax.methods.lf_lstm import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
