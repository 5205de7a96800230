"""What a cell and a row of a results table say, as text (docs/tables.md)."""

import math
from typing import Any, NamedTuple

from msa_jax.report.reading import number

NOTHING = "–"
# Icon and words of each verdict (kind of `verdict` in table.json).
MARKS = {
    "inside": ("✓", "published inside interval"),
    "lower": ("▼", "lower than published"),
    "higher": ("▲", "higher than published"),
    "no_interval": ("○", "no interval to judge by"),
    "other_data": ("≠", "not comparable"),
    "no_published": ("", "nothing published"),
    "not_run": ("…", "not run"),
}


class Cell(NamedTuple):
    """One metric of one row.

    ours: mean ± sd, or what stands in its place.
    interval: over seeds, "" without one.
    kind, icon, words: of the verdict; words are "" where there is nothing to judge.
    tested: a few words if the difference to the reference is significant, else "".
    says: all of it in plain lines.
    """

    column: str
    ours: str
    interval: str
    published: str
    mmsa: str
    kind: str
    icon: str
    words: str
    tested: str
    says: str


class Row(NamedTuple):
    """One row.

    kind: "ours", "control", "published" or "baseline".
    role: what stands under its name: its part in the tests, its state.
    lines: of its details, (name, a text per column); empty if there are none.
    """

    name: str
    kind: str
    role: tuple[str, ...]
    cells: tuple[Cell, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


class Group(NamedTuple):
    """Rows that belong together; the first group has no title."""

    title: str
    rows: tuple[Row, ...]


def form(
    column: dict[str, Any], value: Any, more: int = 0, *, signed: bool = False
) -> str:
    """Write a value of a column; "–" if there is none.

    Args:
        column: its `percent` and `decimals` say how.
        value: in natural units (accuracies 0 to 1), or None.
        more: decimals beyond those of the paper.
        signed: whether a plus is written.
    """
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    shown = 100 * value if column["percent"] else value
    sign = "+" if signed else ""
    text = f"{shown:{sign},.{column['decimals'] + more}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")  # neither +0.0 nor −0.0
    return text.replace("-", "−")


def form_interval(
    column: dict[str, Any], ends: Any, more: int = 0, *, signed: bool = False
) -> str:
    """Write an interval; "–" if there is none."""
    if ends is None or None in ends:
        return NOTHING
    low, high = (form(column, end, more, signed=signed) for end in ends)
    return f"[{low}, {high}]"


def form_spread(column: dict[str, Any], cell: dict[str, Any], more: int = 0) -> str:
    """Write mean ± sd; the mean alone for one seed; "–" if there is no mean."""
    mean = form(column, cell["mean"], more)
    if cell["mean"] is None or cell["sd"] is None:
        return mean
    return f"{mean} ± {form(column, cell['sd'], more)}"


def form_p(value: Any) -> str:
    """Write a p-value: "0.031", "under 0.0001"; "–" if there is none."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.3g}" if value >= 0.0001 else "under 0.0001"


def minus(text: str | None) -> str:
    """Write a published value, typed with a hyphen, with a minus sign."""
    return NOTHING if text is None else text.replace("-", "−")


def heads(part: dict[str, Any]) -> list[dict[str, str]]:
    """Return title, arrow and unit of each column."""
    return [
        {
            "title": column["title"],
            "arrow": arrow(column),
            "unit": "%" if column["percent"] else "",
        }
        for column in part["columns"]
    ]


def arrow(column: dict[str, Any]) -> str:
    """Say which direction is better; nothing for a column that is no metric."""
    if column["reading"] in ("parameters", "sd"):
        return ""
    return "↓" if column["lower_is_better"] else "↑"


def groups(found: dict[str, Any], part: dict[str, Any]) -> list[Group]:
    """Arrange the rows of a part: the paper's order, then controls, then baselines."""
    own = [_row(found, part, row) for row in part["rows"]]
    controls = tuple(row for row in own if row.kind == "control")
    trivial = tuple(_baseline(part, b) for b in baselines(found, part))
    made = [
        Group("", tuple(row for row in own if row.kind != "control")),
        Group("Controls: what audio and vision bring", controls),
        Group("Trivial baselines, no method at all", trivial),
    ]
    return [group for group in made if group.rows]


