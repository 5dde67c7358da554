"""Transposed convolutions with few output channels, which run as ordinary ones with more."""

import functools

import jax
import numpy as np
import pytest

import gradient_case
from agreement import images
from kernel_case import Case, assert_exact, assert_packed
from resfuse.kernel.fold import fold_of
from resfuse.kernel.train import conv_statistics

FOLDED = [
    Case(1, (7,), (33, 1), (1024,), None, ((1023, 1023),), image_dilation=(256,)),
    # Outputs that are no whole number of steps, pads that are none either, and cropped ones.
    *(Case(2, (9,), (5, 2), (7,), None, (pads,), image_dilation=(3,))
      for pads in ((0, 0), (4, 5), (-1, 3), (6, -2), (-4, -5), (12, 13))),
    Case(1, (1,), (3, 1), (4,), None, ((2, 2),), image_dilation=(5,)),
    Case(1, (4,), (3, 1), (2,), None, ((1, 4),), image_dilation=(2,)),
    # Rows of pictures and volumes, whose other sides keep their geometry.
    Case(2, (5, 6), (8, 3), (4, 4), None, ((2, 2), (2, 2)), image_dilation=(2, 2)),
    Case(1, (5, 6), (16, 1), (3, 2), (2, 1), ((1, 0), (1, 1)), 1, True, True, (2, 1), (1, 2)),
    Case(1, (3, 4, 5), (17, 1), (3, 3, 3), None, ((1, 2),) * 3, image_dilation=(2, 2, 2)),
    Case(2, (4, 4), (6, 8), (2, 2), None, ((1, 1), (1, 1)), image_dilation=(2, 2)),
    # Both sides.
    Case(2, (5, 6), (16, 3), (4, 4), None, ((2, 2), (2, 2)), image_dilation=(2, 2)),
    Case(1, (4, 7), (9, 2), (5, 4), None, ((3, -1), (2, 6)), image_dilation=(3, 2)),
]  # fmt: skip
OTHERS = [
    Case(1, (8, 8), (8, 64), (4, 4), None, ((2, 2), (2, 2)), image_dilation=(2, 2)),
    Case(1, (8,), (8, 1), (4,), (2,), ((2, 2),), image_dilation=(3,)),
    Case(1, (8,), (8, 1), (4,), None, ((2, 2),), dilation=(2,), image_dilation=(3,)),
    Case(1, (8,), (2, 2), (4,), None, ((2, 2),), 2, image_dilation=(3,)),
    Case(1, (8,), (8, 1), (4,), None, ((2, 2),)),
]


# Input and output change places for the weight gradient, zeros between pixels or not.
EXCHANGED = [
    Case(2, (9, 8), (32, 3), (3, 3), padding=((1, 1), (1, 1))),
    Case(1, (9, 10), (32, 5), (3, 2), None, ((-1, 4), (3, 0)), dilation=(2, 3)),
    Case(2, (6,), (48, 1), (4,), None, ((5, 1),), dilation=(2,), image_dilation=(3,)),
]


@pytest.mark.parametrize(
    ("cases", "folds"), [(FOLDED, True), (OTHERS, False)], ids=["folded", "others"]
)
def test_which_are_folded(cases, folds):
    for case in cases:
        assert bool(fold_of(case.spec(None, None), case.shapes[1])) == folds, case


def test_folded():
    assert_exact(*FOLDED)


def test_statistics_are_gathered_from_whole_folds():
    """Where the last pixel of a side ends beyond it, what is there would count."""
    for case in FOLDED:
        image, kernel, out = case.shapes
        statistics = functools.partial(conv_statistics, case.spec(None, None))
        text = jax.jit(statistics).lower(images(*image), images(*kernel)).as_text()
        fold = fold_of(case.spec(None, None), kernel)
        whole = all(size % step == 0 for size, step in zip(out[1:-1], fold.steps, strict=True))
        steps = fold.steps if whole else (1,) * len(fold.steps)
        sizes = [size // step for size, step in zip(out[1:-1], steps, strict=True)]
        folded = "x".join(map(str, [out[0], *sizes, np.prod(steps) * out[-1]]))
        call = text[text.index("@resfuse_conv_statistics") :].splitlines()[0]
        assert f"(tensor<{folded}xf32>, tensor<{out[-1]}xf32>" in call, case


def test_gradients():
    gradient_case.assert_exact(*FOLDED, *EXCHANGED)


def test_packed():
    assert_packed(*FOLDED)
