"""With ``precision="highest"`` an image's bits do not depend on the images beside it.

Threads: whatever the batch, the bits are those of one thread, see ``tests/kernel/test_threads.py``.
"""

import functools
import itertools

import jax
import numpy as np
import pytest

from kernel_case import Case, normals, on_every_isa
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.conv import input_gradient
from resfuse.kernel.epilogue import ADD

SAME, BATCH = ((1, 1), (1, 1)), 5
CASES = {  # of one image: every plan of the direct algorithm, and where Winograd's would be taken
    "Winograd's by default": Case(BATCH, (12, 12), (32, 32), (3, 3), padding=SAME),
    "Winograd's from a larger batch on": Case(BATCH, (2, 2), (512, 512), (3, 3), padding=SAME),
    "strides": Case(BATCH, (14, 9), (24, 40), (3, 3), (2, 2), SAME),
    "the stem's": Case(BATCH, (24, 24), (3, 64), (7, 7), (2, 2), ((3, 3), (3, 3))),
    "pointwise": Case(BATCH, (7, 7), (96, 130), (1, 1)),
    "one pixel": Case(BATCH, (1, 1), (256, 70), (1, 1)),
    "odd channels": Case(BATCH, (5, 6), (13, 37), (3, 5), (1, 2), ((1, 1), (2, 2))),
    "narrow groups": Case(BATCH, (9, 8), (64, 64), (3, 3), padding=SAME, groups=16),
    "wide groups": Case(BATCH, (6, 6), (64, 128), (3, 3), padding=SAME, groups=2),
    "depthwise": Case(BATCH, (11, 10), (48, 48), (3, 3), (2, 2), SAME, groups=48),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_image_in_any_batch(case):
    """Alone, in the middle of a batch, and at its end; and so for the gradient by an image."""
    x, kernel, scale, shift, residual = normals(case)
    spec = case.spec(x, kernel, precision="highest")

    @jax.jit
    def both(x, residual):
        y = affine_on_cpu(x, kernel, scale, shift, residual, spec=spec, epilogue=ADD)
        return y, input_gradient(spec, case.size, residual, kernel)

    def parts(*bounds):
        rows = [slice(*pair) for pair in itertools.pairwise(bounds)]
        results = [both(x[each], residual[each]) for each in rows]
        return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]

    whole = on_every_isa(functools.partial(parts, 0, BATCH))
    split = on_every_isa(functools.partial(parts, 0, 1, 4, BATCH))
    jax.tree.map(np.testing.assert_array_equal, split, whole)
