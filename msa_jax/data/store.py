"""Data sets on disk: TFDS files and the data card, written whole or not at all."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msa_jax.data.card import card_markdown, content_sha256, make_card
from msa_jax.data.check.checks import SPLITS
from msa_jax.data.check.known import KNOWN
from msa_jax.data.made_up import synthetic
from msa_jax.data.read.padding import Padding, aligned_zeros
from msa_jax.data.read.plain import Notes
from msa_jax.ground import lock
from msa_jax.ground.errors import UserError
from msa_jax.ground.names import EMOTIONS, MODALITIES
from msa_jax.ground.types import Examples

if TYPE_CHECKING:
    import pandas

VERSION = "1.0.0"
_ASIDE = "replaced"  # in a scratch folder: the data set that is being replaced
_SCALARS = ("id", "transcript", "label", "unimodal_label", "emotion")


class Dataset(NamedTuple):
    """A data set as loaded: its splits (train, valid, test) and its data card.

    Attributes:
        name: as it was prepared.
        splits: NumPy arrays, `msa.load_dataset` says which and of what shapes.
        card: what is in it, how it was read and what was assumed (docs/data.md).
    """

    name: str
    splits: dict[str, Examples]
    card: dict

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row per sample, without its sequences.

        Columns: split, id, transcript, label (in the card's label range), text_label
        and so on, happy and so on (intensities), steps of each modality; each only
        where the data set has it.

        Examples:
            >>> import msa_jax as msa
            >>> frame = msa.load_dataset("synthetic_tiny").to_frame()
            >>> len(frame), frame.columns.tolist()[:4]
            (160, ['split', 'id', 'transcript', 'label'])
        """
        import pandas

        frames = []
        for split, examples in self.splits.items():
            columns = {
                "split": split,
                "id": examples.id,
                "transcript": examples.transcript,
                "label": examples.label,
            }
            for ending, names, values in (
                ("_label", MODALITIES, examples.unimodal_label),
                ("", EMOTIONS, examples.emotion),
            ):
                if values is not None:
                    named = zip(names, values.T, strict=True)
                    columns |= {f"{name}{ending}": x for name, x in named}
            for m in MODALITIES:
                columns[f"{m}_steps"] = getattr(examples, f"{m}_length")
            given = {name: x for name, x in columns.items() if x is not None}
            frames.append(pandas.DataFrame(given))
        return pandas.concat(frames, ignore_index=True)


def data_dir(given: str | None) -> str:
    """Return where data sets lie: where the user says, else $MSA_DATA, else data."""
    return given or os.environ.get("MSA_DATA") or "data"


def dataset_path(name: str, data_dir: str | Path) -> Path:
    """Return the folder that holds a data set's files and card."""
    return Path(data_dir) / name / VERSION


def write_dataset(
    splits: Mapping[str, Examples],
    card: Mapping,
    data_dir: str | Path,
    *,
    overwrite: bool = False,
    page: Callable[[Mapping], str] | None = None,
) -> tuple[Path, bool]:
    """Write a data set; the folder appears whole, by one rename.

    Args:
        page: makes `card.html` from the card.

    Returns: its path, and False if the same data set was there already.
    Raises: UserError if another one is there and `overwrite` is False, or if
        `data_dir` cannot be written.
    """
    path = dataset_path(card["name"], data_dir)
    parent = path.parent.parent
    lock.sweep(f".{card['name']}.", parent, _remove)
    if path.exists() and not overwrite:
        return _compare(path, card), False
    from msa_jax.data import builder  # lazy: importing TFDS takes a second

    texts = {"card.json": json.dumps(card, indent=1) + "\n"}
    texts["card.md"] = card_markdown(card)
    if page is not None:
        texts["card.html"] = page(json.loads(texts["card.json"]))
    try:
        with _scratch(card["name"], parent) as folder:
            built = builder.build_files(card["name"], splits, folder)
            for name, text in texts.items():
                (built / name).write_text(text, "utf-8")
            path.parent.mkdir(exist_ok=True)
            if not _swap_in(built, path, folder / _ASIDE, overwrite=overwrite):
                return _compare(path, card), False  # another process was faster
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return path, True


