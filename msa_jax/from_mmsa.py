"""Bring a configuration, or a trained network, along from MMSA (thuiar/MMSA).

example: python -m msa_jax.from_mmsa --config config_regression.json --model tfn \\
             --dataset mosi --to configs/mine.py
example: python -m msa_jax.from_mmsa --weights tfn-mosi.pth --to runs/mine
example: python -m msa_jax.from_mmsa --weights tfn-mosi.pth --config mine.json \\
             --to runs/mine --config.data.name=mosi_unaligned

The first writes a config file for `python -m msa_jax.main` and says which fields of
MMSA's have no effect here. The others make a finished run of a PyTorch state dict, of
any version, without PyTorch and without running anything in it: predict, robustness
and report open it. The data set must be prepared (docs/from_mmsa.md); without --config
the network has MMSA's own values. Any field of ours can be set: --config.FIELD=VALUE.
"""

import re
import sys
from pathlib import Path
from typing import Any

from ml_collections import FrozenConfigDict

from msa_jax.config import cli
from msa_jax.ground import files
from msa_jax.ground.errors import UserError

SEED = 1115  # the last of those that MMSA takes, whose weights it leaves


def command() -> None:
    """Run the command."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--config", type=Path, help="MMSA's config_regression.json")
    parser.add_argument("--weights", type=Path, help="a file of torch.save, .pth")
    parser.add_argument(
        "--model", help="as MMSA calls it (default: what the file of weights is called)"
    )
    parser.add_argument("--dataset", help="likewise, and the prepared data set's name")
    parser.add_argument(
        "--to", type=Path, required=True, help="the config file, or the run's folder"
    )
    parser.add_argument("--data_dir", help="where data sets lie (default: $MSA_DATA)")
    mine, overrides = cli.split_overrides(sys.argv[1:])
    given = parser.parse_args(mine)
    model, dataset = given.model, given.dataset
    if given.weights is not None:
        named = re.fullmatch(r"(\w+)-(\w+)\.\w+", given.weights.name)
        model = model or (named and named[1])
        dataset = dataset or (named and named[2])
    if not model or not dataset:
        raise UserError("give --model and --dataset, as MMSA calls them (see --help)")
    if given.weights is not None:
        _convert(given, overrides, model, dataset)
        return
    if given.config is None:
        raise UserError("give --config (a configuration) or --weights (a network)")
    if overrides:
        raise UserError("--config.FIELD goes with --weights; edit the config file")
    _translate(given.config, model, dataset, given.to)


def _translate(file: Path, model: str, dataset: str, target: Path) -> None:
    """Write a config file; say what of MMSA's has no effect in it."""
    from msa_jax.studies.from_mmsa import translate

    if target.suffix != ".py":
        raise UserError(f"--to {target}: a config file ends in .py")
    found = translate.translate(file, model, dataset)
    if target.exists():
        raise UserError(f"--to {target}: is there already; give another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write(target, translate.source(found, file).encode())
    for line in translate.no_effect(found):
        print(f"no effect here: {line}")
    print(
        f"{target}: {len(found.taken)} fields; train it with "
        f"python -m msa_jax.main --config {target}"
    )


def _convert(given: Any, overrides: dict[str, str], model: str, dataset: str) -> None:
    """Write the folder of a finished run, and its report."""
    import msa_jax.methods as methods
    from msa_jax.ground.backend import set_up_jax
    from msa_jax.studies.from_mmsa import translate

    paper = translate.paper_of(model)
    if given.config is None:
        config = translate.default(paper, dataset)
    else:
        config = translate.translate(given.config, model, dataset).config
    config.seeds = (SEED,)
    config.data.dir = given.data_dir
    if overrides:
        cli.override(config, overrides)
    settings = FrozenConfigDict(config)
    methods.check(settings)
    set_up_jax(settings.precision)
    from msa_jax import report
    from msa_jax.studies.from_mmsa.weights import convert

    convert(given.weights, settings, given.to)
    print(report.write_report(given.to))


if __name__ == "__main__":
    cli.run(command)
