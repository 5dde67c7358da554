"""Every geometry of one to three dimensions, bit for bit on integers, gradients and packing too."""

import gradient_case
from covering import covering
from kernel_case import Case, assert_exact, assert_packed, in_programs
from resfuse.spec import dilated

SIDE = {
    "size": (1, 2, 3, 4, 5, 8, 13),
    "window": (1, 2, 3, 4, 5),
    "stride": (1, 2, 3, 5),
    "dilation": (1, 2, 3, 4, 6),
    "image_dilation": (1, 2, 3, 4, 6),
    "padding": ("none", "same", "full", "before", "wide", "crop", "crop before", "crop and pad"),
}
# Around vectors of 4, 8 and 16 lanes, two of them, and a tile's rows.
CHANNELS = {"inputs": (1, 3, 4, 8, 15, 16, 17, 33), "outputs": (1, 2, 7, 8, 9, 16, 17, 31, 33)}
LANES = {"each": (1, 2, 4, 8, 16), "groups": (2, 3, 5, 8, 17, 33)}
UNEQUAL = {"groups": (2, 3, 7), "inputs": (1, 2, 5, 16), "outputs": (1, 3, 8, 17)}
MOST_WORK = 1_000_000


def pads(kind, size, extent):
    """Padding of a side, where one window fits at least."""
    before, after = {
        "none": (0, 0),
        "same": ((extent - 1) // 2, extent // 2),
        "full": (extent - 1, extent - 1),
        "before": (extent - 1, 0),
        "wide": (extent + 2, extent + 1),
        "crop": (-1, -1),
        "crop before": (-2, extent),
        "crop and pad": (extent, -1),
    }[kind]
    return before, max(after, extent - size - before)


def axes(dimensions):
    """Those of each side, the batch and the epilogue."""
    sides = {f"{name}{side}": SIDE[name] for side in range(dimensions) for name in SIDE}
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


TABLES = [table(dimensions, channels) for dimensions in (1, 2, 3)
          for channels in (CHANNELS, LANES, UNEQUAL)]  # fmt: skip


@in_programs([case for cases in TABLES for case in cases])
def test_every_geometry(cases):
    assert_exact(*cases)
    gradient_case.assert_exact(*cases)


@in_programs([case for cases in TABLES for case in cases[::3]])
def test_packed(cases):
    assert_packed(*cases)
