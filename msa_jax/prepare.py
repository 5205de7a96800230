"""Prepare a data set: check a feature file and write it with a data card.

example:
  python -m msa_jax.prepare mosi --from features.npz --data_dir data
  python -m msa_jax.prepare sims --from sims.npz
  python -m msa_jax.prepare mosi --from features.npz --check_only
  python -m msa_jax.prepare mosi --from unaligned_50.pkl --text features
  python -m msa_jax.prepare my_corpus --from folder/
  python -m msa_jax.prepare mosei --synthetic --samples 1000
  python -m msa_jax.prepare mosei_emotion --synthetic --samples 1000

FILE is an .npz, a pickle of the field (MMSA, MMSA-FET, MulT, TFN, MAG-BERT), a folder
of pickles (MISA, TBJE), see docs/data.md, or a folder with a CSV (also the field's
label.csv) and .npy files, see docs/bring_your_own.md; no code in a pickle is ever run.
The built-in sets (synthetic, synthetic_tiny) and --synthetic need no --from.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from msa_jax.config.cli import Parser, one_line, run
from msa_jax.ground.callable_module import let_call
from msa_jax.ground.errors import UserError

if TYPE_CHECKING:
    from msa_jax.data import Dataset


def prepare(
    name: str,
    source: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    label_range: tuple[float, float] | None = None,
    metrics: Literal["mosi", "sims"] | None = None,
    padding: Literal["auto", "front", "back", "as_stored", "every_step"] | None = None,
    emotions: str | Path | None = None,
    text: Literal["tokens", "features", "sentences"] | None = None,
    synthetic: bool = False,
    samples: int | None = None,
    aligned: bool = False,
    overwrite: bool = False,
) -> "Dataset":
    """Check a data set, write it with its card, and load it.

    What `python -m msa_jax.prepare` does; nothing is printed.

    Args:
        name: of the data set, [a-z0-9_]+.
        source: an .npz, a pickle of the field, a folder of either or of clips; None
            for built-in sets and twins.
        data_dir: where data sets are kept; None: $MSA_DATA, else "data".
        label_range: lowest and highest label; None: -1, 1 for sims and simsv2, else
            -3, 3.
        metrics: whose definitions apply; None: sims for -1, 1, else mosi.
        padding: where shorter samples are padded (docs/layouts.md); None: found out
            from zeros.
        emotions: pickle of MOSEI's six emotions, joined by id.
        text: which text is read, or what text a twin has.
        synthetic: make a twin of a published set, the shapes of it, invented data.
        samples: of a twin; None: as published.
        aligned: make the twin of the aligned files.
        overwrite: replace a data set of this name.

    Returns:
        as `msa_jax.load_dataset`.

    Raises:
        UserError: the source cannot be read, fails a check that makes results
            meaningless, or another data set of this name is there.

    Examples:
        >>> import msa_jax as msa
        >>> made = msa.prepare("mosi", synthetic=True, samples=30, data_dir="twins")
        >>> made.card["size"], made.splits["train"].audio.shape[2]
        ({'train': 18, 'valid': 3, 'test': 9}, 5)
    """
    from msa_jax.data import store

    where = store.data_dir(None if data_dir is None else str(data_dir))
    args = argparse.Namespace(
        name=name,
        file=source,
        data_dir=where,
        label_range=label_range,
        metrics=metrics,
        padding=padding,
        emotions=emotions,
        text=text,
        synthetic=synthetic,
        samples=samples,
        aligned=aligned,
        check_only=False,
        overwrite=overwrite,
    )
    made = _make(args)
    if made is not None and (errors := _errors(made.card)):
        raise UserError(errors)
    _write(args, made)
    return store.load_dataset(name, where)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; mistakes of the user raise `UserError`."""
    return _prepare(_parse(argv))


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        """Say how to write the one option whose value may start with a minus."""
        if "--label_range" in message:
            message += "; write --label_range=LO,HI"
        super().error(message)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(__doc__)
    parser.add_argument("name", metavar="NAME", help="of the data set: [a-z0-9_]+")
    parser.add_argument("--from", dest="file", metavar="FILE", help="what to read")
    parser.add_argument(
        "--data_dir",
        default=os.environ.get("MSA_DATA", "data"),
        metavar="D",
        help="where data sets are kept (default: $MSA_DATA, else ./data)",
    )
    parser.add_argument(
        "--label_range",
        metavar="LO,HI",
        help="labels must lie in it, ends included (default: -1,1 for sims and "
        "simsv2, else -3,3)",
    )
    parser.add_argument(
        "--metrics",
        choices=("mosi", "sims"),
        help="whose metric definitions apply (default: sims for -1,1, else mosi)",
    )
    parser.add_argument(
        "--padding",
        choices=("auto", "front", "back", "as_stored", "every_step"),
        help="where shorter samples are padded (default: found out from zeros)",
    )
    parser.add_argument(
        "--emotions", metavar="FILE", help="pickle of MOSEI's 6 emotions, joined by id"
    )
    parser.add_argument(
        "--synthetic",
        action="store_true",
        help="make a twin of mosi, mosei, mosei_emotion, mosei_tbje, sims or simsv2: "
        "their shapes, invented data",
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="of a twin (default: as published)"
    )
    parser.add_argument(
        "--aligned", action="store_true", help="make the twin of the aligned files"
    )
    parser.add_argument(
        "--text",
        choices=("tokens", "features", "sentences"),
        help="which text of FILE is read (default: the first of these that it has), or "
        "what text a twin has (default: tokens, as MMSA's files; with emotions "
        "features: word vectors, 300 wide)",
    )
    parser.add_argument(
        "--check_only", action="store_true", help="print the card, write nothing"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a data set of this name"
    )
    return parser.parse_args(argv)


