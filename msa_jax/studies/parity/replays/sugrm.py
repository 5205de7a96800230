"""Replays of SPT and SUGRM: layers, forward passes and gradients, training."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msa_jax.data.batches import gather
from msa_jax.ground.names import MODALITIES, TARGETS
from msa_jax.ground.types import Batch, HumanTables, Method, PyTree
from msa_jax.layers import channels, windows
from msa_jax.layers.mrm import Recalibration
from msa_jax.layers.spt import Readings, SparsePhasedTransformer
from msa_jax.layers.windows import Sampling
from msa_jax.methods import label_rules, multitask, sugrm, ulgm_distance
from msa_jax.methods.spt import TORCH as SPT_TORCH
from msa_jax.methods.torch_names import to_torch
from msa_jax.studies.parity.replays import training
from msa_jax.studies.parity.replays.compare import Comparison
from msa_jax.studies.parity.replays.self_mm import FEATURES, HEADS
from msa_jax.studies.parity.replays.training import StubEncoder, load, under

Arrays = Mapping[str, np.ndarray]
LETTER = {"text": "t", "audio": "a", "vision": "v"}
# The original's softmax is always float32, in the float64 references, too.
SOFTMAX_TOLERANCE = 1e-6
NO_DROPOUT: dict[str, Any] = dict.fromkeys(
    ("relu_dropout", "residual_dropout", "embed_dropout"), 0.0
)
# Letters of input, cross and self attention, then A, B and G (see windows.Sampling).
MODES = {
    "default": ("", "S", "S", (1, 0.25, 0.05)),
    "IS": ("S", "S", "S", (1, 0.25, 0.05)),
    "ISP": ("SP", "S", "S", (1, 0.25, 0.05)),
    "ISPR": ("SPR", "S", "S", (1, 0.25, 0.5)),
    "allSP": ("SP", "SP", "SP", (2, 0.25, 0.05)),
    "none": ("", "", "", (1, 0.25, 0.05)),
}
DENSE = ("default_dense", "ISP_dense")


def spt(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the encoder in every mode, its gradients, positions and sampled keys."""
    tolerance = max(tolerance, SOFTMAX_TOLERANCE)
    _tables(z, table, dtype)
    weights = under(z, "w/spe.")
    embed, heads = weights["init_hiddens"].shape[1], int(z.get("heads", 2))
    params = None
    for data in ("aligned", "unaligned"):
        inputs = {m: jnp.asarray(z[f"{data}/{LETTER[m]}"], dtype) for m in MODALITIES}
        if params is None:
            model = SparsePhasedTransformer(_readings("default", embed, heads))
            args = (SPT_TORCH, weights, dtype, model, inputs, _full(inputs))
            params = load(*args, train=False)
        for mode in (*MODES, *DENSE):
            readings = _readings(mode, embed, heads)
            drawn = None
            if mode == "ISPR":
                drawn = {m: _drawn(z, data, m, readings.rounds) for m in MODALITIES}
            name = f"{data}/{mode}"
            _encoder(z, table, tolerance, name, readings, params, inputs, drawn)
    _spt_gradient(z, table, tolerance, params, _readings("default", embed, heads))


def _encoder(z, table, tolerance, name, readings, params, inputs, drawn) -> None:
    model = SparsePhasedTransformer(readings)

    @jax.jit
    def run(params, inputs, drawn):
        return model.apply(
            {"params": params},
            inputs,
            _full(inputs),
            train=False,
            random_shifts=drawn,
            mutable=["intermediates"],
        )

    last, inner = run(params, inputs, drawn)
    for m in MODALITIES:
        states = inner["intermediates"][f"states_{m}"][0]  # [channels, steps, batch]
        reference = z[f"{name}/h_{LETTER[m]}"]  # [steps, batch, channels]
        ours = np.transpose(states, (1, 2, 0))
        table.add(f"{name}/h_{LETTER[m]}", ours, reference, tolerance)
    if f"{name}/last_hs" in z:
        together = jnp.concatenate([last[m] for m in MODALITIES], axis=1)
        table.add(f"{name}/last_hs", together, z[f"{name}/last_hs"], tolerance)
        if f"{name}/out" in z:
            head = _cast(_standalone_head(under(z, "w/")), together.dtype)
            out = _score(head, together)
            table.add(f"{name}/out", out, z[f"{name}/out"], tolerance)


