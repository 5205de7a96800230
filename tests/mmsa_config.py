"""What MMSA's config_regression.json says of the methods that come along, as data.

Numbers and names of thuiar/MMSA a94e65d; put together as its file is.
"""

import copy
from typing import Any

UNALIGNED = {"need_data_aligned": False, "need_model_aligned": False}
ALIGNED = {"need_data_aligned": True, "need_model_aligned": True}
STOP = {"early_stop": 8}
MEANS = UNALIGNED | {"need_normalized": True} | STOP
SEQUENCES = ALIGNED | {"need_normalized": False} | STOP


def _form(path: str, steps: list, widths: list, samples: int, language: str) -> dict:
    return {
        "featurePath": path,
        "seq_lens": steps,
        "feature_dims": widths,
        "train_samples": samples,
        "num_classes": 3,
        "language": language,
        "KeyEval": "Loss",
        "missing_rate": [0.2, 0.2, 0.2],
        "missing_seed": [1111, 1111, 1111],
    }


def _english(name: str, widths: list, samples: int) -> dict:
    return {
        form: _form(f"{name}/Processed/{form}_50.pkl", steps, widths, samples, "en")
        for form, steps in (("aligned", [50, 50, 50]), ("unaligned", [50, 500, 375]))
    }


def _chinese(path: str, samples: int) -> dict:
    form = _form(path, [39, 400, 55], [768, 33, 709], samples, "cn")
    return {"unaligned": form}


DATA: dict[str, Any] = {
    "dataset_root_dir": "/somewhere",
    "mosi": _english("MOSI", [768, 5, 20], 1284),
    "mosei": _english("MOSEI", [768, 74, 35], 16326),
    "sims": _chinese("SIMS/Processed/unaligned_39.pkl", 1368),
    "simsv2": _chinese("SIMSv2/Processed/sims_unaligned.pkl", 2722),
}


def _row(names: str, *values: Any) -> dict:
    return dict(zip(names.split(), values, strict=True))


def _tfn(*values: Any) -> dict:
    names = "hidden_dims text_out post_fusion_dim dropouts batch_size learning_rate"
    return _row(names, *values)


def _lf_dnn(*values: Any) -> dict:
    return _tfn(*values[:-1]) | {"weight_decay": values[-1]}


def _lmf(*values: Any) -> dict:
    names = "hidden_dims dropouts rank batch_size learning_rate factor_lr weight_decay"
    return _row(names, *values)


def _ef_lstm(*values: Any) -> dict:
    names = "hidden_dims num_layers dropout batch_size learning_rate weight_decay"
    return _row(names, *values)


def _nets(names: str, *values: tuple[float, int]) -> dict:
    pairs = zip(names.split(), values, strict=True)
    return {name: {"drop": drop, "shapes": width} for name, (drop, width) in pairs}


_GATES = "gamma1Config gamma2Config outConfig"
_OPTIM = "batch_size learning_rate weight_decay"


def _mfn(hidden: list, memory: int, optim: tuple, *nets: tuple[float, int]) -> dict:
    sizes = {"hidden_dims": hidden, "memsize": memory, "windowsize": 2}
    return sizes | _nets(f"NN1Config NN2Config {_GATES}", *nets) | _row(_OPTIM, *optim)


def _graph_mfn(hidden: list, memory: int, node: int, optim: tuple, *nets: Any) -> dict:
    sizes = {"hidden_dims": hidden, "memsize": memory, "inner_node_dim": node}
    return sizes | _nets(f"NNConfig {_GATES}", *nets) | _row(_OPTIM, *optim)


def _mfm(codes: tuple, factors: tuple, drops: tuple, lda: tuple, *mfn: Any) -> dict:
    own = dict(zip(("zy_size", "zl_size", "za_size", "zv_size"), codes, strict=True))
    own |= dict(zip(("fy_size", "fl_size", "fa_size", "fv_size"), factors, strict=True))
    names = "zy_to_fy zl_to_fl za_to_fa zv_to_fv fy_to_y".split()
    own |= {f"{n}_dropout": drop for n, drop in zip(names, drops, strict=True)}
    return own | _row("lda_mmd lda_xl lda_xa lda_xv", *lda) | _mfn(*mfn)


_POST = "post_text_dim post_audio_dim post_video_dim"
_DECAY = "text_weight_decay audio_weight_decay video_weight_decay weight_decay"


