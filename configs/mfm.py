"""MFM (ICLR 2019), as MMSA runs it.

    python -m msa_jax.prepare mosi --from FILE
    python -m msa_jax.main --config configs/mfm_mosi.py

configs/mfm_mosi.py, mfm_mosei.py, mfm_sims.py and mfm_mosi_real.py are this card with
the values for that data set. Text as frozen BERT's hidden states (MMSA's aligned files
bring them as `text`), audio and vision as sequences with the text's steps: MOSI and
MOSEI from MMSA's aligned files, SIMS by means of blocks. Token ids or sentences:
--config.text.encoder=bert, which encodes every text once.

MMSA builds MFM's optimiser without a rate, as the authors do: Adam's 1e-3 is used
whatever its file says. Padding is read, and given back, too: the reconstruction counts
every stored step. Variant, after a colon: `sane`, in which the file's rate is used
(2e-3 on MOSI and SIMS) and padding is neither read nor reconstructed.

Where they differ, MMSA's way runs, by these fields:

    rate          file: 2e-3 (MOSI, SIMS), 1e-3 (MOSEI); codes: 1e-3 always
                                                     optim.groups.other.rate
    states        MMSA: behind the padding                        model.text_state
    steps         MMSA: padding included; SIMS: means of blocks        model.align
    text          authors: GloVe, padded in front; MMSA: frozen BERT  text.encoder
    schedule      authors: plateau, 50 epochs, no decay; MMSA: none
                                             optim.schedule, selection.max_epochs
    loss          authors' main loop: trains the KL variant; MMSA: MMD   (MMSA's)
    attention     MOSEI's width of 1278 looks like a slip for 128
                                                        model.attention_hidden

The MFN inside has output layers in both codes, which nothing reads and no gradient
reaches (45 313 weights on MOSI): they are not here. Codes are drawn towards normal
numbers of a stream of their own, so runs repeat; the term depends on the batch size.

MMSA's results table has no row of MFM. The paper's MOSI row: Acc-2 78.1, F1 78.1, MAE
.951, Corr .662, Acc-7 36.2. MISA's run on BERT, MFM (B): MOSI .877, .706, Acc-2 81.7,
F1 81.6; MOSEI .568, .717, 84.4, 84.3. Not reproduced here yet: the feature files cannot
be had where this was written.

`mosi_real` (real CMU-MOSI, in the plain layout of docs/data.md): MiniLM-L6, frozen, and
`sane`, because its padding is ours.
"""

from msa_jax.methods.mfm import PAPER


def get_config(words=""):
    """Return the configuration of a data set and variants, joined by +."""
    return PAPER.config(words)
