"""Make further reference arrays for SUGRM's label generator, with NumPy alone.

    python tests/goldens/make_sugrm_labels.py --seed 7 --out runs/goldens/seed7
    python tests/goldens/make_sugrm_labels.py --check ../shared/goldens
    python -m msa_jax.parity runs/goldens/seed7

One sample at a time, ratios of distances as the paper writes them, float64; nothing of
msa_jax, so the arrays are an independent witness. Odd seeds vary the sizes, too.
`--check` feeds the inputs of an existing file through this code and prints the largest
difference from what it expects.

Source: SUGRM, section 3.3, with the readings of its public code that docs/fidelity.md
    lists.
"""

import argparse
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
TASKS = ("fusion", "text", "audio", "vision")


class Book:
    """Labels, fusion features and two centres of all training samples."""

    def __init__(self, z: Arrays, width: int):
        """Start every label at the human one; list extremes batch after batch."""
        self.human, self.high = z["labels_m"], float(z["H"])
        self.label = {t: self.human.copy() for t in TASKS}
        self.buffer = np.zeros((len(self.human), width))
        self.exclude_zero = bool(z["exclude_zero"])
        self.center = (np.zeros(width), np.zeros(width))
        self.lists: dict[str, list[int]] = {"p3": [], "n3": []}
        order, size = z["init_order"], int(z["init_batch_size"])
        for stop in range(size, len(order) + size, size):
            for i in sorted(order[:stop]):  # all that were seen so far, once more
                for name, end in (("p3", self.high), ("n3", -self.high)):
                    if self.human[i] == end:
                        self.lists[name].append(int(i))

    def losses(self, score: Arrays, rows: np.ndarray) -> Arrays:
        """Return the four weighted L1 losses of a batch, by the stored labels."""
        out = {}
        for t in TASKS:
            label = self.label[t][rows]
            weight = 1.0 if t == "fusion" else np.tanh(abs(label - self.human[rows]))
            out[t] = (weight * abs(score[t] - label)).mean()
        return out

    def maximum(self) -> float:
        """Return the distance between the mean features of the two lists."""
        means = [self.buffer[self.lists[name]].mean(0) for name in ("p3", "n3")]
        return _distance(*means)

    def visit(self, feature: Arrays, rows: np.ndarray, epoch: int) -> float:
        """Relabel (from epoch 2 on), store features, move centres; return D_max."""
        most = self.maximum() if epoch > 1 else np.nan
        for b, i in enumerate(rows if epoch > 1 else []):
            for t in TASKS[1:]:
                fusion, own = feature["fusion"][b], feature[t][b]
                with np.errstate(divide="ignore", invalid="ignore"):
                    size = 2 * self.high * min(_distance(fusion, own), most) / most
                    ratios = [
                        np.divide(*(_distance(x, c) for c in self.center))
                        for x in (own, fusion)
                    ]
                new = self.human[i]
                if ratios[0] < ratios[1]:
                    new = np.clip(new + size, -self.high, self.high)
                elif ratios[0] > ratios[1]:
                    new = np.clip(new - size, -self.high, self.high)
                old = self.label[t][i]
                self.label[t][i] = ((epoch - 1) * old + 2 * new) / (epoch + 1)
        self.buffer[rows] = feature["fusion"]
        positive = self.human > 0 if self.exclude_zero else self.human >= 0
        members = (positive, self.human < 0)
        self.center = tuple(self.buffer[m].mean(0) for m in members)
        return most


def _distance(a: np.ndarray, b: np.ndarray) -> np.float64:
    return np.sqrt(np.square(a - b).sum())


def draw(
    rng: np.random.Generator,
    n: int,
    epochs: int,
    size: int,
    high: float = 3.0,
    *,
    exclude_zero: bool = False,
    flat: bool = False,
) -> Arrays:
    """Draw a scenario; `flat`: the extremes have one feature, so that D_max is 0."""
    label = np.round(rng.uniform(-high, high, n), 1)
    label[:5] = (high, -high, 0, high, -high)
    label = rng.permutation(label)
    z = {
        "labels_m": label,
        "H": np.asarray(high),
        "exclude_zero": np.asarray(exclude_zero),
        "init_order": rng.permutation(n),
        "init_batch_size": np.asarray(size),
    }
    width = int(rng.integers(4, 10))
    book = Book(z, width)
    log: dict[str, list] = {}
    for epoch in range(1, epochs + 1):
        order = rng.permutation(n)
        for start in range(0, n, size):
            rows = order[start : start + size]
            shape = (len(rows), width)
            feature = {t: rng.normal(0.3, 1, shape) for t in TASKS}
            if epoch == 3:
                _edges(feature, book)
            if flat:
                feature["fusion"][abs(label[rows]) == high] = 0.375
            log.setdefault("epoch", []).append(epoch)
            log.setdefault("indexes", []).append(_padded(rows, size, -1))
            for t in TASKS:
                log.setdefault(f"feat_{t}", []).append(_padded(feature[t], size, 0.0))
                score = high / 2 * rng.normal(size=len(rows))
                log.setdefault(f"pred_{t}", []).append(_padded(score, size, 0.0))
            book.visit(feature, rows, epoch)
    return z | {key: np.asarray(value) for key, value in log.items()}