class _Made(NamedTuple):
    """A data set from a file or invented, checked and not written yet."""

    splits: Any
    card: dict


def _prepare(args: argparse.Namespace) -> int:
    if args.label_range:
        args.label_range = _parse_range(args.label_range)
    made = _make(args)
    if made is not None and (errors := _errors(made.card)):
        _print(made.card, None, False, passed=False)
        raise UserError(errors)
    if made is not None and args.check_only:
        _print(made.card, None, False)
        return 0
    from msa_jax.data import store

    path, written = _write(args, made)
    _print(store.read_card(path) if made is None else made.card, path, written)
    _say_page(path)
    return 0


def _make(args: argparse.Namespace) -> _Made | None:
    """Read, or invent, and check what is asked for; None: it is built in.

    Raises:
        UserError: it cannot be read, or an argument would be ignored.
    """
    if not re.fullmatch("[a-z0-9_]+", args.name):
        raise UserError(f"name '{args.name}' may only hold a-z, 0-9 and _")
    from msa_jax.data import card as cards  # lazy: --help and typos answer at once
    from msa_jax.data.check import known
    from msa_jax.data.made_up import synthetic

    label_range = args.label_range or known.default_label_range(args.name)
    _check_flags(args)
    if args.name in synthetic.SIZES:
        if args.file is not None or args.synthetic:
            raise UserError(f"'{args.name}' is built in: choose another name")
        if args.text is not None:
            raise UserError(f"'{args.name}' is built in and has sentences: no --text")
        for flag in ("check_only", "emotions", "label_range", "metrics", "padding"):
            if getattr(args, flag):
                raise UserError(
                    f"'{args.name}' is built in: --{flag} goes with files or twins"
                )
        return None
    splits, notes, source = _twin(args) if args.synthetic else _read(args, label_range)
    card = cards.make_card(
        args.name,
        splits,
        notes,
        source=source,
        label_range=label_range,
        metrics=args.metrics or cards.metrics_kind(label_range),
    )
    return _Made(splits, card)


def _write(args: argparse.Namespace, made: _Made | None) -> tuple[Path, bool]:
    """Write a data set; return where it is, and False if it was there already."""
    from msa_jax.data import store

    how: dict[str, Any] = {"overwrite": args.overwrite, "page": _page}
    if made is None:
        return store.make_synthetic(args.name, args.data_dir, **how)
    return store.write_dataset(*made, args.data_dir, **how)


def _check_flags(args: argparse.Namespace) -> None:
    """Refuse flags that would be ignored."""
    if args.synthetic and (args.file or args.emotions):
        raise UserError("--synthetic makes the data itself: leave --from out")
    if args.synthetic and args.label_range:
        raise UserError("--synthetic has the published labels: leave --label_range out")
    if args.synthetic and args.padding:
        raise UserError("--padding goes with --from")
    asked = args.samples is not None or args.aligned
    if asked and not args.synthetic:
        raise UserError("--samples and --aligned go with --synthetic")