@contextlib.contextmanager
def _scratch(name: str, parent: Path) -> Iterator[Path]:
    """Make a hidden folder in `parent` that is locked while this process lives."""
    with contextlib.ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(lock.scratch(f".{name}.", parent, _remove))
        except OSError as error:
            raise UserError(
                f"cannot write to data_dir {parent}: {error.strerror}; choose "
                "another with --data_dir or $MSA_DATA"
            ) from None
        yield folder


def _remove(folder: Path) -> None:
    """Remove a scratch folder; a data set that it alone holds goes back."""
    aside, name = folder / _ASIDE, folder.name.split(".")[1]
    path = dataset_path(name, folder.parent)
    if aside.exists() and not path.exists():
        os.rename(aside, path)
    lock.remove_folder(folder)


def _swap_in(built: Path, path: Path, aside: Path, *, overwrite: bool) -> bool:
    """Rename `built` to `path`; return False if something came to be there.

    What is replaced stays in `aside`; if this fails, `_remove` takes it back.
    """
    replacing = overwrite and path.exists()
    if replacing:
        os.rename(path, aside)
    try:
        os.rename(built, path)
    except OSError:
        if path.exists() and not replacing:
            return False
        raise
    return True


def _compare(path: Path, card: Mapping) -> Path:
    """Return `path` if it holds this data set already, else complain."""
    there = read_card(path)
    for key in ("content_sha256", "label_range", "metrics"):
        if there.get(key) != card[key]:
            raise UserError(
                f"{path} holds another '{card['name']}' ({key} differs): choose "
                "another name, or replace it with --overwrite"
            )
    return path


def read_card(path: Path) -> dict:
    """Read the card of the data set at `path`."""
    try:
        card = json.loads((path / "card.json").read_text())
        if not isinstance(card, dict):
            raise ValueError("it is no JSON object")
        return card
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / 'card.json'} is missing or damaged ({error}): prepare the data "
            "set again with --overwrite"
        ) from None


def card_of(name: str, data_dir: str | Path) -> dict | None:
    """Return the card of a data set, None where there is no data set of that name."""
    path = dataset_path(name, data_dir)
    return read_card(path) if path.exists() else None


def identity(card: Mapping) -> dict[str, Any]:
    """Return what the numbers of a run on a data set depend on, as JSON holds it.

    The range and the metrics are chosen when it is prepared; the contents stay equal.
    """
    return {
        "data_sha256": str(card.get("content_sha256")),
        "label_range": list(card.get("label_range") or ()),
        "metrics": card.get("metrics"),
    }


def difference(then: Mapping, now: Mapping) -> str:
    """Say what of a data set is other than a run had it; "" if nothing.

    Args:
        then: from `identity`; of older runs the hash alone.
        now: from `identity`.
    """
    said = []
    for key, what in (
        ("data_sha256", "content"),
        ("label_range", "label range"),
        ("metrics", "metrics"),
    ):
        was, is_ = then.get(key), now[key]
        if was != is_ and (was is not None or key == "data_sha256"):
            short = [str(x)[:12] if key == "data_sha256" else x for x in (was, is_)]
            said.append(f"{what} {short[0]}, here {short[1]}")
    return "; ".join(said)


def absent(name: str, data_dir: str | Path, flag: str = "--config.data.name") -> str:
    """Say that there is no data set of a name, and the command that makes one.

    Args:
        name: asked for.
        data_dir: where it was looked for.
        flag: how it was asked for; said where the name is one that cannot be.
    """
    own = re.sub("[^a-z0-9_]+", "_", name.lower()).strip("_") or "NAME"
    said = f"no data set '{name}' at {dataset_path(name, data_dir)}"
    if own != name:
        said += f"; names hold a-z, 0-9 and _ only: {flag}={own}"
        if own != "NAME" and dataset_path(own, data_dir).exists():
            return f"{said}, which is there"
    twin = ", or make one up: --synthetic in place of --from FILE" * (own in KNOWN)
    return (
        f"{said}; make it from its feature file (docs/layouts.md): python -m "
        f"msa_jax.prepare {own} --from FILE --data_dir {data_dir}{twin}"
    )


