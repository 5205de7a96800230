"""The one exception for mistakes a user can mend, and the names that it says."""

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A wrong key, path, file, shape or value.

    The message is one line: what is wrong, where, and how to mend it. Every command
    prints it without a traceback and exits with code 2 (see `cli.run`).

    Examples:
        >>> import msa_jax as msa
        >>> try:
        ...     msa.config("demoo")
        ... except msa.UserError as error:
        ...     print(error)
        config file 'demoo' not found; did you mean demo?
    """


def listed(names: Iterable[Any], most: int = 5) -> str:
    """Name the first few of what may be very many names."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def shown(name: Any) -> str:
    """Return a name of the file as something that can be printed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name)[:40])


def near(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean ...?", or nothing if no known name is near."""
    known = sorted(known)
    found = difflib.get_close_matches(word, known, n=1)
    if not found:  # the name may be in another group
        leaves = {other.rpartition(".")[2]: other for other in known}
        found = difflib.get_close_matches(word.rpartition(".")[2], leaves, n=1)
        found = [leaves[leaf] for leaf in found]
    return f"; did you mean {prefix}{found[0]}?" if found else ""