def _spt_gradient(z, table, tolerance, params, readings) -> None:
    inputs = {
        m: jnp.asarray(z[f"unaligned/{LETTER[m]}"], params["start"].dtype)
        for m in MODALITIES
    }
    head = _cast(_standalone_head(under(z, "w/")), params["start"].dtype)
    model = SparsePhasedTransformer(readings)

    @jax.jit
    @jax.value_and_grad
    def objective(both):
        variables = {"params": both[0]}
        last: Any = model.apply(variables, inputs, _full(inputs), train=False)
        together = jnp.concatenate([last[m] for m in MODALITIES], axis=1)
        return _score(both[1], together).mean() + jnp.square(together).mean()

    value, (by_params, by_head) = objective((params, head))
    prefix = "unaligned/default/"
    table.add(f"{prefix}grad_loss", value, z[f"{prefix}grad_loss"], tolerance)
    ours = to_torch(SPT_TORCH, {"spt": by_params})
    for name, (kernel, bias) in by_head.items():
        ours |= {f"{name}.weight": kernel, f"{name}.bias": bias}
    reference = under(z, f"{prefix}grad/")
    for name, gradient in ours.items():
        if name in reference:
            table.add(f"grad/{name}", gradient, reference[name], tolerance)
        else:
            assert name in z["params_without_gradient"], name
            table.add(f"grad/{name} (none)", gradient, np.zeros_like(gradient), 0.0)


