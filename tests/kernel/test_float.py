"""Accuracy on normal floats, with float64 as the judge.

XLA's own convolution is the yardstick, without the YNN fusions that it may come with: its flags
hold for a process, so this file, run as a program, writes XLA's results for every case.
"""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import oracle
from kernel_case import Case, compiled, normals, on_every_isa
from resfuse import reference

# Both add the same products, in other orders and with other roundings, so the largest error of some
# thousand outputs is another draw of the same size: twice is ample. Without a precision the kernel
# may take Winograd's transforms, which cost three bits more.
RATIOS = {"highest": 2, None: 2 * 8}
SAME = ((1, 1), (1, 1))
CASES = [
    Case(1, (14, 14), (64, 64), (3, 3), padding=SAME),
    Case(2, (9, 13), (17, 33), (3, 3), padding=SAME),
    Case(2, (8, 8), (256, 32), (3, 3), padding=SAME),
    Case(1, (7, 7), (512, 64), (1, 1)),
    Case(2, (28, 28), (3, 64), (7, 7), (2, 2), ((3, 3), (3, 3))),
    Case(2, (14, 15), (32, 48), (3, 3), (2, 2), ((0, 1), (1, 0))),
    Case(2, (9, 9), (48, 96), (5, 5), padding=((2, 2), (2, 2)), groups=3),
    Case(2, (14, 14), (32, 64), (3, 3), padding=SAME, groups=32),
    Case(1, (4, 4), (10300, 16), (1, 1)),
]


def reference_conv(case):
    x, kernel = normals(case)[:2]
    return np.asarray(jax.jit(lambda: reference.conv(x, kernel, case.spec(x, kernel)))())


@pytest.fixture(scope="module")
def by_xla(tmp_path_factory):
    """The results of XLA's convolution, in the order of ``CASES``."""
    file = tmp_path_factory.mktemp("xla") / "convolutions.npz"
    environment = os.environ | {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type="}
    subprocess.run([sys.executable, __file__, str(file)], env=environment, check=True)
    with np.load(file) as results:
        return list(results.values())


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_within_the_bound_of_any_order(case):
    """Higham 2002, section 3.1: ``|error| <= n * unit / (1 - n * unit) * sum |x| |w|``.

    Of n operations, in whatever order; ``unit`` is half of EPSILON, which leaves a factor of two
    for the three more of scale, shift and residual.
    """
    operands = normals(case)
    magnitudes = [np.abs(operand) for operand in operands]
    conv, size = case.convolve(*operands[:2]), case.convolve(*magnitudes[:2])
    expected = oracle.affine(conv, *operands[2:], relu=case.relu)
    magnitude = oracle.affine(size, *magnitudes[2:], relu=False)
    bound = oracle.EPSILON * (np.prod(case.shapes[1][:3]) + 2)
    for isa, (y, ours, *_) in on_every_isa(compiled(case, operands)).items():
        assert (np.abs(ours - conv) <= bound * size).all(), isa
        assert (np.abs(y - expected) <= bound * magnitude).all(), isa


@pytest.mark.parametrize("precision", RATIOS)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_as_accurate_as_xla(case, precision, by_xla):
    operands = normals(case)
    conv = case.convolve(*operands[:2])
    theirs = np.abs(by_xla[CASES.index(case)] - conv).max()
    for isa, (_, ours, *_) in on_every_isa(compiled(case, operands, precision)).items():
        assert np.abs(ours - conv).max() <= RATIOS[precision] * theirs, isa


if __name__ == "__main__":
    np.savez(sys.argv[1], *map(reference_conv, CASES))
