"""The same bits for any number of threads, from run to run, and whichever thread takes what.

XLA makes its pool when it starts, of NPROC threads; so each number is a process, which runs this
file as a program.
"""

import collections
import functools
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

import gradient_case
import resfuse
from agreement import filled, images, key
from kernel_case import (
    Case,
    compiled_packed_together,
    compiled_together,
    normals,
    on_every_isa,
)
from resfuse import ffi, linen
from resfuse.kernel import batch_norm
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.cascade import Cascade, Part, PartArrays, cascade_on_cpu
from resfuse.kernel.epilogue import IDENTITY, RELU
from resfuse.kernel.image_norm import GroupNorm, LayerNorm, image_norm
from resfuse.kernel.pool import Pooling, pool_gradient, pool_on_cpu
from resfuse.kernel.prologue import Prologue
from resfuse.spec import ConvSpec

TWO_DEVICES = "--xla_force_host_platform_device_count=2"  # as conftest.py has it
THREADS = (1, 3)
RERUNS = 2
SAME = ((1, 1), (1, 1))
# All worth three threads, which is from three million multiply-adds on; normal floats, whose sums
# depend on their order.
CASES = [
    Case(1, (28, 28), (64, 64), (3, 3), padding=SAME),
    Case(5, (14, 14), (67, 33), (3, 3), padding=SAME),
    Case(1, (7, 7), (256, 512), (1, 1)),
    Case(8, (2, 2), (512, 512), (3, 3), padding=SAME),
    Case(2, (29, 31), (32, 48), (3, 3), (2, 2), ((0, 1), (1, 0))),
    Case(2, (29, 31), (33, 48), (3, 3), (2, 2), ((0, 1), (1, 0))),
    Case(2, (28, 28), (256, 96), (3, 3), (2, 2), SAME),
    Case(1, (112, 113), (3, 17), (7, 7), (2, 2), ((3, 3), (3, 3))),
    Case(8, (56, 56), (32, 32), (3, 3), padding=SAME, groups=32),
    Case(4, (14, 14), (64, 96), (5, 3), padding=((2, 2), (1, 1)), groups=4),
    Case(2, (5, 5), (10300, 17), (1, 1)),
    Case(2, (28, 28), (160, 160), (3, 3), (2, 2), SAME, groups=20),
    Case(3, (14, 14), (304, 65), (3, 3), padding=SAME),
    Case(1, (7, 7), (512, 64), (3, 3), padding=SAME),
    Case(1, (14, 14), (1024, 33), (1, 1)),
    Case(64, (2, 2), (64, 64), (3, 3), padding=SAME),
    Case(1, (3000,), (64, 48), (3,), padding=((2, 2),), dilation=(2,)),
    Case(2, (2, 14, 15), (160, 65), (3, 3, 3), padding=((1, 1), *SAME)),
    Case(1, (9, 20, 21), (32, 48), (3, 3, 3), padding=((1, 1), *SAME), dilation=(1, 2, 3)),
    # Regions and phases, which are one queue; dilated windows; other dimensions.
    Case(2, (14, 15), (64, 48), (4, 4), None, ((2, 2), (2, 2)), image_dilation=(2, 2)),
    Case(1, (3000,), (33, 64), (3,), None, ((8, 8),), dilation=(8,)),
    Case(1, (25, 26), (64, 48), (3, 3), None, ((14, 14), (15, 15)), dilation=(14, 15)),
    Case(2, (5, 14, 14), (32, 40), (3, 3, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 1))),
]
# Images whose batch norm several threads share out: pixels of few channels and of many.
NORMS = [(3, 56, 57, 64), (2, 33, 130, 17), (5, 7, 7, 515)]
# Shapes and geometries of pools that several threads share out.
POOLS = [
    ((3, 56, 57, 64), (3, 3), (2, 2), SAME),
    ((1, 9, 3000, 33), (2, 3), (1, 1), ((0, 0), (2, 5))),
    ((1, 112, 113, 33), (112, 113), (1, 1), ((0, 0), (0, 0))),
]


def digest(arrays):
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def reruns(call):
    """The different digests of some runs on each ISA, of each of ``call``'s lists of arrays."""
    count = RERUNS if pool_size() > 1 else 1  # one thread takes everything in the same order
    runs = on_every_isa(lambda: [list(map(digest, call())) for _ in range(count)])
    return {isa: [sorted(set(each)) for each in zip(*runs[isa], strict=True)] for isa in runs}


def pools(x, *geometry):
    results = []
    for operation in ("max", "sum"):
        pooling = Pooling(operation, *geometry, window_dilation=(1, 1))
        y = pool_on_cpu(pooling, x)
        results += [y, pool_gradient(pooling, x, y)]
    return results


def norm(conv, d_y, *channels):
    """All passes of batch norm, with a residual and ReLU, layer norm and group norm."""
    mean, a, b, d = channels
    gate = RELU.gate
    y = batch_norm.normalize(gate, conv, mean, a, d, d_y)
    return (
        y,
        *batch_norm.norm_sums(gate, d_y, conv, mean, y),
        *batch_norm.norm_gradient(gate, True, d_y, conv, mean, a, b, d, y),
        image_norm(conv, a, b, static=LayerNorm(1e-6)),
        image_norm(conv, a, b, static=GroupNorm(1, 1e-6, gate)),
    )


def pool_size():
    names = pathlib.Path("/proc/self/task").glob("*/comm")
    return collections.Counter(name.read_text().strip() for name in names)["tf_XLAEigen"]


