"""Accelerators that programs are compiled for without having one, and what they can do.

The TPU's compiler comes with libtpu (extra [aot]), the GPU's with jax's CUDA plugin
(extra [aot-cuda]); neither needs the hardware or a driver.

Source: jax.experimental.topologies; Cloud TPU system architecture (memory, bandwidth
    and bfloat16 peak of a chip); NVIDIA's data sheets of A100 and H100 SXM and the CUDA
    programming guide's table of compute capabilities; the fields of the text that
    describes a GPU: xla/stream_executor/device_description.proto of openxla/xla.
"""

import importlib.util
import os
from typing import Any, NamedTuple

from msa_jax.ground.errors import UserError


class Target(NamedTuple):
    """One kind and number of chips.

    platform: "tpu" or "cuda".
    chips: how many.
    topology: their names and arrangement as the compiler knows them.
    memory: bytes of a chip that a program may use.
    bandwidth: bytes per second between a chip and its memory.
    peak: bfloat16 multiplications and additions per second of a chip.
    passes: products of bfloat16 that make one of float32 at precision "highest" (a
        GPU: how much slower float32 is than bfloat16 on its matrix units).
    """

    platform: str
    chips: int
    topology: dict[str, Any]
    memory: int
    bandwidth: float
    peak: float
    passes: float


class _Gpu(NamedTuple):
    """What the compiler has to know of a GPU, and what is printed of it."""

    name: str
    major: int
    features: str
    cores: int
    units: int  # for float32, of a core
    shared: int  # bytes of a core
    cache: int
    clock: float  # GHz
    memory: int
    bandwidth: float
    peak: float
    passes: float


_H100 = _Gpu(
    name="NVIDIA H100 80GB HBM3",
    major=9,
    features="ACCELERATED_FEATURES",
    cores=132,
    units=128,
    shared=228 * 1024,
    cache=50 * 2**20,
    clock=1.98,
    memory=84_942_979_072,
    bandwidth=3.35e12,
    peak=989e12,
    passes=989 / 67,
)
_A100 = _Gpu(
    name="NVIDIA A100-SXM4-80GB",
    major=8,
    features="NONE",
    cores=108,
    units=64,
    shared=164 * 1024,
    cache=40 * 2**20,
    clock=1.41,
    memory=85_100_068_864,
    bandwidth=2.04e12,
    peak=312e12,
    passes=312 / 19.5,
)
# Memory, bandwidth and bfloat16 peak of a chip.
_V5E = 15.75 * 2**30, 819e9, 197e12
_V6E = 31.25 * 2**30, 1640e9, 918e12
_V5P = 95.74 * 2**30, 2765e9, 459e12


def _tpu(name: str, chips: int, known: tuple[float, float, float], **more: Any):
    memory, bandwidth, peak = known
    topology = {"topology_name": name, **more}
    return Target("tpu", chips, topology, int(memory), bandwidth, peak, 6)


def _gpu(gpu: _Gpu, chips: int) -> Target:
    topology = {"target_config": _description(gpu), "topology": f"1x1x{chips}"}
    return Target(
        "cuda", chips, topology, gpu.memory, gpu.bandwidth, gpu.peak, gpu.passes
    )


def _description(gpu: _Gpu) -> str:
    """Write a GPU down as the compiler reads it."""
    core = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 * 1024,
        "shared_memory_per_core": gpu.shared,
        "shared_memory_per_block_optin": gpu.shared - 1024,
        "threads_per_core_limit": 2048,
        "core_count": gpu.cores,
        "fpus_per_core": gpu.units,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
        "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16,
        "memory_bandwidth": int(gpu.bandwidth),
        "l2_cache_size": gpu.cache,
        "clock_rate_ghz": gpu.clock,
        "device_memory_size": gpu.memory,
    }
    lines = [f"  {name}: {value}" for name, value in core.items()]
    return "\n".join(
        [
            "gpu_device_info {",
            *lines,
            "  cuda_compute_capability {",
            f"    major: {gpu.major}",
            f"    feature_extension: {gpu.features}",
            "  }",
            '  runtime_version: "12.8.0"',
            '  driver_version: "12.8.0"',
            "}",
            'platform_name: "CUDA"',
            "dnn_version_info { major: 9 minor: 10 }",
            f'device_description_str: "{gpu.name}"',
        ]
    )


_ONE = {"chips_per_host_bounds": (1, 1, 1)}  # else a host has four
TARGETS = {
    "v5e-1": _tpu("v5e:1x1", 1, _V5E, **_ONE),
    "v5e-4": _tpu("v5e:2x2", 4, _V5E),
    "v5e-8": _tpu("v5e:2x4", 8, _V5E),
    "v6e-1": _tpu("v6e:1x1", 1, _V6E, **_ONE),
    "v6e-8": _tpu("v6e:2x4", 8, _V6E),
    "v5p-4": _tpu("v5p:2x2x1", 4, _V5P),
    "h100-1": _gpu(_H100, 1),
    "h100-8": _gpu(_H100, 8),
    "a100-8": _gpu(_A100, 8),
}


def devices(name: str) -> list[Any]:
    """Return a target's devices: they can be compiled for, nothing else.

    Raises:
        UserError: its compiler is not installed.
    """
    target = TARGETS[name]
    extra = {"tpu": "aot", "cuda": "aot-cuda"}[target.platform]
    package = {"tpu": "libtpu", "cuda": "jax_cuda12_plugin"}[target.platform]
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"--compile-only {name} needs {package}: pip install 'msa_jax[{extra}]' in "
            "an environment of its own"
        )
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(
            platform=target.platform, **target.topology
        )
    except Exception as error:  # of the plugin, whose own kinds are many
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"--compile-only {name}: {package} says: {said[0]}") from error
    return found.devices


def set_up() -> None:
    """Tell jax, before it is imported, that no accelerator is here."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    # libtpu would let one process at a time in, for the sake of a chip.
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what they miss of hardware
    # A GPU that is not here cannot try out tiles of products, and some programs then
    # fail ("Couldn't find output tile sizes"): products are cuBLAS's.
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_enable_triton_gemm=false".strip()
