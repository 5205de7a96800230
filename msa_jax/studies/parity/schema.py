"""Reference arrays in schema 2: one file a method, cases in it, the same keys in all.

A case is a configuration, weights, inputs, and what is expected of them. What is given
may stand in the case that a case is a variant of, or once for all cases; what is
expected stands in the case itself.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]
# Keys that a case takes from elsewhere where it has none.
_GIVEN = re.compile(
    r"(hp|w|in|seen|tolerance|tolerance32|steps/(in|seen|draw|w0))/.+"
    r"|source|changes|noise_gradient(32)?|steps/(rows|epoch|stage|valid_rows)"
)
# Keys of a case that are no expectation: draws, batches, and when to look.
_INPUTS = re.compile(
    r"base|rows|draw/.+|loss/(rows|(draw|state)/.+)|dropped/(order|rate|mask/.+)"
    r"|steps/(after_epochs|scripted_.+|init_rows)|partial_gradient"
)


def is_schema_2(z: Arrays) -> bool:
    """Say whether the arrays of a file are in this layout."""
    return "schema" in z and int(z["schema"]) == 2


def cases(z: Arrays) -> list["Case"]:
    """Return the cases of a file."""
    return [Case(z, str(name)) for name in z["cases"]]


class Case(NamedTuple):
    """One case of a file of schema 2.

    z: all arrays of the file.
    name: of the case.
    """

    z: Arrays
    name: str

    def get(self, key: str) -> np.ndarray | None:
        """Return an array; None where the case has none and none is given for it."""
        places = self._chain() if _GIVEN.fullmatch(key) else [f"{self.name}/"]
        return next((self.z[p + key] for p in places if p + key in self.z), None)

    def need(self, key: str) -> np.ndarray:
        """Return an array that must be there.

        Raises:
            KeyError: it is not.
        """
        value = self.get(key)
        if value is None:
            raise KeyError(f"{self.name}/{key}")
        return value

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Return all arrays whose key starts so, without the prefix; nearest first."""
        found: dict[str, np.ndarray] = {}
        given = _GIVEN.fullmatch(f"{prefix}x")
        for place in self._chain() if given else [f"{self.name}/"]:
            for key, value in self.z.items():
                if key.startswith(place + prefix):
                    found.setdefault(key.removeprefix(place + prefix), value)
        return found

    def names(self, key: str) -> list[str]:
        """Return a list of names; empty where there is none."""
        value = self.get(key)
        return [] if value is None else [str(name) for name in value]

    def expected(self) -> set[str]:
        """Return every key that a replay may compare."""
        own = {key.removeprefix(f"{self.name}/") for key in self.z if self._owns(key)}
        return {k for k in own if not (_GIVEN.fullmatch(k) or _INPUTS.fullmatch(k))}

    def tolerance(self, key: str, precision: str) -> float:
        """Return the tolerance of a key: that of its longest prefix in the file."""
        values = self.under("tolerance/" if precision == "float64" else "tolerance32/")
        fitting = [p for p in values if key == p or key.startswith(f"{p}/")]
        return float(values[max(fitting, key=len, default="default")])

    def _chain(self) -> Iterator[str]:
        """Return where a given key is looked for, nearest first."""
        name = self.name
        while name:
            yield f"{name}/"
            name = str(self.z[f"{name}/base"]) if f"{name}/base" in self.z else ""
        yield ""

    def _owns(self, key: str) -> bool:
        return key.startswith(f"{self.name}/")
