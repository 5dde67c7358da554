"""A case as the planners take it, and what its plan is cut from."""

import functools
import math
from typing import Any

from kernel_case import Case

Plan = dict[str, Any]


@functools.cache
def arguments(case: Case) -> tuple[Any, ...]:
    """What ``_ext.plans_in_full`` takes of a case."""
    image, kernel, _ = case.shapes
    pads = [pixels for pair in case.padding for pixels in pair]
    return image, kernel, case.strides, pads, case.image_dilation, case.dilation, case.groups


def pieces(case: Case, plan: Plan) -> int:
    """What blocks are cut from: pixels, or Winograd's tiles."""
    if plan["algorithm"] == "winograd":
        return case.batch * math.prod(plan["tiling"][1])
    return plan["pixels"]


def is_cut(cut: tuple[int, int], whole: int) -> bool:
    """Whether blocks of a size, and how many, are a cut of ``whole``."""
    size, count = cut
    return size > 0 and count == -(-whole // size)
