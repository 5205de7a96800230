"""Time whole training steps of Self-MM, BERT and Adam included, on true token lengths.

    python -m msa_jax.bench.whole_step --dataset mosi_real --bert base --against torch
    python -m msa_jax.bench.whole_step --bert minilm --tokens 40 --json speed.json

A step is what training runs: forward, loss, backward, generated labels, Adam, for 32
samples; as in training, one program runs several, here four batches. Texts are the data
set's transcripts, cut to --tokens; weights are random (a step takes as long whatever
they are), audio and vision noise with MOSI's shapes and its twin's lengths. Competitors
take turns in this process: our step with the text padded (transformers' BERT, our own),
packed, and PyTorch's with the text padded.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from msa_jax import cli
from msa_jax.errors import UserError

NAMES = ("transformers", "padded", "packed")
BATCHES = 4


def main() -> int:
    """Parse the command line, measure, print; return the exit code."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--dataset", default="mosi_real", help="whose transcripts (default: mosi_real)")
    add("--data", help="where it lies (default: $MSA_DATA or ./data)")
    add("--bert", choices=("base", "minilm"), default="base")
    add("--layers", type=int, help="fewer layers than the model has")
    add("--tokens", type=int, default=50, help="longest text (default: 50)")
    add("--sides", default=",".join(NAMES), help=f"any of {','.join(NAMES)}")
    add("--against", choices=("torch",), help="take turns with PyTorch, padded")
    add("--repeats", type=int, default=5, help="timed steps each (default: 5)")
    add("--threads", type=int, default=2, help="CPU cores to use (default: 2)")
    add("--json", type=Path, metavar="FILE", help="write all numbers there, too")
    options = parser.parse_args()
    from msa_jax.bench.__main__ import _limit_threads, _require_torch, _write

    threads = _limit_threads(options.threads)
    if options.against:
        _require_torch(threads)
    found = run(options)
    for row in found["rows"]:
        print(json.dumps(row))
    if options.json:
        _write(options.json, found)
    return 0


def run(options: Any) -> dict[str, Any]:
    """Measure; return what was measured and of what."""
    import jax
    import numpy as np

    from msa_jax import config, methods, optim, packing
    from msa_jax.bench import measure
    from msa_jax.bert import OwnBertEncoder, Shape
    from msa_jax.main import set_up_jax
    from msa_jax.text import BertEncoder

    settings = config.base()
    set_up_jax(settings.precision)
    jax.config.update("jax_enable_compilation_cache", False)
    shape = Shape()
    if options.bert == "minilm":
        shape = shape._replace(
            hidden_size=384, num_hidden_layers=6, intermediate_size=1536
        )
    if options.layers:
        shape = shape._replace(num_hidden_layers=options.layers)
    split = _make_split(options)
    size = settings.optim.batch_size
    sizes = packing.choose({"train": split}, size)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(split.label))[: BATCHES * size].reshape(-1, size)
    optimizer, sides, params = None, {}, None
    lengths = np.asarray(split.text_length)[order]
    for name in options.sides.split(","):
        if name not in NAMES:
            raise UserError(f"--sides {name}: any of {', '.join(NAMES)}")
        if name == "transformers":
            from transformers import BertConfig

            module: Any = BertEncoder(BertConfig(**shape.settings()))
        else:
            module = OwnBertEncoder(shape)
        method = methods.make(settings, module, (-3.0, 3.0))
        optimizer = optim.make_optimizer(settings.optim.groups, method.groups)
        params = params or measure.draw_params(method, _batch(split, order[0]))
        chosen = sizes if name == "packed" else None
        sides[name] = _side(method, optimizer, params, split, order, chosen)
    if options.against:
        sides["torch"] = _torch_side(settings, shape, params, split, order)
    times = measure.alternate({n: s.step for n, s in sides.items()}, options.repeats)
    rows = [
        {
            "side": name,
            "step_ms": round(1e3 * t.median / BATCHES, 1),
            "step_min_ms": round(1e3 * min(t.wall) / BATCHES, 1),
            "step_cpu_ms": round(1e3 * float(np.median(t.cpu)) / BATCHES, 1),
            "others": round(t.others, 2),
            "compile_seconds": sides[name].compile_seconds,
            "memory_mb": (sides[name].memory_bytes or 0) // 10**6,
        }
        for name, t in times.items()
    ]
    return {
        "bert": shape.settings(),
        "tokens_per_sentence": float(np.asarray(split.text_length).mean()),
        "tokens_of_batches": lengths.sum(axis=1).tolist(),
        "longest_of_batches": lengths.max(axis=1).tolist(),
        "padded_to": int(split.text.shape[-1]),
        "packed": {"width": sizes.width, "rows": list(sizes.rows)},
        "cores": os.cpu_count(),
        "rows": rows,
    }


