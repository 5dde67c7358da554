"""What a trace is for, which says how much of an operation has to be in it.

An operation of ours is the kernel where it is compiled for a CPU and the reference elsewhere, with
rules for derivatives, batches and devices. To trace and lower all of that takes longer than to
compile the few calls that are left. Two traces need less, and they are those of ``fuse``.
"""

import contextlib
import enum
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

__all__ = ["Purpose", "by_platform", "purpose", "tracing_for"]


class Purpose(enum.Enum):
    """What becomes of what is traced."""

    ANYTHING = enum.auto()
    """It is compiled for any platform, differentiated, batched, or split over devices."""

    READING = enum.auto()
    """``fuse`` reads what it means: the reference."""

    RUNNING = enum.auto()
    """It runs as it stands, on this CPU alone: the kernel's calls, without any rules."""


_PURPOSE = jax.make_user_context(Purpose.ANYTHING)  # a part of the keys of JAX's caches


def purpose() -> Purpose:
    """That of what is traced here."""
    found: Purpose = _PURPOSE.value
    return found


def tracing_for(purpose: Purpose) -> contextlib.AbstractContextManager[Any]:
    """Within, traces are for that."""
    context: contextlib.AbstractContextManager[Any] = _PURPOSE(purpose)
    return context


def by_platform(*operands: Any, cpu: Callable[..., Any], default: Callable[..., Any]) -> Any:
    """``cpu(*operands)`` where this is compiled for a CPU, ``default(*operands)`` elsewhere."""
    if purpose() is Purpose.RUNNING:
        return cpu(*operands)
    return lax.platform_dependent(*operands, cpu=cpu, default=default)