def _four(
    hidden: list, posts: tuple, drops: tuple, batch: int, rate: float, *more: Any
) -> dict:
    weights, decays, rest = more
    return {
        "hidden_dims": hidden,
        **_row(_POST, *posts),
        "dropouts": [drops[0]] * 3,
        "post_dropouts": [drops[1]] * 4,
        "batch_size": batch,
        "learning_rate": rate,
        **_row("M T A V", *weights),
        **_row(_DECAY, *decays),
        **rest,
    }


def _self_mm(
    batch: int,
    rates: tuple,
    decays: tuple,
    lstms: tuple,
    posts: tuple,
    drops: tuple,
    *high: Any,
) -> dict:
    groups = "bert", "audio", "video", "other"
    heads = "fusion", "text", "audio", "video"
    return {
        "batch_size": batch,
        **{f"learning_rate_{g}": v for g, v in zip(groups, rates, strict=True)},
        **{f"weight_decay_{g}": v for g, v in zip(groups, decays, strict=True)},
        **_row("a_lstm_hidden_size v_lstm_hidden_size", *lstms),
        **_row("a_lstm_layers v_lstm_layers", 1, 1),
        **_row("text_out audio_out video_out", 768, 16, 32),
        **_row("a_lstm_dropout v_lstm_dropout t_bert_dropout", 0.0, 0.0, 0.1),
        **{f"post_{h}_dim": v for h, v in zip(heads, posts, strict=True)},
        **{f"post_{h}_dropout": v for h, v in zip(heads, drops, strict=True)},
        "H": high[0],
        "transformers": "bert",
        "pretrained": f"bert-base-{high[1]}",
    }


