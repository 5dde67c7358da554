"""How work is cut, for machines that are not here: nothing is left out, and what decides the order
of a sum depends on neither caches nor threads."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gradient_case import compiled as compiled_gradients
from gradient_case import normals as gradient_normals
from kernel_case import Case, compiled, normals
from plan_case import Plan, arguments, is_cut, pieces
from resfuse import _ext

pytestmark = pytest.mark.usefixtures("isa")

KIB = 1 << 10
L2 = {"256 KiB": 256 * KIB, "512 KiB": 512 * KIB, "1 MiB": 1024 * KIB, "2 MiB": 2048 * KIB}
THREADS = (1, 3, 64)
SAME = ((1, 1), (1, 1))
STEM = ((3, 3), (3, 3))
# Winograd's products of all channels in one pass, or in several; some machines keep the transformed
# weights from block to block, others do not.
SINGLE = Case(1, (36, 36), (144, 96), (3, 3), padding=SAME)
SEVERAL = Case(1, (36, 36), (144, 160), (3, 3), padding=SAME)


def resnet() -> Iterator[Case]:
    """The layers of ResNet-18 and 50."""
    yield Case(1, (224, 224), (3, 64), (7, 7), (2, 2), STEM)
    for size, width in ((56, 64), (28, 128), (14, 256), (7, 512)):
        yield Case(1, (size, size), (width, width), (3, 3), padding=SAME)
        yield Case(1, (size, size), (width, 4 * width), (1, 1))
        yield Case(1, (size, size), (4 * width, width), (1, 1))
        if width > 64:
            twice = (2 * size, 2 * size)
            yield Case(1, twice, (width // 2, width), (3, 3), (2, 2), SAME)
            yield Case(1, twice, (width, width), (3, 3), (2, 2), SAME)
            yield Case(1, twice, (2 * width, 4 * width), (1, 1), (2, 2))


CASES = [
    *itertools.chain.from_iterable((c, dataclasses.replace(c, batch=8)) for c in resnet()),
    # Stems, and windows that go through in several passes.
    Case(1, (96, 96), (1, 64), (7, 7), (2, 2), STEM),
    Case(8, (32, 32), (3, 32), (3, 3), padding=SAME),
    Case(1, (9, 9), (12000, 40), (1, 1)),
    Case(2, (9, 70), (67, 33), (67, 5), padding=((33, 33), (2, 2))),
    # Groups: narrow, depthwise, as wide as a vector, wide, unequal.
    Case(8, (56, 56), (64, 64), (3, 3), padding=SAME, groups=64),
    Case(1, (14, 14), (128, 128), (3, 3), (2, 2), SAME, groups=32),
    Case(2, (28, 28), (160, 160), (3, 3), padding=SAME, groups=20),
    Case(1, (14, 14), (256, 512), (3, 3), padding=SAME, groups=4),
    Case(1, (7, 7), (33, 33), (13, 13), padding=((6, 6), (6, 6)), groups=33),
    # Other dimensions, dilated windows, and windows with a depth.
    Case(1, (16000,), (64, 64), (3,), padding=((512, 512),), dilation=(512,)),
    Case(2, (3000,), (80, 384), (3,), padding=((1, 1),)),
    Case(1, (16, 56, 56), (64, 64), (3, 3, 3), padding=(*SAME, (1, 1))),
    Case(2, (5, 6, 7), (32, 32), (2, 3, 3), (1, 2, 2), dilation=(2, 1, 1), groups=32),
    Case(1, (96, 96), (64, 64), (3, 3), padding=((6, 6), (6, 6)), dilation=(6, 6)),
    Case(1, (33, 33), (2048, 256), (3, 3), padding=((2, 2), (2, 2)), dilation=(2, 2)),
    Case(1, (16000,), (64, 64), (3,), padding=((1, 1),)),
    Case(1, (3000,), (384, 384), (3,), padding=((4, 0),), dilation=(2,)),
    Case(8, (66, 66), (256, 256), (3, 3), padding=((3, 3), (3, 3)), dilation=(3, 3)),
    Case(2, (2, 14, 14), (256, 256), (3, 3, 3), padding=((1, 1), *SAME)),
    Case(1, (100, 64, 64), (32, 32), (5, 3, 3), padding=((2, 2), *SAME)),
    Case(1, (16, 28, 28), (128, 256), (3, 3, 3), (2, 2, 2), ((1, 1), *SAME)),
    # Tiny and huge.
    Case(1, (1, 1), (1, 1), (1, 1)),
    Case(1, (2, 2), (32, 32), (3, 3), padding=SAME),
    Case(0, (4, 4), (8, 8), (3, 3), padding=SAME),
    Case(1, (512, 512), (64, 64), (3, 3), padding=SAME),
    Case(256, (28, 28), (256, 1024), (1, 1)),
    Case(1, (4, 4), (4096, 4096), (3, 3), padding=SAME),
    Case(8, (14, 14), (1024, 1024), (3, 3), padding=SAME),
    # Strides that make a single output, and products of them that no integer holds.
    Case(1, (5, 5), (8, 8), (3, 3), (2**31, 2**62)),
    Case(1, (5, 5), (16, 16), (3, 3), (2**62, 2**31), groups=16),
]


def plan(case: Case, *, winograd: bool = True, **options: Any) -> Plan:
    """Of a case without image dilation."""
    (made,) = _ext.plans_in_full(*arguments(case), winograd, **options)
    return made


def every_plan() -> Iterator[tuple[Case, dict[str, Any], Plan]]:
    """Each case, options of its plan, and the plan."""
    for training, packed, winograd in ((0, 0, 1), (0, 1, 1), (1, 0, 1), (0, 0, 0)):
        for case, l2, threads in itertools.product(CASES, L2.values(), THREADS):
            options = {
                "training": bool(training),
                "packed": bool(packed),
                "winograd": bool(winograd),
                "threads": threads,
                "l2": l2,
            }
            yield case, options, plan(case, **options)


def test_units_cover_each_panel_of_each_block_once():
    for case, options, made in every_plan():
        what = case, options
        assert is_cut(made["blocks"], pieces(case, made)), what
        met = np.zeros((made["panels"], made["blocks"][1]), np.int8)
        for first_panel, last_panel, first_block, last_block in made["units"]:
            met[first_panel:last_panel, first_block:last_block] += 1
        assert (met == 1).all(), what
        assert 1 <= made["threads"] <= max(1, min(options["threads"], len(made["units"]))), what


def test_order_of_sums_depends_on_neither_caches_nor_threads():
    orders = {}
    for case, options, made in every_plan():
        names = ["algorithm"] + (["blocks"] if options["training"] else [])
        winograd = made["algorithm"] == "winograd"
        names += ["tiling", "pass_channels"] if winograd else ["inputs", "passes"]
        order = tuple(made[name] for name in names)
        asked = case, options["training"], options["winograd"]
        assert orders.setdefault(asked, order) == order, (case, options)


def winograd_points(case: Case, plan: Plan, strides: tuple[int, ...]) -> list[int]:
    """Of a tile along each side; with strides of one, of the weights."""
    outputs = plan["tiling"][0][1:]
    sides = zip(outputs, strides[-2:], in_three(case.window)[1:], strict=True)
    return [(output - 1) * stride + window for output, stride, window in sides]


def in_three(sides: tuple[int, ...]) -> tuple[int, ...]:
    """Sides of one dimension to three, as the kernel has them."""
    return (1,) * (3 - len(sides)) + sides


def input_floats(case: Case, plan: Plan) -> int:
    """What a pixel or a tile of a block takes of the cache."""
    if plan["algorithm"] == "winograd":
        points = math.prod(winograd_points(case, plan, in_three(case.strides)))
        slices = (plan["tiling"][0][0] - 1) * in_three(case.strides)[0] + 1
        slices += (in_three(case.window)[0] - 1) * in_three(case.dilation)[0]
        return slices * points * (case.channels[0] + 16)
    image = case.channels[0] * math.prod(map(min, case.strides, case.size, case.window))
    if plan["inputs"] == "strided":
        image += case.channels[1]
    return plan["pixel_floats"] + (0 if plan["inputs"] == "gathered" else image)


def transformed_weights(case: Case, plan: Plan) -> int:
    """The floats of all panels."""
    points = math.prod(winograd_points(case, plan, (1, 1, 1)))
    depth = in_three(case.window)[0] * case.channels[0]
    return points * plan["panels"] * (depth * plan["tile"][1] + 16)


def test_blocks_fit_their_share_of_the_cache():
    """3/8 of L2, or what is streamed from L3; at least the rows of one register tile."""
    for case, options, made in every_plan():
        if options["training"]:
            continue
        l2, what = options["l2"], (case, options)
        streamed = made["algorithm"] == "winograd" and not made["resident"]
        share = l2 * 1700 // 256 if streamed else l2 * 3 // 8
        size = made["blocks"][0]
        least = (
            1 if made["algorithm"] == "winograd" and made["tiling"][0][0] > 1 else made["tile"][0]
        )
        assert size <= least or 4 * size * input_floats(case, made) <= share, what
        if made["algorithm"] == "winograd":
            fitting = 4 * transformed_weights(case, made) <= l2 * 2400 // 1024
            # What would be a single block may be one for each thread, whose weights do not stay.
            several = made["blocks"][1] > (1 if made["resident"] else options["threads"])
            assert made["resident"] == (fitting and several), what


def test_blocks_have_room_for_their_outputs():
    """In an eighth of L2, where single pixels are read in place and weights stay in a quarter."""
    for (inputs, outputs), l2 in itertools.product(((64, 250), (250, 250)), L2.values()):
        made = plan(Case(8, (56, 56), (inputs, outputs), (1, 1)), packed=True, l2=l2)
        stay = 4 * inputs * made["panels"] * made["tile"][1] <= l2 // 4
        whole, size = 4 * made["blocks"][0] * (inputs + outputs), made["blocks"][0]
        assert (whole <= l2 // 8 or size == made["tile"][0]) == stay, (inputs, l2)


def test_each_machine_has_plans_of_its_own():
    """Else the tests here would compare what nothing decides."""
    pointwise = Case(8, (56, 56), (64, 64), (1, 1))
    sizes = [plan(pointwise, packed=True, l2=l2)["blocks"][0] for l2 in L2.values()]
    assert sizes == sorted(set(sizes))
    several = [plan(SEVERAL, l2=l2) for l2 in L2.values()]
    assert [made["pass_channels"] for made in several] == [128] * 4
    assert [made["resident"] for made in several] == [False, False, False, True]
    single = [plan(SINGLE, l2=l2) for l2 in L2.values()]
    assert [made["pass_channels"] for made in single] == [144] * 4
    assert [made["resident"] for made in single] == [False, False, True, True]


def test_machine():
    """The caches of this machine are read, or are those that stand for others."""
    l1d, l2, l3 = _ext.machine()
    assert 8 * KIB <= l1d <= l2
    assert l2 >= 128 * KIB
    assert l3 >= 0


def weight_plans() -> Iterator[tuple[Case, Plan]]:
    for case, winograd in itertools.product(CASES, (True, False)):
        if case.batch:
            (made,) = _ext.weight_plans_in_full(*arguments(case), winograd)
            yield case, made


def test_weight_units_cover_the_result_once():
    for case, made in weight_plans():
        count = pieces(case, made)
        assert is_cut(made["chunks"], count), case
        grouped = made["algorithm"] == "grouped"
        groups = 1 if grouped else case.groups
        inputs, outputs = (channels // groups for channels in case.channels)
        met = np.zeros((made["chunks"][1], groups, inputs, 1 if grouped else outputs), np.int8)
        for group, channel, channels, column, columns, first, last, chunk in made["units"]:
            size = made["chunks"][0]
            assert (first, last) == (chunk * size, min(first + size, count)), case
            rows = slice(channel, channel + channels)
            if grouped:
                assert (column, columns) == (channel, channels), case
                met[chunk, group, rows] += 1
            else:
                column -= group * outputs
                met[chunk, group, rows, column : column + columns] += 1
        assert (met == 1).all(), case
        if made["algorithm"] != "winograd":
            assert made["row_floats"] >= math.prod(case.window) * made["units"][0][2], case


BITS = [
    SINGLE,
    SEVERAL,
    Case(1, (28, 29), (65, 40), (3, 3), padding=SAME),
    Case(2, (28, 28), (40, 40), (3, 3), padding=SAME, groups=10),
    Case(2, (28, 28), (72, 72), (3, 3), padding=SAME, groups=72),
    Case(2, (15, 15), (1024, 33), (1, 1)),
    Case(1, (700,), (160, 96), (3,), padding=((1, 1),)),
    Case(2, (5, 17, 15), (48, 64), (3, 3, 3), padding=((1, 1), *SAME), dilation=(1, 2, 1)),
    Case(2, (2, 17, 15), (48, 64), (3, 3, 3), padding=((1, 1), *SAME)),
]


@pytest.fixture
def machines() -> Iterator[dict[str, tuple[int, int, int]]]:
    """Machines to be, with the caches of this one in the end."""
    here = _ext.machine()
    yield {
        **{name: (here[0], l2, here[2]) for name, l2 in L2.items()},
        "small L3": (here[0], L2["1 MiB"], 64 * KIB),
    }
    _ext.use_machine(*here)


@pytest.mark.parametrize("case", BITS, ids=repr)
def test_same_bits_on_every_machine(case, machines):
    forward = compiled(case, normals(case), None)
    backward = compiled_gradients(case, gradient_normals(case), None)
    results = {}
    for name, machine in machines.items():
        _ext.use_machine(*machine)
        results[name] = [np.asarray(array).tobytes() for array in (*forward(), *backward())]
    for name, result in results.items():
        assert result == results["1 MiB"], name
