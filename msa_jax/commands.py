"""The console script `msa`: every command of the package as a subcommand.

    msa train --config configs/demo.py
    msa prepare mosi --from FILE

`msa NAME ...` is `python -m msa_jax.NAME ...` in every respect, and takes its place:
flags, signals and exit codes are the command's own. `msa NAME --help` explains one.
"""

import ast
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from msa_jax.ground.errors import UserError, near

_ALSO: Mapping[str, str] = {"train": "main"}  # what people would call it


def main() -> None:
    """Become the command that the first argument names, or list them all."""
    names = commands()
    name, *rest = sys.argv[1:] or ["--help"]
    if name in names:
        module = f"{__package__}.{_ALSO.get(name, name)}"
        os.execv(sys.executable, [sys.executable, "-m", module, *rest])
    from msa_jax.config import cli  # slow to import

    cli.run(lambda: _explain(name, names))


def _explain(name: str, names: Mapping[str, str]) -> None:
    """Print the list of commands.

    Raises:
        UserError: something else was asked for.
    """
    if name not in ("-h", "--help", "help"):
        meant = near(name, names)
        raise UserError(f"msa has no command {name!r}{meant} (msa --help lists them)")
    lines = [(__doc__ or "").rstrip(), "", "Commands:"]
    lines += [f"  {name:<12}{said}" for name, said in names.items()]
    print("\n".join(lines))


def commands() -> dict[str, str]:
    """Return name -> first sentence of every command; nothing is imported for it.

    A command is what `python -m` can run: it says so itself.
    """
    package, found = Path(__file__).parent, {}
    for file in sorted((*package.glob("*.py"), *package.glob("*/__main__.py"))):
        text = file.read_text("utf-8")
        if '\nif __name__ == "__main__":' in text:
            name = file.parent.name if file.name == "__main__.py" else file.stem
            doc = ast.get_docstring(ast.parse(text)) or ""
            found[name] = doc.partition("\n")[0]
    return {name: found[module] for name, module in _ALSO.items()} | found
