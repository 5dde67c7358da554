"""Many calls at once, from threads and devices and inside loops: no hang, and the same bits."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradient_case
from cases import OPS, call, problem
from kernel_case import Case, normals
from resfuse import ffi
from resfuse.kernel import conv as convolution
from resfuse.kernel.affine import affine
from resfuse.kernel.pool import max_pool

THREADS, REPEATS = 8, 15
PATIENCE = 120  # seconds until a call that takes milliseconds counts as hanging


def work(op):
    """Large enough to be shared out to several threads of the pool."""
    return problem(op, x=(4, 24, 24, 16), kernel=(3, 3, 16, 32), without=("conv_bias",))


def at_once(function, *arguments):
    """What ``function`` gives in a thread of its own for each argument, started together."""
    start, results, errors = threading.Barrier(len(arguments)), {}, []

    def run(index, argument):
        try:
            start.wait()
            results[index] = function(argument)
        except BaseException as error:  # to be raised by the thread that waits
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(arguments)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a call hangs"
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(arguments))]


def repeatedly(function, arrays):
    """Whether ``function`` gave the same bits ``REPEATS`` times, and those."""
    first, *others = [jax.tree.map(np.asarray, function(arrays)) for _ in range(REPEATS)]
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, first, other)
    return first


def check(function, arrays, places):
    """The same bits from all threads as from one; ``places`` holds the arrays of each."""
    function = jax.jit(function)
    alone = jax.tree.map(np.asarray, function(arrays))
    for got in at_once(functools.partial(repeatedly, function), *places):
        jax.tree.map(np.testing.assert_array_equal, got, alone)


def check_all(functions):
    """Likewise for pairs of a function and its arrays, each pair in two threads."""
    alone = [jax.tree.map(np.asarray, function(arrays)) for function, arrays in functions]
    together = at_once(lambda pair: repeatedly(*pair), *functions, *functions)
    for got, expected in zip(together, [*alone, *alone], strict=True):
        jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("op", OPS)
def test_threads(op):
    arrays = work(op)
    check(lambda a: call(op, a, "ffi"), arrays, [arrays] * THREADS)


@pytest.mark.parametrize("op", OPS)
def test_threads_on_several_devices(op):
    arrays, devices = work(op), jax.devices()
    assert len(devices) > 1, "conftest.py asks for two devices before JAX starts"
    places = [jax.device_put(arrays, devices[i % len(devices)]) for i in range(THREADS)]
    check(lambda a: call(op, a, "ffi"), arrays, places)


@pytest.mark.parametrize("op", OPS)
def test_threads_with_calls_inside_scan_and_vmap(op):
    """A loop of calls, each of them a loop over kernels: the calling thread is one of the pool."""
    arrays = work(op)
    kernels = jnp.stack([arrays["kernel"], -arrays["kernel"]])

    def nested(arrays):
        def each(kernel):
            return call(op, arrays | {"kernel": kernel}, "ffi")

        def step(carry, scale):
            return carry, jax.tree.map(jnp.sum, jax.vmap(each)(kernels * scale))

        return jax.lax.scan(step, 0, jnp.arange(1.0, 4.0))[1]

    check(nested, arrays, [arrays] * THREADS)


@pytest.mark.parametrize("op", OPS)
def test_calls_that_do_not_wait_for_each_other(op):
    """Independent calls in one program, which XLA may run at the same time."""
    arrays = work(op)
    fanned = lambda a: [call(op, a | {"x": a["x"] * i}, "ffi") for i in range(1, 5)]  # noqa: E731
    check(fanned, arrays, [arrays, arrays])


# Direct, narrow groups, and Winograd with weights that stay transformed and that do not.
PACKED = {
    "direct": Case(4, (24, 24), (16, 32), (5, 5), padding=((2, 2), (2, 2))),
    "lanes": Case(4, (24, 24), (64, 64), (3, 3), padding=((1, 1), (1, 1)), groups=16),
    "resident": Case(4, (24, 24), (32, 32), (3, 3), padding=((1, 1), (1, 1))),
    "not resident": Case(2, (12, 12), (160, 96), (3, 3), padding=((1, 1), (1, 1))),
}


def packed_call(case):
    """A function of the operands, which pools what the kernel returns, and operands for it."""
    x, kernel, *rest = map(jnp.asarray, normals(case))
    spec = case.spec(x, kernel, precision=None)
    arrays = {"x": x, "kernel": kernel, "rest": rest, "packed": ffi.pack(kernel, spec)}

    def function(arrays):
        y = affine(
            arrays["x"], arrays["kernel"], *arrays["rest"],
            spec=spec, epilogue=case.epilogue, packed=arrays["packed"],
        )  # fmt: skip
        return y, max_pool(y, (3, 3), (2, 2), ((1, 1), (1, 1)))

    return function, arrays


@pytest.mark.parametrize("case", PACKED.values(), ids=PACKED)
def test_threads_with_packed_weights_and_pools(case):
    function, arrays = packed_call(case)
    check(function, arrays, [arrays] * THREADS)


def test_threads_with_different_packed_weights():
    """Each of its own size, so that each leaves other memory to the next on its thread."""
    functions = [
        (jax.jit(function), arrays) for function, arrays in map(packed_call, PACKED.values())
    ]
    check_all(functions)


def test_threads_that_pack():
    """Packing itself is shared out to the pool, in every thread's program at once."""
    case = PACKED["direct"]
    spec = case.spec(*normals(case)[:2])

    def function(kernel):
        return ffi.pack(kernel, spec), ffi.pack(2 * kernel, spec)

    kernel = normals(case)[1]
    check(function, kernel, [kernel] * THREADS)


def test_threads_that_take_gradients():
    """Of different convolutions, so that each leaves other memory to the next on its thread."""

    def gradients(case):
        x, kernel, d_y = gradient_case.normals(case)
        both = functools.partial(convolution.gradients, case.spec(x, kernel, precision=None))
        return jax.jit(lambda arrays: both(*arrays)), (x, kernel, d_y)

    functions = list(map(gradients, PACKED.values()))
    check_all(functions)
