from collections.abc import Sequence
from typing import Any

import numpy as np

ffi_version: tuple[int, int]

def registrations() -> dict[str, dict[str, object]]: ...
def operations() -> tuple[str, ...]: ...
def isas() -> tuple[str, ...]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def fma_peak(seconds: float) -> float: ...
def use_algorithm(name: str) -> None: ...
def pack(
    tasks: Sequence[tuple[np.ndarray, np.ndarray, Sequence[int], Sequence[int], int]],
) -> None: ...
def reverse_axes(from_: Sequence[np.ndarray], to: Sequence[np.ndarray]) -> None: ...
def plan(
    x: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    image_dilation: Sequence[int],
    window_dilation: Sequence[int],
    groups: int,
    winograd: bool,
) -> tuple[str, Sequence[int]]: ...
def plans_in_full(
    x: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    image_dilation: Sequence[int],
    window_dilation: Sequence[int],
    groups: int,
    winograd: bool,
    *,
    packed: bool = False,
    training: bool = False,
    threads: int = 1,
    l2: int | None = None,
) -> list[dict[str, Any]]: ...
def weight_plans_in_full(
    x: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[int],
    image_dilation: Sequence[int],
    window_dilation: Sequence[int],
    groups: int,
    winograd: bool,
) -> list[dict[str, Any]]: ...
def cascade_plan(
    x: Sequence[int],
    parts: Sequence[
        tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int], Sequence[int], int, bool]
    ],
    *,
    threads: int = 1,
    l2: int | None = None,
) -> dict[str, Any] | None: ...
def machine() -> tuple[int, int, int]: ...
def use_machine(l1d: int, l2: int, l3: int) -> None: ...
