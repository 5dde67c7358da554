"""The phases and regions of a convolution: together they make all outputs, and nothing twice."""

import math

import pytest

from kernel_case import Case
from plan_case import arguments, is_cut, pieces
from resfuse import _ext

pytestmark = pytest.mark.usefixtures("isa")

PHASES = {  # a case with zeros between its pixels, and the taps of each of its phases
    Case(1, (32, 32), (128, 64), (4, 4), None, ((2, 2), (2, 2)), image_dilation=(2, 2)): [4] * 4,
    Case(2, (7,), (16, 16), (3,), None, ((1, 1),), image_dilation=(2,)): [1, 2],
    Case(1, (5, 6), (4, 4), (2, 1), groups=4, image_dilation=(1, 3)): [2, 0, 0],
    Case(1, (9,), (8, 40), (6,), (2,), ((4, 5),), dilation=(2,), image_dilation=(4,)): [3, 3],
    # The stride takes the same pixels of all that the zeros make.
    Case(1, (9, 9), (8, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), image_dilation=(2, 2)): [1],
    Case(1, (9,), (8, 8), (4,), (3,), ((0, 0),), image_dilation=(3,)): [2],
}


@pytest.mark.parametrize(("case", "taps"), PHASES.items(), ids=repr)
def test_phases_cover_the_output(case, taps):
    for training in (False, True):
        made = _ext.plans_in_full(*arguments(case), True, training=training, threads=3)
        assert [phase["taps"] for phase in made] == taps
        assert sum(phase["pixels"] for phase in made) == math.prod(case.shapes[2][:-1])
        assert all(is_cut(phase["blocks"], pieces(case, phase)) for phase in made)
    weights = _ext.weight_plans_in_full(*arguments(case), True)
    assert [plan["pixels"] for plan in weights] == [p["pixels"] for p in made if p["taps"]]


# Dilated windows that hang far over the edges, and the pairs of an output and a tap inside.
REGIONS = {
    Case(1, (33, 33), (64, 48), (3, 3), None, ((18, 18), (18, 18)), dilation=(18, 18)): 63**2,
    Case(2, (33, 20), (2048, 16), (3, 1), None, ((9, 9), (0, 0)), dilation=(9, 3)): 2 * 20 * 81,
    Case(1, (7,), (48, 16), (5,), None, ((20, 20),), dilation=(10,)): 7,
}


@pytest.mark.parametrize(("case", "inside"), REGIONS.items(), ids=repr)
def test_regions_leave_out_the_padding(case, inside):
    for threads in (1, 3, 64):
        made = _ext.plans_in_full(*arguments(case), True, threads=threads)
        assert sum(region["pixels"] for region in made) == math.prod(case.shapes[2][:-1])
        assert sum(region["pixels"] * region["taps"] for region in made) == inside
    weights = _ext.weight_plans_in_full(*arguments(case), True)
    assert sum(tap["pixels"] for tap in weights) == inside
