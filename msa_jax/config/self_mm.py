"""Readings of Self-MM that config files choose."""

from ml_collections import ConfigDict


def mmsa(config: ConfigDict) -> None:
    """Change what MMSA does differently on every data set.

    Source: thuiar/MMSA, trains/multiTask/SELF_MM.py (label 0 belongs to no class; the
        validation loss is rounded to 4 decimals).
    """
    config.ulgm.zero_is_positive = False
    config.selection.round_decimals = 4


def paper(config: ConfigDict) -> None:
    """Follow the paper's text where its code differs.

    Source: Self-MM, Eq. 1 to 5 and 8, "Overall Architecture", "Experimental Details".
        It says nothing of accumulation or early stopping: those stay as in the code.
    """
    config.ulgm.zero_is_positive = False
    config.ulgm.scale_distance = True
    config.ulgm.epsilon_in_ratio = False
    config.ulgm.clip_labels = False
    config.model.head_layers = 1
    config.model.project_lstm = False
    for name, rates in config.optim.groups.items():
        rates.rate = 5e-5 if name.startswith("bert") else 1e-3