def _read(args: argparse.Namespace, label_range: tuple[float, float]) -> tuple:
    """Return splits, notes and source of what `--from` names."""
    from msa_jax.data.read import folder, plain, sources

    if args.file is None:
        raise UserError("say which file to read: --from FILE")
    file, padding = Path(args.file), args.padding or "auto"
    chosen = {} if args.text is None else {"text": args.text}
    if file.is_dir() and any(file.glob("*.csv")):
        if args.emotions:
            raise UserError("--emotions goes with pickles; a table has columns of them")
        own = folder.read_folder(file)
        try:
            splits, notes = plain.to_splits(own.arrays, label_range, padding, args.text)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        notes = notes._replace(
            assumptions=(*own.assumptions, *notes.assumptions),
            warnings=(*own.warnings, *notes.warnings),
        )
        source = {"folder": one_line(file.resolve().name), "sha256": own.sha256}
        return splits, notes, source | {"layout": "folder of clips"} | chosen
    emotions = Path(args.emotions) if args.emotions else None
    with sources.open_source(file, emotions, args.text) as (arrays, found):
        try:
            splits, notes = plain.to_splits(arrays, label_range, padding, args.text)
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
    notes = notes._replace(
        assumptions=(*found.assumptions, *notes.assumptions),
        unused=(*notes.unused, *found.unused),
    )
    source = {"file": one_line(file.name), "sha256": sources.sha256(file)}
    return splits, notes, source | {"layout": found.layout} | chosen


def _twin(args: argparse.Namespace) -> tuple:
    """Return splits, notes and source of the twin of a known data set."""
    from msa_jax.data.made_up import twins
    from msa_jax.data.read.padding import Padding
    from msa_jax.data.read.plain import Notes
    from msa_jax.ground.names import MODALITIES

    twin = twins.make_twin(
        args.name, aligned=args.aligned, samples=args.samples, text=args.text
    )
    padding = Padding("back", "given", 0, 0)
    paddings: dict[str, Padding] = {m: padding for m in MODALITIES}
    notes = Notes(paddings, (), twin.assumptions, ())
    source = {
        "twin_of": args.name,
        "variant": "aligned" if args.aligned else "unaligned",
        "text": twin.text,
        "samples": args.samples or "all",
        "generator": f"version {twins.VERSION}, seed {twins.SEED}",
    }
    return twin.splits, notes, source


def _page(card: Mapping) -> str:
    from msa_jax.report import card_page  # lazy: it imports matplotlib

    return card_page.render(card)


def _say_page(path: Path) -> None:
    """Say where the card is drawn; built-in sets may have been made without a page."""
    from msa_jax.data import store
    from msa_jax.report import card_page

    card = store.read_card(path)
    if not (path / card_page.PAGE).exists() and "checks" in card:
        card_page.write_card_page(card, path)
    if (path / card_page.PAGE).exists():
        print(f"as a page: {path / card_page.PAGE}")


def _errors(card: dict) -> str:
    """Name the findings that make results meaningless; "" where there are none."""
    errors = [c for c in card["checks"] if c["verdict"] == "error"]
    return "; ".join(f"{c['check']}: {c['line']}" for c in errors)


def _parse_range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--label_range={text}: write it as LO,HI") from None
    if not -1e30 < low < high < 1e30:  # NaN fails, too
        raise UserError(f"--label_range={text}: LO must be below HI, both in +-1e30")
    return low, high


def _print(
    card: dict, path: Path | None, written: bool, *, passed: bool = True
) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    from msa_jax.data.card import card_markdown

    console = Console()
    text = card_markdown(card)  # may hold names from the file: none garbles a terminal
    text = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    console.print(Markdown(text))
    if path is None:
        outcome = "passed" if passed else "failed"
        console.print(f"\nchecks {outcome}, nothing written")
    else:
        verb = "written to" if written else "exists already, unchanged:"
        console.print(f"\n{verb} {path}", soft_wrap=True)


let_call(__name__, prepare)

if __name__ == "__main__":
    run(main)