def baselines(found: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the trivial baselines of a part, which the table may hold for all."""
    return part.get("baselines", found.get("baselines", []))


def ran(row: dict[str, Any]) -> bool:
    """Tell whether anything of a row was run."""
    return row["state"] in ("finished", "partly")


def lost(cell: dict[str, Any]) -> list[str]:
    """Return the seeds of a cell that have no finite value."""
    return [seed for seed, value in cell["per_seed"].items() if value is None]


def side_of(column: dict[str, Any], against: dict[str, Any]) -> str:
    """Say to which side a significant difference goes: "better" or "worse"."""
    lower = against["difference"] < 0
    return "better" if lower == column["lower_is_better"] else "worse"


def _row(found: dict[str, Any], part: dict[str, Any], row: dict[str, Any]) -> Row:
    pairs = list(zip(part["columns"], row["cells"], strict=True))
    cells = tuple(_cell(found, row, column, cell) for column, cell in pairs)
    lines = _lines(found, row, pairs) if ran(row) else ()
    return Row(row["name"], row["kind"], tuple(_role(found, row)), cells, lines)


def _role(found: dict[str, Any], row: dict[str, Any]) -> list[str]:
    said = []
    if row["kind"] == "ours" and found["kind"] == "table":
        if row["name"] == found["main"]:
            said.append("the paper's method")
        if row["name"] == found["against"]:
            said.append("reference of the tests")
    elif row["name"] == found["against"]:
        said.append("reference of the tests")
    return said + [state] if (state := state_of(row)) else said


def state_of(row: dict[str, Any]) -> str:
    """Say how far a row is; "" for a finished one."""
    why = f": {row['why']}" if row.get("why") else ""
    match row["state"]:
        case "published":
            return "not run here, published values"
        case "missing":
            return f"not run yet{why}"
        case "partly":
            done, all_ = len(row["seeds"]), len(row["wanted"])
            return f"unfinished: {done} of {all_} seeds{why}"
    return ""


def _cell(
    found: dict[str, Any],
    row: dict[str, Any],
    column: dict[str, Any],
    cell: dict[str, Any],
) -> Cell:
    gone = lost(cell)
    kind = cell["verdict"]["kind"]
    icon, words = MARKS[kind]
    ours = form_spread(column, cell)
    if not ran(row):
        ours = "" if row["kind"] == "published" else "not run"
        icon, words = "", ""
    elif gone:
        ours = "no mean"
        icon, words = "✕", f"seed {', '.join(gone)} gave no value"
    elif kind == "no_published" and (
        found["kind"] == "comparison" or row["kind"] == "control"
    ):
        icon, words = "", ""
    against = cell["against"]
    tested = ""
    if against is not None and against["significant"]:
        side = side_of(column, against)
        tested = f"significantly {side} than {against['row']}"
    interval = form_interval(column, cell["ci_seeds"])
    return Cell(
        f"{column['title']} {arrow(column)}".strip(),
        ours,
        "" if interval == NOTHING else interval,
        "" if cell["published"] is None else minus(cell["published"]),
        "" if cell["mmsa"] is None else minus(cell["mmsa"]),
        kind,
        icon,
        words,
        tested,
        _tooltip(column, cell) if ran(row) else "",
    )


def _tooltip(column: dict[str, Any], cell: dict[str, Any]) -> str:
    """Say everything of a cell in lines, for a pointer that rests on it."""
    lines = [f"seed {s}: {form(column, v, 1)}" for s, v in cell["per_seed"].items()]
    lines += [
        f"IQM {form(column, cell['iqm'], 1)}",
        f"95 % over seeds {form_interval(column, cell['ci_seeds'], 1)}",
        f"95 % over test samples {form_interval(column, cell['ci_samples'], 1)}",
        "" if cell["verdict"]["kind"] == "no_published" else cell["verdict"]["text"],
    ]
    if (against := cell["against"]) is not None:
        lines.append(f"against {against['row']}: {against['text']}")
    return "\n".join(line for line in lines if line)


def _lines(
    found: dict[str, Any],
    row: dict[str, Any],
    pairs: list[tuple[dict[str, Any], dict[str, Any]]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the details of a row: every seed, both intervals, tests."""
    seeds = dict.fromkeys(seed for _, cell in pairs for seed in cell["per_seed"])
    lines = [
        (f"seed {s}", [form(c, cell["per_seed"].get(s), 1) for c, cell in pairs])
        for s in seeds
    ]
    lines += [
        ("mean", [form(c, cell["mean"], 1) for c, cell in pairs]),
        ("sd", [form(c, cell["sd"], 1) for c, cell in pairs]),
        ("IQM", [form(c, cell["iqm"], 1) for c, cell in pairs]),
        ("95 % over seeds", [form_interval(c, x["ci_seeds"], 1) for c, x in pairs]),
        *_student(pairs),
        (
            "95 % over test samples",
            [form_interval(c, x["ci_samples"], 1) for c, x in pairs],
        ),
    ]
    if found["kind"] == "table" and row["kind"] != "control":
        lines += [
            ("published", [minus(cell["published"]) for _, cell in pairs]),
            ("verdict", [cell["verdict"]["text"] for _, cell in pairs]),
        ]
        if any(cell["mmsa"] is not None for _, cell in pairs):
            lines.insert(-1, ("MMSA", [minus(cell["mmsa"]) for _, cell in pairs]))
    against = [(c, cell["against"]) for c, cell in pairs]
    if any(a is not None for _, a in against):
        name = next(a["row"] for _, a in against if a is not None)
        lines += _test_lines(name, against)
    return tuple((name, tuple(texts)) for name, texts in lines)


def _student(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]],
) -> list[tuple[str, list[str]]]:
    """Return Student's t interval over seeds, where the table has it."""
    if all(cell.get("ci_student") is None for _, cell in pairs):
        return []
    texts = [form_interval(c, cell.get("ci_student"), 1) for c, cell in pairs]
    return [("… Student's t", texts)]


