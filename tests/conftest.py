"""Two CPU devices, strict promotion, and fixtures that force an instruction set or algorithm."""

import os
from pathlib import Path

# Some tests run their own file as a process, which imports what the tests share.
os.environ["PYTHONPATH"] = str(Path(__file__).parent)

# Before JAX starts. Two devices, for the tests of sharding; and XLA's own code, which is only the
# yardstick here, may be slow as long as it compiles fast: LLVM without optimizations, in one piece
# for each program, and fusions without MLIR, which takes two thirds of the time.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=2",
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
    ]
)
# The oracles' products are small, and a pool of threads for each worker costs more than it saves.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gc
import random
from collections.abc import Callable, Iterator

import jax
import pytest

from resfuse import ffi

jax.config.update("jax_numpy_dtype_promotion", "strict")

# Tracing makes millions of objects that live on; looking for garbage among them takes an eighth of
# the time.
gc.freeze()
gc.set_threshold(200_000, 50, 1000)

SWEEP_SEED = "RESFUSE_SWEEP_SEED"
LONGEST = ("test_threads.py", "test_demo.py", "test_train.py")  # processes, one after the other


def pytest_configure() -> None:
    """Draws the seed of the sweep before the workers start, which inherit it."""
    os.environ.setdefault(SWEEP_SEED, str(random.SystemRandom().getrandbits(32)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``-m long --sample 40`` runs forty of the long tests, which the seed draws."""
    parser.addoption("--sample", type=int, help="run so many of the chosen tests, at random")


@pytest.hookimpl(trylast=True)  # after -m has chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, so that at the end no worker waits for another."""
    if (sample := config.getoption("sample")) is not None:
        drawn = random.Random(os.environ[SWEEP_SEED]).sample(items, min(sample, len(items)))
        config.hook.pytest_deselected(items=[item for item in items if item not in drawn])
        items[:] = [item for item in items if item in drawn]
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_report_header() -> str:
    """What repeats this run."""
    return f"{SWEEP_SEED}={os.environ[SWEEP_SEED]}"


@pytest.fixture(params=ffi.isas() or ["none"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test on each instruction set that this machine has."""
    if not ffi.available():
        pytest.fail(f"the tests need the kernel: {ffi.unavailable_reason()}")
    before = ffi.isa()
    ffi.force_isa(request.param)
    yield request.param
    ffi.force_isa(before)


@pytest.fixture
def force() -> Iterator[Callable[[str], None]]:
    """Forces an algorithm until the test ends."""
    yield ffi.force_algorithm
    ffi.force_algorithm("fastest")
