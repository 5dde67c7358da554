"""A convolution's gradients by its input and weights, bit for bit on integers, on every ISA."""

import numpy as np
import pytest

import oracle
from covering import covering
from gradient_case import assert_exact, compiled, integers, normals
from kernel_case import Case, in_programs, on_every_isa

GEOMETRY = {
    "batch": (1, 2, 5),
    "height": (1, 2, 3, 5, 8, 13),
    "width": (1, 2, 3, 6, 7, 14),
    "window": ((1, 1), (3, 3), (5, 5), (7, 7), (2, 3)),
    # Larger than the window too: then there are pixels that no tap meets.
    "strides": ((1, 1), (2, 2), (3, 3), (1, 2), (3, 1), (5, 4)),
    "padding_h": ("none", "same", "before", "after", "wide"),
    "padding_w": ("none", "same", "before", "after", "wide"),
}
# Around vectors of 4, 8 and 16 lanes, two of them, and a tile's rows.
CHANNELS = (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
LANES = {"each": (1, 2, 4, 8, 16), "groups": (2, 3, 5, 8, 9, 17, 33)}
UNEQUAL = {
    "groups": (2, 3, 7, 17),
    "inputs": (1, 2, 3, 5, 8, 16, 17),
    "outputs": (1, 2, 3, 7, 8, 16, 17, 33),
}
MOST_WORK = 1_000_000


def pads(kind, window):
    return {
        "none": (0, 0),
        "same": ((window - 1) // 2, window // 2),
        "before": (window - 1, 0),
        "after": (0, window),
        "wide": (window + 2, window + 1),
    }[kind]


def case(row):
    groups, each = row.get("groups", 1), row.get("each")
    channels = [groups * (each or row[name]) for name in ("inputs", "outputs")]
    kinds = row["padding_h"], row["padding_w"]
    return Case(row["batch"], (row["height"], row["width"]), tuple(channels), row["window"],
                row["strides"], tuple(map(pads, kinds, row["window"])), groups)  # fmt: skip


def table(**channels):
    rows = covering(channels | GEOMETRY, lambda row: 0 < case(row).work <= MOST_WORK)
    return [case(row) for row in rows]


@in_programs(table(inputs=CHANNELS, outputs=(*CHANNELS, 65)), share=3)
def test_one_group(cases):
    assert_exact(*cases)


@in_programs(table(**LANES), share=2)
def test_groups_that_share_vectors(cases):
    assert_exact(*cases)


@in_programs(table(**UNEQUAL), share=2)
def test_other_groups(cases):
    assert_exact(*cases)


SAME = ((1, 1), (1, 1))


@in_programs(
    [
        # Blocks of pixels, and the chunks of them that get a result each.
        Case(3, (41, 47), (5, 7), (3, 3), padding=SAME),
        Case(1, (150, 140), (3, 16), (7, 7), (2, 2), ((3, 3), (3, 3))),
        Case(2, (62, 61), (1, 16), (7, 7), (2, 2), ((3, 3), (3, 3))),
        Case(1, (60, 61), (34, 34), (3, 3), padding=SAME, groups=34),
        Case(2, (31, 33), (32, 32), (3, 3), (2, 1), SAME, groups=4),
        Case(9, (28, 29), (20, 9), (1, 1)),
        # Parts of the inputs, and slabs of the outputs, whole and cut.
        Case(1, (5, 6), (130, 67), (3, 3), padding=SAME),
        Case(1, (4, 5), (65, 259), (3, 3), (2, 2), SAME),
        Case(2, (3, 3), (1200, 129), (1, 1)),
        Case(1, (3, 2), (256, 128), (1, 1), (2, 2)),
        Case(1, (4, 4), (282, 262), (3, 3), padding=SAME, groups=2),
        # Windows of more taps than a part has rows.
        Case(1, (9, 8), (17, 5), (27, 25), padding=((13, 13), (12, 12))),
        Case(1, (1, 70), (4, 4), (1, 67), padding=((0, 0), (33, 33)), groups=4),
        Case(1, (2, 3), (40, 3), (2, 2), (2**31, 2**31), SAME),
    ]
)
def test_more_than_one_piece(cases):
    assert_exact(*cases)


@pytest.mark.parametrize(
    "case",
    [
        Case(0, (5, 6), (3, 4), (3, 3), padding=SAME),
        Case(0, (5, 6), (4, 4), (3, 3), groups=4),
        Case(2, (2, 6), (3, 4), (3, 3)),
        Case(2, (6, 2), (33, 40), (3, 3), (2, 2)),
        Case(2, (2, 2), (16, 16), (7, 7), padding=SAME, groups=16),
    ],
    ids=repr,
)
def test_no_outputs(case):
    """Nothing depends on anything: gradients are zero."""
    assert_exact(case)
    assert not any(np.any(gradient) for gradient in compiled(case, integers(case))())


@pytest.mark.parametrize("strides", [(2, 2), (3, 1), (1, 5)])
def test_pixels_that_no_tap_meets(strides):
    """Exactly 0, also where cotangents and weights are NaN."""
    case = Case(2, (7, 8), (5, 9), (1, 1), strides)
    x, kernel, d_y = integers(case)
    met = np.zeros(case.shapes[0], bool)
    met[:, :: strides[0], :: strides[1]] = True
    for isa, (d_x, _) in on_every_isa(compiled(case, [x, kernel * np.nan, d_y])).items():
        assert np.isnan(d_x[met]).all(), isa
        assert not d_x[~met].view(np.uint32).any(), isa


@pytest.mark.parametrize(
    "case",
    [
        Case(2, (224, 224), (9, 17), (3, 3), padding=SAME),
        Case(4, (159, 160), (20, 33), (1, 1)),
        Case(8, (112, 113), (12, 12), (3, 3), padding=SAME, groups=12),
    ],
    ids=repr,
)
def test_weights_over_many_pixels(case):
    """Sums of 100,000 products: their roundings add up to a few of the result's own.

    Added one after the other they would be fifty times as large, and XLA's are up to forty times.
    """
    x, kernel, d_y = normals(case)
    x, d_y = x + 1, d_y + 1  # so that sums grow with the pixels, and their roundings too
    truth = oracle.weight_gradient(x, d_y, case.window, case.strides, case.padding, case.groups)
    for isa, (_, got) in on_every_isa(compiled(case, [x, kernel, d_y])).items():
        assert np.abs(got - truth).max() <= 4 * oracle.EPSILON * np.abs(truth).max(), isa