def _edges(feature: Arrays, book: Book) -> None:
    """Put the first rows on centres, on each other, and far away."""
    positive, negative = book.center
    edges = (
        ("text", feature["fusion"][0]),  # no distance
        ("audio", negative),  # ratio infinite
        ("fusion", positive),  # ratio 0
        ("fusion", negative),  # ratio infinite, and vision's below, too
        ("text", feature["text"][-1] + 50),  # clipped
    )
    for row, (t, value) in enumerate(edges[: len(feature["text"])]):
        feature[t][row] = value
    if len(feature["text"]) > 3:
        feature["vision"][3] = negative


def _padded(rows: np.ndarray, size: int, value: float) -> np.ndarray:
    out = np.full((size, *rows.shape[1:]), value, rows.dtype)
    out[: len(rows)] = rows
    return out


def expected(z: Arrays) -> Arrays:
    """Return what the inputs of a scenario lead to."""
    book = Book(z, z["feat_fusion"].shape[-1])
    log: dict[str, list] = {}
    for s, epoch in enumerate(z["epoch"]):
        rows = z["indexes"][s][z["indexes"][s] >= 0]
        score, feature = (
            {t: z[f"{kind}_{t}"][s][: len(rows)] for t in TASKS}
            for kind in ("pred", "feat")
        )
        loss = book.losses(score, rows)
        log.setdefault("max_diff", []).append(book.visit(feature, rows, int(epoch)))
        for t in TASKS:
            log.setdefault(f"loss_{t}", []).append(loss[t])
            log.setdefault(f"label_{t}", []).append(book.label[t].copy())
        for name, center in zip(("pos", "neg"), book.center, strict=True):
            log.setdefault(f"center_{name}", []).append(center)
    lists = {f"feat_{k}_index_list": np.sort(v) for k, v in book.lists.items()}
    return {key: np.asarray(value) for key, value in log.items()} | lists


def make(seed: int, folder: Path) -> None:
    """Write one file of five scenarios."""
    rng = np.random.default_rng(seed)

    def sizes() -> tuple[int, int, int]:
        n = int(rng.integers(9, 41)) if seed % 2 else 20
        return n, 5, int(rng.integers(1, 9)) if seed % 2 else 8

    plain = {
        "zero_pos": draw(rng, *sizes()),
        "zero_excl": draw(rng, *sizes(), exclude_zero=True),
        "sims": draw(rng, *sizes(), 1.0),
        "sims_excl": draw(rng, *sizes(), 1.0, exclude_zero=True),
        "no_max_distance": draw(rng, *sizes(), flat=True),
    }
    flat = {
        f"{scenario}/{key}": value
        for scenario, z in plain.items()
        for key, value in (z | expected(z)).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "sugrm_ulgm.npz", **flat)


def check(folder: Path) -> None:
    """Print how far this code is from the expectations of an existing file."""
    with np.load(folder / "sugrm_ulgm.npz") as file:
        arrays = dict(file)
    for name in dict.fromkeys(k.split("/")[0] for k in arrays if "/" in k):
        prefix = f"{name}/"
        z = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(name)}
        worst = (0.0, "")
        for key, value in expected(z).items():
            stored = np.sort(z[key]) if "index_list" in key else z[key]
            assert value.shape == stored.shape, (key, value.shape, stored.shape)
            gap = np.abs(value - stored)
            gap[np.isnan(value) & np.isnan(stored)] = 0
            worst = max(worst, (float(gap.max()), key))
        print(f"{name:<24} {worst[0]:.1e}  {worst[1]}")


def main() -> None:
    """Parse the command line, then make or check."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder to write the file into")
    parser.add_argument("--check", type=Path, help="folder of an existing file")
    options = parser.parse_args()
    if options.check:
        check(options.check)
    if options.out:
        make(options.seed, options.out)


if __name__ == "__main__":
    main()
