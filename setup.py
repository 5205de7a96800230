"""What pyproject.toml cannot say: the folder configs/ comes along in the package.

It stays at the top of the repository, where people look for it; in a wheel it lies in
`msa_jax/configs` (`config.cli.own_configs`).
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = sorted(
    str(path) for end in ("py", "csv") for path in Path("configs").rglob(f"*.{end}")
)


class WithConfigs(build_py):
    """Copies them; an editable installation reads those of the checkout."""

    def run(self):
        """Build the package."""
        super().run()
        for name in () if self.editable_mode else FILES:
            target = Path(self.build_lib, "msa_jax", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, target)

    def get_source_files(self):
        """Name what a source distribution needs."""
        return [*super().get_source_files(), *FILES]


setup(cmdclass={"build_py": WithConfigs})
