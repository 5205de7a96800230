"""The benchmark's command line: its flags, and what cannot be asked for.

jax reads the environment when it is imported, and counts the cores that it may use
when it makes its threads. Nothing that is imported here imports it: first `parse`, then
`targets.set_up` or `limit_threads`, then the rest.
"""

import os
from pathlib import Path
from typing import Any

from msa_jax.config import cli
from msa_jax.ground.errors import UserError, near
from msa_jax.studies.bench.targets import TARGETS

DATASETS = ("mosi", "mosei", "sims")
ENCODERS = ("none", "minilm", "bert-base")
SIDES = ("transformers", "padded", "packed")
# Flags that say nothing without another one.
_NEEDS = {
    "mesh_data": "compile_only",
    "precision": "compile_only",
    "layers": "encoder",
    "sides": "encoder",
    "transcripts": "encoder",
    "data": "encoder",
    "samples": "seeds",
    "over_seeds": "seeds",
    "without_labels": "seeds",
}
# Flags of what runs.
_TIMES = ("against", "sides", "transcripts", "samples", "without_labels", "over_seeds")


def parse(doc: str | None) -> Any:
    """Read the command line; seeds and sides come as tuples, methods as typed.

    Raises:
        UserError: a value that makes no sense, or a flag that needs another one.
    """
    options = _parser(doc).parse_args()
    for name in ("batch", "repeats", "threads", "layers", "samples", "mesh_data"):
        value = getattr(options, name)
        if value is not None and value < 1:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag} {value}: must be 1 or more")
    options.sides = options.sides and _listed("sides", options.sides, SIDES)
    options.seeds = _numbers("seeds", options.seeds) if options.seeds else ()
    ahead = bool(options.compile_only)
    given = {name: bool(getattr(options, name)) for name in _NEEDS}
    given |= {
        "encoder": ahead or options.encoder not in (None, "none"),
        "seeds": bool(options.seeds),
        "compile_only": ahead,
    }
    for name, needed in _NEEDS.items():
        if given[name] and not given[needed]:
            value = {"encoder": "minilm", "seeds": "1,5"}.get(needed, "v5e-8")
            needed = needed.replace("_", "-")
            raise UserError(
                f"--{name.replace('_', '-')} says nothing without --{needed}: "
                f"add, for example, --{needed} {value}"
            )
    if ahead:
        for name in _TIMES:
            if getattr(options, name):
                name = name.replace("_", "-")
                raise UserError(f"--compile-only runs nothing: leave --{name} out")
    else:
        options.encoder, options.batch = options.encoder or "none", options.batch or 32
    for name in ("config", "variant"):
        if getattr(options, name) and "," in (options.method or ""):
            raise UserError(f"--{name} is for one method: give one with --method")
    folder = options.json.parent if options.json else Path()
    if not folder.is_dir():
        raise UserError(f"--json {options.json}: no folder {folder}; make it first")
    return options


def methods_of(options: Any) -> tuple[str, ...]:
    """Return the methods that are asked for.

    Raises:
        UserError: there is none of that name.
    """
    from msa_jax.methods import PAPERS

    return _listed("method", options.method or next(iter(PAPERS)), tuple(PAPERS))


def _parser(doc: str | None) -> cli.Parser:
    parser = cli.Parser(doc)
    add = parser.add_argument
    add(
        "--method",
        help="cards of configs/, joined by commas (default: the README's first)",
    )
    add("--dataset-shape", "--dataset_shape", choices=DATASETS, default="mosi")
    add("--aligned", action="store_true", help="all modalities have the text's steps")
    add(
        "--batch",
        type=int,
        help="samples per step (default: 32; with --compile-only: the config's)",
    )
    add(
        "--encoder",
        choices=ENCODERS,
        help="none: text comes as 768 features per token (default); else whole steps "
        "are timed, the encoder's included",
    )
    add("--sides", help=f"with an encoder: any of {','.join(SIDES)} (default: all)")
    add("--layers", type=int, help="of the encoder, fewer than it has")
    add("--transcripts", help="data set whose sentences are read, e.g. mosi_real")
    add("--data", help="where it lies (default: $MSA_DATA or ./data)")
    add("--seeds", help="also time whole epochs of so many seeds, e.g. 1,5,10")
    add("--samples", type=int, help="of such an epoch (default: the data set's)")
    add(
        "--over-seeds",
        "--over_seeds",
        choices=("map", "vmap"),
        help="seeds in turn, or side by side",
    )
    add(
        "--without-labels",
        "--without_labels",
        action="store_true",
        help="also epochs without updates of label tables",
    )
    add(
        "--compile-only",
        "--compile_only",
        choices=tuple(TARGETS),
        metavar="TARGET",
        help="run nothing: compile the epoch of --seeds seeds for this accelerator "
        f"({' '.join(TARGETS)}) and say what it takes; needs the extra [aot] (TPU) or "
        "[aot-cuda] (GPU). The encoder is bert-base where the config reads token ids",
    )
    add(
        "--mesh-data",
        "--mesh_data",
        type=int,
        help="devices that share a batch (default: 1)",
    )
    add(
        "--precision", help="highest, high, default or bfloat16 (default: the config's)"
    )
    add("--against", choices=("torch",), help="take turns with PyTorch")
    add("--repeats", type=int, default=10, help="timed calls each (default: 10)")
    add("--threads", type=int, default=2, help="CPU cores to use (default: 2)")
    add("--config", type=Path, help="default: configs/METHOD_DATASET.py")
    add("--variant", help="of that file, e.g. paper (default: code, if it has that)")
    add("--json", type=Path, metavar="FILE", help="write all numbers there, too")
    return parser


def _listed(name: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.split(",")))
    for word in found:
        if word not in known:
            meant = near(word, known)
            raise UserError(f"--{name} {text}: {word!r} is none of {known}{meant}")
    return found


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise UserError(f"--{name} {text}: numbers of 1 or more, as in 1,5,10")
    return found


def load_config(options: Any, name: str) -> Any:
    """Return a method's configuration for the data set, as the flags change it.

    Raises:
        UserError: no such file or variant.
    """
    from ml_collections import FrozenConfigDict

    from msa_jax.methods import PAPERS

    paper, path = PAPERS[name], options.config
    # PyTorch's side is the public code's, where there is a choice.
    public = "code" if "code" in paper.variants and not options.compile_only else ""
    variant = options.variant or public
    if path is None:
        config = paper.config("+".join(filter(None, (options.dataset_shape, variant))))
    else:
        config = cli.load_config(f"{path}:{variant}" if variant else str(path))
        if config.method != name:
            raise UserError(
                f"--config {path} is of {config.method}: add --method {config.method}"
            )
    if options.encoder is not None:
        encoded = options.encoder != "none"
        config.text.encoder = "bert" if encoded else "features"
        config.text.implementation = "own" if encoded else config.text.implementation
    config.data.aligned = options.aligned
    config.optim.batch_size = options.batch or config.optim.batch_size
    config.mesh.over_seeds = options.over_seeds or config.mesh.over_seeds
    return FrozenConfigDict(config)


def limit_threads(threads: int) -> int:
    """Keep this process on so many cores; return how many there are for it."""
    try:  # before jax makes its thread pools
        cores = sorted(os.sched_getaffinity(0))[:threads]
        os.sched_setaffinity(0, cores)
    except AttributeError:  # not Linux
        return threads
    return len(cores)