def _test_lines(
    name: str, against: list[tuple[dict[str, Any], dict[str, Any] | None]]
) -> list[tuple[str, list[str]]]:
    def each(write: Any) -> list[str]:
        return [NOTHING if a is None else write(c, a) for c, a in against]

    return [
        (
            f"minus {name}",
            each(lambda c, a: form(c, a["difference"], 1, signed=True)),
        ),
        (
            "… 95 % over seeds",
            each(lambda c, a: form_interval(c, a["ci_seeds"], 1, signed=True)),
        ),
        (
            "… 95 % over test samples",
            each(lambda c, a: form_interval(c, a["ci_samples"], 1, signed=True)),
        ),
        ("p over seeds", each(lambda _, a: form_p(a["p_seeds"]))),
        ("p over test samples", each(lambda _, a: form_p(a["p_samples"]))),
        ("p over seeds, Holm", each(lambda _, a: form_p(a["p_seeds_holm"]))),
        ("p over test samples, Holm", each(lambda _, a: form_p(a["p_samples_holm"]))),
        ("both below .05", each(lambda _, a: "yes" if a["significant"] else "no")),
    ]


def _baseline(part: dict[str, Any], baseline: dict[str, Any]) -> Row:
    cells = tuple(
        Cell(
            f"{column['title']} {arrow(column)}".strip(),
            form(column, baseline["values"].get(column["key"]))
            if column["reading"] == "mean"
            else NOTHING,
            *("", "", "", "baseline", "", "", "", ""),
        )
        for column in part["columns"]
    )
    return Row(baseline["name"], "baseline", (), cells, ())