def _standalone_head(weights: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = ("proj1", "proj2", "out_layer")
    return {n: (weights[f"{n}.weight"], weights[f"{n}.bias"]) for n in names}


def _score(head: PyTree, x: jax.Array) -> jax.Array:
    """The standalone model's head: a residual block and a linear map."""

    def linear(name, x):
        return x @ head[name][0].T + head[name][1][None]

    x = x + linear("proj2", jax.nn.relu(linear("proj1", x)))
    return linear("out_layer", x)


def _tables(z: Arrays, table: Comparison, dtype: type) -> None:
    for key in (k for k in z if k.startswith("posemb/")):
        rows, width = z[key].shape
        ours = channels.position_table(rows - 1, width)
        table.add(key, ours.astype(dtype), z[key][1:], 1e-6)
    steps = {"t": 50, "a": 375, "v": 500}
    hidden = {m: -(-n // 5) for m, n in steps.items()}
    kinds = {"IA": Sampling(5, 8), "CA": Sampling(1, 4), "SA": Sampling(1, 3)}
    phases = windows.phase(375, 75, kinds["IA"])
    for key in (k for k in z if k.startswith("idx/")):
        if key == "idx/phase_a375":
            table.add(key, phases, z[key], 0.0)
            continue
        kind, letters, rest = key.removeprefix("idx/").split("_", 2)
        shift: Any = int(rest[-1])
        if rest.startswith("phase"):
            shift, letters = jnp.asarray(2 + phases), "a"
        letters = letters[:1] if kind == "IA" else letters
        keys = (steps if kind == "IA" else hidden)[letters[-1]]
        args = (hidden[letters[0]], keys, kinds[kind], shift)
        table.add(key, windows.window_index(*args).T, z[key], 0.0)
    for key, args in (("IA_t50", (10, 50, "IA")), ("CA_at", (75, 10, "CA"))):
        seen = windows.dense_mask(*args[:2], kinds[args[2]])
        table.add(f"mask/{key}", ~seen, z[f"mask/{key}"], 0.0)


def _drawn(z: Arrays, data: str, modality: str, rounds: int) -> jax.Array:
    names = [f"{data}/ISPR/randint/{r}_{LETTER[modality]}" for r in range(rounds)]
    return jnp.stack([jnp.asarray(z[n], jnp.int32) for n in names])


def recalibration(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the recalibration module and its gradients."""
    inputs = {m: jnp.asarray(z[f"in_{m}"], dtype) for m in MODALITIES}
    args = sugrm.TORCH, under(z, "w/"), dtype, Recalibration(), inputs, _full(inputs)
    params = load(*args)

    @jax.jit
    def objective(params, inputs):
        out: Any = Recalibration().apply({"params": params}, inputs, _full(inputs))
        return sum(jnp.square(out[m]).mean() for m in MODALITIES), out

    both = jax.value_and_grad(objective, (0, 1), has_aux=True)
    (loss, out), (by_params, by_inputs) = both(params, inputs)
    table.add("loss", loss, z["loss"], tolerance)
    stored = max(tolerance, 1e-7)
    for m in MODALITIES:
        table.add(f"out_{m}", out[m], z[f"out_{m}"], tolerance)
        table.add(f"grad_in_{m}", by_inputs[m], z[f"grad_in_{m}"], stored)
    for name, gradient in to_torch(sugrm.TORCH, by_params).items():
        table.add(f"grad/{name}", gradient, z[f"grad/{name}"], stored)


def forward(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay the model in evaluation mode: states, features, scores, gradients."""
    tolerance = max(tolerance, SOFTMAX_TOLERANCE)
    weights = under(z, "w/")
    method = _method(weights, int(z.get("heads", 4)))
    for data in ("aligned", "unaligned"):
        stored = under(z, f"{data}/")
        _forward_set(stored, table, dtype, tolerance, data, method, weights)


def _forward_set(z, table, dtype, tolerance, data, method: Method, weights) -> None:
    inputs = {"audio": z["audio"], "vision": z["vision"]}
    b = z["audio"].shape[0]
    batch = Batch(
        text=jnp.asarray(z["text_bert"], jnp.int32),
        text_length=jnp.asarray(z["text_bert"][:, 1].sum(-1), jnp.int32),
        audio=jnp.asarray(inputs["audio"], dtype),
        audio_length=jnp.full(b, inputs["audio"].shape[1], jnp.int32),
        vision=jnp.asarray(inputs["vision"], dtype),
        vision_length=jnp.full(b, inputs["vision"].shape[1], jnp.int32),
        label=jnp.asarray(z["label_fusion"], dtype),
        index=jnp.arange(b),
        valid=jnp.ones(b, bool),
    )
    params = load(sugrm.TORCH, weights, dtype, method.model, batch, train=False)
    labels = [jnp.asarray(z[f"label_{t}"], dtype) for t in TARGETS]
    labels = HumanTables(jnp.stack(labels))

    @jax.jit
    def objective(params):
        outputs, inner = method.model.apply(
            {"params": params}, batch, train=False, capture_intermediates=True
        )
        loss, parts = method.loss(outputs, batch, labels)
        return loss, (outputs, parts, inner["intermediates"])

    reference, ours = under(z, "grad/"), {}
    if reference:
        value = jax.value_and_grad(objective, has_aux=True)
        (loss, (outputs, parts, inner)), gradient = value(params)
        ours = to_torch(sugrm.TORCH, gradient)
    else:
        loss, (outputs, parts, inner) = objective(params)
    mrm = inner["recalibration"]["__call__"][0]
    hidden = inner["text_encoder"]["__call__"][0]
    table.add(f"{data}/text_hidden", hidden, z["text_hidden"], tolerance)
    for m in MODALITIES:
        table.add(f"{data}/mrm_{m}", mrm[m], z[f"mrm_{m}"], tolerance)
        states = np.transpose(inner["spt"][f"states_{m}"][0], (1, 2, 0))
        table.add(f"{data}/h_{LETTER[m]}", states, z[f"h_{LETTER[m]}"], tolerance)
    for row, t in enumerate(TARGETS):
        name = f"Feature_{FEATURES[t]}"
        table.add(f"{data}/{name}", outputs.feature[t], z[name], tolerance)
        score = z[f"out_{HEADS[t]}"][:, 0]
        table.add(f"{data}/out_{HEADS[t]}", outputs.prediction[row], score, tolerance)
        table.add(f"{data}/loss_{t}", parts[f"loss_{t}"], z[f"loss_{t}"], tolerance)
    table.add(f"{data}/loss", loss, z["loss"], tolerance)
    for name in reference:
        table.add(f"{data}/grad/{name}", ours[name], reference[name], tolerance)


def whole_training(z: Arrays, table: Comparison, dtype: type, tolerance: float) -> None:
    """Replay whole training: every loss, u-label, centre and weight, and the stop."""
    weights, hp = under(z, "w_init/Model."), under(z, "hp/")
    given = int(hp["num_heads"]), float(hp["H"]), int(hp["batch_size"])
    method = _method(weights, *given, z["orders"][0])
    groups = {
        name: {
            "rate": float(hp[f"learning_rate_{name}"]),
            "decay": float(hp[f"weight_decay_{'text' if name == 'spt' else name}"]),
        }
        for name in ("bert", "spt", "other")
    }
    groups["bert_no_decay"] = groups["bert"] | {"decay": 0.0}
    tolerance = max(tolerance, SOFTMAX_TOLERANCE)
    table.note(
        "key biases of input and self attention are not compared: they shift all of a "
        "query's scores alike, so their gradient is rounding only, which Adam blows up"
    )
    example = gather(training.split(z, "train", dtype), jnp.arange(1))
    params = load(sugrm.TORCH, weights, dtype, method.model, example, train=False)
    states = training.replay(
        z, table, dtype, tolerance, method, groups, params, sugrm.TORCH, _settled
    )
    for side, name in enumerate(("pos", "neg")):
        centers = np.stack([s.labels.center[side] for s in states])
        table.add(f"center_{name}", centers, z[f"center_{name}"], tolerance)


def _settled(name: str, length: int) -> np.ndarray:
    """Return which entries of a trained vector its reference determines."""
    kept = np.ones(length, bool)
    if name.endswith("in_proj_bias") and "crosslayer" not in name:
        kept[length // 3 : 2 * length // 3] = False
    return kept


def _method(
    weights: Arrays,
    heads: int,
    high: float = 3.0,
    batch_size: int = 4,
    order: np.ndarray | None = None,
) -> Method:
    """Build SUGRM with the sizes of a PyTorch state dict, without dropout."""
    width, embed = weights["proj1_t.weight"].shape
    network = sugrm.Sugrm(
        StubEncoder(*weights["text_model.emb.weight"].shape),
        _readings("default", embed, heads),
        width=width,
        output_dropout=0.0,
    )
    rules = ulgm_distance.Rules(label_range=(-high, high), undefined="nan")
    rule = label_rules.distance(rules, width, batch_size)
    if order is not None:

        def init(split, key):
            del key
            first = jnp.asarray(order, jnp.int32)
            args = (split.label, width, first, batch_size, rules)
            return ulgm_distance.init_tables(*args)

        rule = rule._replace(init=init)
    return label_rules.method(network, rule, multitask.loss, sugrm.group)


def _readings(mode: str, embed: int, heads: int) -> Readings:
    *letters, constants = MODES[mode.removesuffix("_dense")]
    names = ("input_letters", "cross_letters", "self_letters")
    shifts = ("step_shift", "phase_rate", "random_share")
    return Readings(
        embed=embed,
        heads=heads,
        **dict(zip(names, letters, strict=True)),
        **dict(zip(shifts, constants, strict=True)),
        dense=mode.endswith("_dense"),
        **NO_DROPOUT,
    )


def _full(inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Every sample has the full length."""
    return {m: jnp.full(x.shape[0], x.shape[1], jnp.int32) for m, x in inputs.items()}


def _cast(params: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