@functools.cache
def network(isa):
    """A ResNet's stages for a batch, and for one image at a time, which takes other algorithms.

    Not its logits: XLA's own sums may depend on the threads. Its weights are packed for ``isa``.
    """
    assert isa == ffi.isa()
    architecture = linen.Architecture("basic", (1, 1))
    model = linen.ResNet(architecture, num_classes=10, cifar_stem=True)
    x = images(3, 40, 40, 3)
    variables = filled(jax.eval_shape(model.init, key(0), x))
    fast = resfuse.fuse(lambda x: model.apply(variables, x, True, method="features"))
    run = jax.jit(lambda x: jax.tree.leaves([fast(x), *map(fast, jnp.split(x, 3))]))
    return lambda: [run(x)]


def prologue():
    """Of two parts, with fewer blocks than threads and with more."""
    cases = [Case(2, (7, 7), (1000, 64), (1, 1)), Case(2, (40, 40), (500, 40), (1, 1))]
    before, found = Prologue(2, "image", True, jax.nn.relu), []
    for case in cases:
        (x, kernel, *rest), random = normals(case), np.random.default_rng(0)
        channels = case.channels[0]
        shapes = (case.batch, channels), (channels,)
        numbers = [random.normal(size=shape).astype(np.float32) for shape in shapes]
        operands, spec = [*np.split(x, [31], -1), *numbers, kernel, *rest], case.spec(x, kernel)
        y = affine_on_cpu(*operands, spec=spec, epilogue=case.epilogue, prologue=before)
        found.append([y])
    return found


def cascades(x, kernels):
    """Two convolutions as one call, of which the first is depthwise, and squeezes of its output."""
    geometries = (SAME, kernels[0].shape[-1]), (((0, 0), (0, 0)), 1)
    specs = [ConvSpec((1, 1), pads, (1, 1), (1, 1), groups, None) for pads, groups in geometries]
    parts = tuple(Part(spec, IDENTITY) for spec in specs)
    arrays = [
        PartArrays(ffi.pack(kernel, spec), kernel, *2 * [kernel[0, 0, 0]], ())
        for kernel, spec in zip(kernels, specs, strict=True)
    ]
    y, rows = cascade_on_cpu(x, *arrays, static=Cascade(parts, sums_rows=True))
    back = jnp.swapaxes(kernels[1], 2, 3)
    point = PartArrays(ffi.pack(back, specs[1]), back, *2 * [back[0, 0, 0]], ())
    squeezed = [
        cascade_on_cpu(images, point, arrays[1], static=Cascade((parts[1],) * 2, squeeze=True))[0]
        for images in (y, jnp.expand_dims(rows, 2))
    ]
    return (y, rows, *squeezed)


def calls():
    """By name: functions of nothing, for a list of arrays of each of their cases."""
    may_take_winograd = [case for case in CASES if case.window == (3, 3) and case.groups == 1]
    for precision, cases in (("highest", CASES), (None, may_take_winograd)):
        operands = list(map(normals, cases))
        yield f"forward {precision}", compiled_together(cases, operands, precision)
        operands = list(map(gradient_case.normals, cases))
        run = gradient_case.compiled_together(cases, operands, precision)
        yield f"gradients {precision}", run
    every = list(map(normals, CASES))
    packed = compiled_packed_together(CASES, every)
    # Each ISA runs the weights that were packed for it.
    yield "packed", lambda: [[on_isa[ffi.isa()]] for _, on_isa in packed(every)]
    random = np.random.default_rng(0)

    def draw(shape):
        return random.normal(size=shape).astype(np.float32)

    # On one thread, whose cache holds all of it, the parts run one after the other.
    arrays = draw((1, 28, 30, 96)), [draw((3, 3, 1, 96)), draw((1, 1, 96, 40))]
    yield "cascade", lambda: [cascades(*arrays)]
    for shape, *geometry in POOLS:
        call = jax.jit(functools.partial(pools, draw(shape), *geometry))
        yield f"pool of {shape}", lambda call=call: [call()]
    for shape in NORMS:
        operands_of_norm = [draw(size) for size in [shape] * 2 + [shape[-1:]] * 4]
        call = jax.jit(functools.partial(norm, *operands_of_norm))
        yield f"norm of {shape}", lambda call=call: [call()]
    yield "prologue", prologue
    yield "network", lambda: network(ffi.isa())()


def main():
    digests = {name: reruns(call) for name, call in calls()}
    json.dump({"pool": pool_size(), "digests": digests}, sys.stdout)


def report(threads):
    """What ``main`` says in a process with so many threads."""
    environment = {k: v for k, v in os.environ.items() if k != "RESFUSE_ISA"}
    environment["XLA_FLAGS"] = environment["XLA_FLAGS"].replace(TWO_DEVICES, "")
    environment["NPROC"] = str(threads)
    run = [sys.executable, __file__]
    process = subprocess.run(run, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(process.stdout)


def test_every_case_is_worth_all_threads():
    assert min(case.work for case in CASES) >= max(THREADS) << 20


def test_same_bits():
    """As the first run on one thread; one test, so that no worker makes the reports again."""
    reports = {threads: report(threads) for threads in THREADS}
    for threads, found in reports.items():
        if sys.platform == "linux":  # which lists threads by name
            assert found["pool"] == threads
        for name, digests in reports[THREADS[0]]["digests"].items():
            for isa, cases in digests.items():
                first = [[each[0]] for each in cases]
                assert found["digests"][name][isa] == first, f"{name} on {isa}, {threads} threads"


if __name__ == "__main__":
    main()
