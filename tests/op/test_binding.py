"""A program's calls are bound once: again for other settings, and anew wherever it is loaded."""

import threading

import jax
import numpy as np
from jax.experimental import serialize_executable
from numpy.testing import assert_array_equal

from kernel_case import on_every_isa
from resfuse import ffi
from resfuse.kernel.conv import conv
from resfuse.kernel.pool import max_pool
from resfuse.spec import ConvSpec

SPEC = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1, None)
RANDOM = np.random.default_rng(0)
X, KERNEL = (RANDOM.normal(size=s).astype(np.float32) for s in ((1, 9, 9, 16), (3, 3, 16, 24)))


def program():
    """Calls of two kinds, compiled and never executed."""
    calls = jax.jit(lambda x: conv(SPEC, max_pool(x, (2, 2), (1, 1), ((0, 1), (0, 1))), KERNEL))
    return calls.lower(X).compile()


def test_settings_that_change_between_executions(force):
    """Each execution has the bits of a program that has known nothing else."""
    old, expected = program(), {}
    for algorithm in ("direct", "winograd", "direct"):
        force(algorithm)
        if algorithm not in expected:
            expected[algorithm] = on_every_isa(lambda: np.asarray(program()(X)))
        for isa, got in on_every_isa(lambda: np.asarray(old(X))).items():
            assert_array_equal(got, expected[algorithm][isa], f"{algorithm} on {isa}")
    for isa in ffi.isas():
        assert not np.array_equal(expected["direct"][isa], expected["winograd"][isa])


def test_threads_that_execute_a_program_first():
    first, start, results = program(), threading.Barrier(8), []

    def execute():
        start.wait()
        results.append(np.asarray(first(X)))

    threads = [threading.Thread(target=execute) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for result in results:
        assert_array_equal(result, first(X))


def test_a_program_from_disk():
    """What a call was bound to is not a part of it."""
    first = program()
    expected = first(X)
    written = serialize_executable.serialize(first)
    read = serialize_executable.deserialize_and_load(*written, execution_devices=jax.devices()[:1])
    assert_array_equal(read(X), expected)
