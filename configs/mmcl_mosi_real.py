"""MMCL on `mosi_real`: real CMU-MOSI, in the plain layout of docs/data.md.

    python -m msa_jax.prepare mosi_real --from mosi_real.npz
    python -m msa_jax.main --config configs/mmcl_mosi_real.py \\
        --config.seeds=1111,1112,1113

Text: MiniLM-L6, fine-tuned, mean over tokens (it was trained that way). Audio: 73-d
openSMILE vectors, vision: 68-d 3D-CNN vectors, up to 20 utterances of context, not
aligned with the words; standardised. Variants as in configs/mmcl_mosei.py: rows of the
ablations, joined by +, for example `no_contrast`.

Test over seeds 1111, 1112, 1113: MAE .714 (sd .024), Corr .773 (sd .012); the same
without any contrastive loss .712 (sd .011) and .772 (sd .011): on these data they make
no difference that three seeds could show. Ridge on frozen MiniLM features .884 and
.674. 27 and 40 minutes on two very busy CPU cores. Commit ef0697a.
"""

from msa_jax import config as defaults


def get_config(variant=""):
    """Return the configuration of a variant."""
    config = defaults.mmcl()
    config.data.name = "mosi_real"
    config.data.aligned = False
    config.data.standardise = "train"
    config.text.pooling = "mean"
    config.text.max_tokens = 40
    config.optim.groups.bert.rate = 1e-4
    config.optim.groups.bert_no_decay.rate = 1e-4
    config.selection.early_stop = 6
    config.selection.max_epochs = 12
    config.text.packing = "auto"
    return defaults.mmcl_variant(config, variant)