MODELS: dict[str, tuple[dict, dict[str, dict]]] = {
    "tfn": (
        MEANS,
        {
            "mosi": _tfn([128, 32, 128], 32, 64, [0.3, 0.3, 0.3, 0.5], 32, 0.001),
            "mosei": _tfn([128, 16, 128], 128, 16, [0.4] * 4, 128, 0.005),
            "sims": _tfn([128, 32, 128], 256, 32, [0.4] * 4, 32, 0.0005),
            "simsv2": _tfn([128, 32, 128], 128, 32, [0.3, 0.3, 0.3, 0.5], 128, 0.002),
        },
    ),
    "lmf": (
        MEANS,
        {
            "mosi": _lmf([128, 16, 128], [0.3] * 4, 3, 64, 0.001, 0.001, 0.005),
            "mosei": _lmf([128, 16, 128], [0.2] * 4, 4, 32, 0.001, 0.001, 0.001),
            "sims": _lmf([64, 16, 64], [0.2] * 4, 4, 64, 0.002, 0.0005, 0.005),
        },
    ),
    "lf_dnn": (
        MEANS | {"use_bert": False},
        {
            "mosi": _lf_dnn([128, 16, 128], 256, 128, [0.2] * 4, 128, 0.001, 0.01),
            "mosei": _lf_dnn([128, 32, 128], 128, 128, [0.2] * 4, 64, 0.002, 0.001),
            "sims": _lf_dnn(
                [128, 32, 128], 256, 32, [0.3, 0.3, 0.3, 0.5], 128, 0.005, 0.005
            ),
        },
    ),
    "ef_lstm": (
        SEQUENCES,
        {
            "mosi": _ef_lstm(128, 4, 0.5, 32, 0.001, 0.005),
            "mosei": _ef_lstm(256, 2, 0.4, 128, 0.005, 0.0001),
            "sims": _ef_lstm(32, 3, 0.5, 128, 0.0005, 0.001),
        },
    ),
    "mfn": (
        SEQUENCES | {"need_normalized": True},
        {
            "mosi": _mfn(
                *([256, 32, 256], 400, (128, 0.002, 0.0)),
                *((0.2, 32), (0.0, 64), (0.7, 256), (0.5, 32), (0.0, 128)),
            ),
            "mosei": _mfn(
                *([128, 32, 128], 128, (64, 0.0005, 0.0001)),
                *((0.2, 128), (0.5, 128), (0.7, 256), (0.0, 256), (0.5, 128)),
            ),
            "sims": _mfn(
                *([64, 16, 64], 64, (32, 0.001, 0.0)),
                *((0.2, 128), (0.0, 128), (0.2, 64), (0.7, 64), (0.7, 64)),
            ),
        },
    ),
    "graph_mfn": (
        SEQUENCES,
        {
            "mosi": _graph_mfn(
                *([256, 32, 256], 300, 64, (32, 0.002, 0.005)),
                *((0.0, 32), (0.5, 128), (0.5, 64), (0.0, 256)),
            ),
            "mosei": _graph_mfn(
                *([64, 16, 64], 300, 128, (64, 0.002, 0.001)),
                *((0.5, 32), (0.0, 64), (0.7, 256), (0.7, 128)),
            ),
            "sims": _graph_mfn(
                *([256, 32, 256], 64, 128, (64, 0.0005, 0.001)),
                *((0.5, 256), (0.2, 32), (0.7, 32), (0.2, 256)),
            ),
        },
    ),
    "mfm": (
        SEQUENCES,
        {
            "mosi": _mfm(
                *((80, 64, 80, 80), (64, 32, 16, 64), (0.5, 0.5, 0.7, 0.5, 0.0)),
                *((100, 0.5, 0.01, 0.5), [128, 32, 128], 64, (64, 0.002, 0.001)),
                *((0.7, 32), (0.0, 64), (0.0, 32), (0.5, 64), (0.2, 128)),
            ),
            "mosei": _mfm(
                *((32, 256, 80, 80), (16, 32, 80, 32), (0.2, 0.7, 0.7, 0.7, 0.2)),
                *((10, 5.0, 2.0, 5.0), [256, 32, 256], 64, (64, 0.001, 0.0005)),
                *((0.5, 1278), (0.7, 32), (0.5, 64), (0.2, 128), (0.0, 256)),
            ),
            "sims": _mfm(
                *((48, 256, 32, 80), (48, 256, 80, 48), (0.5, 0.0, 0.7, 0.0, 0.7)),
                *((200, 0.5, 0.01, 0.01), [64, 16, 64], 128, (128, 0.002, 0.005)),
                *((0.5, 32), (0.5, 64), (0.7, 64), (0.0, 256), (0.2, 128)),
            ),
        },
    ),
    "mlf_dnn": (
        MEANS,
        {
            "sims": _four(
                *([64, 32, 64], (16, 4, 32), (0.3, 0.5), 32, 0.002),
                *((0.6, 0.2, 0.8, 0.8), (0.0001, 0.001, 0.0001, 0.0)),
                {"text_out": 32, "post_fusion_dim": 32},
            )
        },
    ),
    "mtfn": (
        MEANS,
        {
            "sims": _four(
                *([256, 32, 256], (64, 4, 8), (0.2, 0.2), 64, 0.005),
                *((0.6, 0.4, 0.0, 1.0), (0.001, 0.0001, 1e-5, 0.005)),
                {"text_out": 256, "post_fusion_dim": 64},
            )
        },
    ),
    "mlmf": (
        MEANS,
        {
            "sims": _four(
                *([256, 32, 256], (8, 4, 32), (0.3, 0.4), 128, 0.001),
                *((0.2, 1.0, 0.4, 0.8), (0.0001, 0.0, 0.0001, 0.005)),
                {"rank": 3, "factor_lr": 0.001},
            )
        },
    ),
    "self_mm": (
        UNALIGNED
        | {"need_normalized": False, "use_bert": True, "use_finetune": True}
        | {"save_labels": False, "excludeZero": True, "update_epochs": 4}
        | STOP,
        {
            "mosi": _self_mm(
                *(16, (5e-5, 0.005, 0.005, 0.001), (0.001,) * 4, (16, 32)),
                *((128, 32, 16, 32), (0.0, 0.1, 0.1, 0.0), 3.0, "uncased"),
            ),
            "mosei": _self_mm(
                *(32, (5e-5, 0.005, 0.0001, 0.001), (0.001, 0.0, 0.0, 0.01), (16, 32)),
                *((128, 32, 16, 32), (0.1, 0.0, 0.0, 0.0), 3.0, "uncased"),
            ),
            "sims": _self_mm(
                *(32, (5e-5, 0.005, 0.005, 0.001), (0.001, 0.01, 0.01, 0.001)),
                *((16, 64), (128, 64, 16, 32), (0.0, 0.1, 0.1, 0.0), 1.0, "chinese"),
            ),
        },
    ),
}


def whole() -> dict[str, Any]:
    """Return the file, as far as it is of these methods; free to be changed."""
    models = {
        name: {"commonParams": common, "datasetParams": own}
        for name, (common, own) in MODELS.items()
    }
    return copy.deepcopy({"datasetCommonParams": DATA, **models})