def load_dataset(name: str, data_dir: str | Path) -> Dataset:
    """Load a data set, exactly as it was prepared; built-in sets are made if missing.

    Sequences are padded with zeros to the longest of all splits. The content is
    hashed and compared with the card.
    """
    path = dataset_path(name, data_dir)
    if name in synthetic.SIZES:
        make_synthetic(name, data_dir)
    if not path.exists():
        raise UserError(absent(name, data_dir))
    card = read_card(path)
    try:
        splits = _read_splits(path, card)
        intact = content_sha256(splits) == card.get("content_sha256")
    except Exception as error:  # TFDS and its readers raise many types on damage
        raise UserError(
            f"{path} is damaged ({type(error).__name__}): prepare it again with "
            "--overwrite"
        ) from error
    if not intact:
        raise UserError(
            f"{path} does not hold what its card.json says (content_sha256 differs): "
            "prepare it again with --overwrite"
        )
    return Dataset(name, splits, card)


def _read_splits(path: Path, card: Mapping) -> dict[str, Examples]:
    """Read all splits straight into their padded arrays: nothing is held twice."""
    from msa_jax.data import builder  # lazy: importing TFDS takes a second

    longest = {
        modality: max(most for _, _, most in card[modality]["length"].values())
        for modality in MODALITIES
        if card[modality] is not None and "length" in card[modality]
    }
    return {
        split: _fill(
            builder.read_split(path, split),
            builder.count_examples(path, split),
            longest,
        )
        for split in SPLITS
    }


def _fill(rows: Iterator[dict], n: int, longest: Mapping[str, int]) -> Examples:
    columns: dict[str, list] = {field: [] for field in _SCALARS}
    sequences: dict[str, np.ndarray | None] = {}
    for modality in MODALITIES:
        sequences[modality] = sequences[f"{modality}_length"] = None
    for i, row in enumerate(rows):
        if i == 0:
            sequences |= _allocate(row, n, longest)
        for field, values in columns.items():
            if field in row:
                values.append(row[field])
        for modality in longest:
            steps, padded = row[modality], sequences[modality]
            lengths = sequences[f"{modality}_length"]
            assert padded is not None and lengths is not None
            if steps.dtype == np.int32:  # tokens: [t, 3] -> [3, t]
                padded[i, :, : len(steps)] = steps.T
            else:
                padded[i, : len(steps)] = steps
            lengths[i] = len(steps)

    def strings(field: str) -> np.ndarray:
        return np.array([value.decode() for value in columns[field]], dtype=str)

    return Examples(
        id=strings("id"),
        transcript=strings("transcript") if columns["transcript"] else None,
        label=np.array(columns["label"], np.float32),
        unimodal_label=np.stack(columns["unimodal_label"])
        if columns["unimodal_label"]
        else None,
        emotion=np.stack(columns["emotion"]) if columns["emotion"] else None,
        **sequences,
    )


def _allocate(row: dict, n: int, longest: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Make zeros for every modality of `row`, which shows widths and types."""
    arrays = {}
    for modality, steps in longest.items():
        kind, width = row[modality].dtype, row[modality].shape[1]
        shape = (n, width, steps) if kind == np.int32 else (n, steps, width)
        arrays[modality] = aligned_zeros(shape, kind)
        arrays[f"{modality}_length"] = np.zeros(n, np.int32)
    return arrays


def make_synthetic(
    name: str,
    data_dir: str | Path,
    *,
    overwrite: bool = False,
    page: Callable[[Mapping], str] | None = None,
) -> tuple[Path, bool]:
    """Write a built-in set unless this version of it is there already.

    Args:
        page: makes `card.html` from the card.

    Returns: its path, and whether it was written.
    """
    path = dataset_path(name, data_dir)
    source = {"built_in": synthetic.VERSION, "seed": synthetic.SEED}
    if path.exists() and not overwrite:
        if read_card(path).get("source") == source:
            return path, False
        overwrite = True  # made by another version of this package
    splits = synthetic.make_splits(name)
    padding = Padding("back", "given", 0, 0)
    card = make_card(
        name,
        splits,
        Notes({"audio": padding, "vision": padding}, (), (), ()),
        source=source,
        label_range=(-3.0, 3.0),
        metrics="mosi",
    )
    return write_dataset(splits, card, data_dir, overwrite=overwrite, page=page)
