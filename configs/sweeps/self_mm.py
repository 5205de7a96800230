"""What the authors' and MMSA's tuners try for Self-MM: config field -> values.

Source: thuiar/Self-MM, config/config_tune.py; the same values in thuiar/MMSA,
config_tune.json, on every data set. They hold BERT's rate at 5e-5, audio's and vision's
widths at 16 and 32, and those dropouts at 0 that are not listed; so do our defaults.
Differs: their tuners select on test, and MMSA's with BERT frozen; here validation
selects, and trials train what the config trains.

1,327,104 combinations. Batch size, widths and dropouts make a program of their own for
nearly every trial; where compiling is slow, search rates and decays first.
"""


def get_sweep():
    """Return the space; every combination is a valid configuration."""
    return {
        "optim.batch_size": (16, 32),
        "optim.groups.audio.rate": (1e-4, 1e-3, 5e-3),
        "optim.groups.vision.rate": (1e-4, 1e-3, 5e-3),
        "optim.groups.other.rate": (1e-4, 1e-3),
        "optim.groups.bert.decay": (0.001, 0.01),
        "optim.groups.audio.decay": (0.0, 0.001, 0.01),
        "optim.groups.vision.decay": (0.0, 0.001, 0.01),
        "optim.groups.other.decay": (0.001, 0.01),
        "model.audio_hidden": (16, 32),
        "model.vision_hidden": (32, 64),
        "model.fusion_head": (64, 128),
        "model.text_head": (32, 64),
        "model.audio_head": (16, 32),
        "model.vision_head": (16, 32),
        "model.fusion_head_dropout": (0.1, 0.0),
        "model.text_head_dropout": (0.1, 0.0),
        "model.audio_head_dropout": (0.1, 0.0),
        "model.vision_head_dropout": (0.1, 0.0),
    }
