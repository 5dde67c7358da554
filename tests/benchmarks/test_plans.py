"""What `benchmarks/plans.py` says of a layer."""

import math

import pytest

import plans
from models import Convolution

SAME = ((1, 1), (1, 1))
LAYERS = {
    "pointwise": Convolution((8, 14, 14, 64), (1, 1, 64, 100), (1, 1), ((0, 0), (0, 0)), 1),
    "direct": Convolution((1, 28, 28, 31), (3, 3, 31, 65), (1, 1), SAME, 1),
    "grouped": Convolution((2, 28, 28, 64), (3, 3, 1, 64), (1, 1), SAME, 64),
}


@pytest.mark.parametrize("name", LAYERS)
def test_work_is_that_of_the_equation(name):
    """Every multiply-add is in some unit, and in one only."""
    layer = LAYERS[name]
    total, end = plans.busy_time(layer, 1)
    images, *sizes, _ = layer.x
    assert total == images * math.prod(sizes) * math.prod(layer.kernel)
    assert end == total


def test_winograd_has_fewer_products():
    layer = Convolution((8, 28, 28, 128), (3, 3, 128, 128), (1, 1), SAME, 1)
    total, _ = plans.busy_time(layer, 1)
    assert total == 8 * 7 * 7 * 36 * 128 * 128


@pytest.mark.parametrize("name", LAYERS)
def test_threads_finish_no_sooner_than_their_share(name):
    total, end = plans.busy_time(LAYERS[name], 3)
    assert total / 3 <= end <= total


def test_other_rounds_compare_than_choose():
    """Of a factor that was lucky in the rounds that choose, those that compare say the truth."""
    found = {1.0: [2.0, 2.0] * 3, 0.5: [2.0, 1.0] * 3, 2.0: [1.0, 3.0] * 3}
    assert plans.behind(found) == (0.5, 1.0)
