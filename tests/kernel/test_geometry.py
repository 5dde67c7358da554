"""Every geometry of one to three dimensions, bit for bit on integers, gradients and packing too."""

import pytest

import gradient_case
from covering import covering
from kernel_case import Case, assert_exact, assert_packed, in_programs
from resfuse.spec import dilated

SIDE = {
    "size": (1, 2, 3, 5, 13),
    "window": (1, 2, 3, 5),
    "stride": (1, 2, 3, 5),
    "dilation": (1, 2, 3, 6),
    "image_dilation": (1, 2, 3, 4, 6),
    "padding": ("none", "same", "wide", "crop", "crop before", "crop and pad"),
}
# Where there are more of them, and two dimensions have been in any combination before.
SHORT_SIDE = {
    "size": (1, 2, 5, 8),
    "window": (1, 2, 3),
    "stride": (1, 2, 3),
    "dilation": (1, 2, 3),
    "image_dilation": (1, 2, 3),
    "padding": ("none", "same", "crop", "crop and pad"),
}
# Around vectors of 4, 8 and 16 lanes, two of them, and a tile's rows.
CHANNELS = {"inputs": (1, 3, 8, 16, 17), "outputs": (1, 7, 8, 9, 16, 17, 33)}
LANES = {"each": (1, 2, 4, 8, 16), "groups": (2, 3, 5, 17, 33)}
UNEQUAL = {"groups": (2, 3, 7), "inputs": (1, 2, 5, 16), "outputs": (1, 3, 8, 17)}
MOST_WORK = 1_000_000


def pads(kind, size, extent):
    """Padding of a side, where one window fits at least."""
    before, after = {
        "none": (0, 0),
        "same": ((extent - 1) // 2, extent // 2),
        "wide": (extent + 2, extent + 1),
        "crop": (-1, -1),
        "crop before": (-2, extent),
        "crop and pad": (extent, -1),
    }[kind]
    return before, max(after, extent - size - before)


def axes(dimensions):
    """Those of each side, the batch and the epilogue."""
    axes = SIDE if dimensions < 3 else SHORT_SIDE
    sides = {f"{name}{side}": axes[name] for side in range(dimensions) for name in axes}
    return sides | {"batch": (1, 2, 3), "residual": (False, True), "relu": (False, True)}


def case(row, dimensions):
    def of(name):
        return tuple(row[f"{name}{side}"] for side in range(dimensions))

    groups, each = row.get("groups", 1), row.get("each")
    channels = tuple(groups * (each or row[name]) for name in ("inputs", "outputs"))
    extents = map(dilated, of("window"), of("dilation"))
    padding = tuple(
        map(pads, of("padding"), map(dilated, of("size"), of("image_dilation")), extents)
    )
    return Case(row["batch"], of("size"), channels, of("window"), of("stride"), padding, groups,
                row["residual"], row["relu"], of("dilation"), of("image_dilation"))  # fmt: skip


def table(dimensions, channels):
    """Cases that have outputs."""

    def valid(row):
        return 0 < case(row, dimensions).work <= MOST_WORK

    return [case(row, dimensions) for row in covering(channels | axes(dimensions), valid)]


TABLES = [*table(1, CHANNELS), *table(2, UNEQUAL), *table(3, CHANNELS), *table(3, LANES)]
HUGE = 2**31
FAR = [
    # A window that meets one pixel at most, pixels that no window meets, and both, far apart.
    Case(1, (5,), (8, 9), (3,), padding=((HUGE, HUGE),), dilation=(HUGE,)),
    Case(2, (2, 3), (3, 4), (2, 2), (HUGE, 3), ((0, 0), (1, 1)), image_dilation=(HUGE, 2)),
    Case(1, (3, 2), (8, 8), (1, 3), (2**30, 1), ((0, 0), (4, 4)), 8, image_dilation=(2**31, 4)),
    Case(1, (4, 1), (17, 3), (3, 2), padding=((HUGE, HUGE), (HUGE, 0)), dilation=(HUGE, HUGE)),
    Case(1, (1, 9, 1), (2, 5), (2, 3, 2), padding=((1, 0), (-HUGE, HUGE), (1, 1)), groups=1,
         strides=(1, 1, 2**62)),
]  # fmt: skip


@in_programs(TABLES, 32, share=3)
def test_every_geometry(cases):
    assert_exact(*cases)
    gradient_case.assert_exact(*cases)


@in_programs(TABLES[::4], 32)
def test_packed(cases):
    assert_packed(*cases)


@pytest.mark.parametrize("case", FAR, ids=repr)
def test_far_apart(case):
    assert_exact(case)
    gradient_case.assert_exact(case)