def _make_split(options: Any) -> Any:
    """Return a training split: real tokens, noise for audio and vision."""
    import jax.numpy as jnp
    import numpy as np

    from msa_jax import config, text
    from msa_jax.bench import shapes
    from msa_jax.data import load
    from msa_jax.types import Split

    folder = options.data or os.environ.get("MSA_DATA") or "data"
    train = load(options.dataset, folder).splits["train"]
    if train.transcript is None:
        raise UserError(f"--dataset {options.dataset}: it has no transcripts")
    encoder = text.load_encoder(config.base().text)
    tokens, _ = text.tokenize(encoder, list(train.transcript), options.tokens)
    shape, rng, n = shapes.of_dataset("mosi"), np.random.default_rng(0), len(tokens)
    drawn, fields = shapes.true_lengths(shape), {}
    for m in ("audio", "vision"):
        length = rng.choice(drawn[m], n).astype(np.int32)
        x = rng.normal(size=(n, shape.steps[m], shape.widths[m])).astype(np.float32)
        x[np.arange(shape.steps[m]) >= length[:, None]] = 0
        fields |= {m: jnp.asarray(x), f"{m}_length": jnp.asarray(length)}
    return Split(
        text=jnp.asarray(tokens),
        text_length=jnp.asarray(tokens[:, 1].sum(-1)),
        label=jnp.asarray(train.label, jnp.float32),
        unimodal_label=jnp.full((n, 3), jnp.nan),
        **fields,
    )


def _batch(split: Any, index: Any) -> Any:
    from msa_jax.batching import gather

    return gather(split, index)


def _side(method, optimizer, params, split, order, sizes) -> Any:
    """Compile an epoch of a few batches; a call runs them."""
    import jax
    import jax.numpy as jnp

    from msa_jax.bench import measure
    from msa_jax.step import train_epoch
    from msa_jax.train_state import new_state

    state = new_state(method, optimizer, params, split, jax.random.key(0))
    state = dataclasses.replace(state, epoch=jnp.asarray(measure.EPOCH - 1))
    state = jax.tree.map(jnp.array, state)

    def epoch(state, split, order):
        state, parts = train_epoch(
            method, optimizer, state, split, order, 1, sizes=sizes
        )
        return dataclasses.replace(state, epoch=state.epoch - 1), parts

    start = time.perf_counter()
    lowered = jax.jit(epoch, donate_argnums=0).lower(state, split, order)
    compiled: Any = lowered.compile()
    seconds = round(time.perf_counter() - start, 1)
    states = [state]

    def step(number: int) -> None:
        del number
        new, _ = jax.block_until_ready(compiled(states.pop(), split, order))
        states.append(new)

    return measure.Side(step, step, seconds, measure._memory(compiled))


def _torch_side(settings, shape, params, split, order) -> Any:
    """Build PyTorch's step on padded text, with our parameters."""
    import numpy as np
    import torch  # pyright: ignore[reportMissingImports]

    from msa_jax.bench import torch_bert, torch_self_mm, torch_sides
    from msa_jax.interop import to_torch
    from msa_jax.types import TARGETS

    widths = {m: getattr(split, m).shape[-1] for m in ("audio", "vision")}
    widths["text"] = shape.hidden_size
    network = torch_self_mm.SelfMM(settings.model, widths, packed=False)
    bert = torch_bert.Bert(shape)
    state = {k: torch.from_numpy(np.array(v)) for k, v in to_torch(params).items()}
    of_bert = "text_model.model."
    bert.load_state_dict(
        {k[len(of_bert) :]: v for k, v in state.items() if k.startswith(of_bert)}
    )
    network.load_state_dict(
        {k: v for k, v in state.items() if not k.startswith(of_bert)}
    )
    label = torch.from_numpy(np.array(split.label))
    heads = {t: settings.model[f"{t}_head"] for t in TARGETS}
    book = torch_self_mm.Labels(label, heads, 3.0)
    groups, loss = torch_sides._multitask(network, settings, book)
    plain = {True: [], False: []}
    for name, parameter in bert.named_parameters():
        plain["bias" in name or "LayerNorm" in name].append(parameter)
    for none, name in ((False, "bert"), (True, "bert_no_decay")):
        adam = settings.optim.groups[name]
        groups.append(
            {"params": plain[none], "lr": adam.rate, "weight_decay": adam.decay}
        )
    optimizer = torch.optim.Adam(groups)
    inputs = [torch_sides._tensors(_batch(split, index)) for index in order]

    def step(number: int) -> None:
        del number
        network.train()
        bert.train()
        for given in inputs:
            optimizer.zero_grad()
            total, after = loss(given | {"text": bert(given["text"].long())})
            total.backward()
            after()
            optimizer.step()

    from msa_jax.bench import measure

    return measure.Side(step, step)


if __name__ == "__main__":
    cli.run_plain(main)
