"""A function's program for one set of shapes: traced, matched, prepared and compiled once."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from resfuse import jax_compat
from resfuse.fusion import graph, match, origins, rewrite
from resfuse.fusion.captured import Captured, as_argument, is_explicit, is_small
from resfuse.fusion.graph import Graph, Value
from resfuse.fusion.prepare import Packs, array_of, is_pending, prepare
from resfuse.fusion.repetition import Repetition, compiling, refuse_others
from resfuse.fusion.symbolic import image_norms
from resfuse.fusion.symbolic.batch_norm import with_statistics
from resfuse.garbage import uncollected
from resfuse.jax_compat import ClosedJaxpr
from resfuse.kernel.derivatives import FORWARD_MODE
from resfuse.purpose import Purpose, purpose, tracing_for

__all__ = ["Program", "Shared", "trace"]

# XLA allocates a program's temporaries in each call, and glibc takes what is larger than 32 MiB
# from the system each time, page by page: a tenth of a U-Net's time on one image of 224x224. It
# keeps the memory of smaller allocations.
_HEAP_BYTES = 30 << 20


@dataclasses.dataclass(frozen=True)
class Shared:
    """What the programs of one function share."""

    captured: Captured = dataclasses.field(default_factory=Captured)
    packs: Packs = dataclasses.field(default_factory=Packs)


class Program:
    """Callable with the leaves of the arguments."""

    def __init__(
        self, jaxpr: ClosedJaxpr, out_tree: Any, shared: Shared | None, sliced: bool
    ) -> None:
        self.out_tree = out_tree
        self.graph = graph.build(jaxpr)
        # Whether it means the same outside the transformations under which it was traced.
        tracers = any(isinstance(v.array, jax.core.Tracer) for v in self.graph.constants)
        self.portable = not (tracers or jax_compat.has_axis_names(jaxpr))
        # Whether nothing in it spreads arrays over devices.
        spread = jax_compat.has_shardings(jaxpr) or any(map(is_explicit, self.graph.constants))
        self._makes_keys = jax_compat.makes_keys(jaxpr)
        self._stays = sliced and self.portable and not spread
        if shared is not None:
            shared.captured.take(self.graph.constants)
        self.norms = image_norms.find(self.graph)
        taken = {node for norm in self.norms for node in norm.nodes}
        self.chains = with_statistics(match.chains(self.graph, taken), taken)
        origins.link(self.chains)
        if shared is not None:
            prepare(self.chains, shared.packs)
        self.plan = rewrite.Plan(self.graph, self.chains, self.norms, sliced)
        self._taken: dict[Purpose, list[Value]] = {}
        self._read: dict[Purpose, list[Any]] = {}
        # Inside another program inline: in the functions of a program, XLA leaves convolutions (of
        # gradients) in orders of axes that it has no fast code for.
        self._jitted = jax.jit(self._run, inline=True)
        self._running = jax.jit(self._traced_once, compiler_options=_heaps(self.graph))

    def _closed(self, chosen: Purpose) -> list[Value]:
        """What the program takes: as arguments the arrays at hand are not copied into it."""
        if chosen not in self._taken:
            running = chosen is Purpose.RUNNING
            needed = self.plan.run_needs if running else self.plan.needed
            # Of two threads that are here the first decides for both.
            self._taken.setdefault(chosen, list(filter(_outside, self._given(needed))))
        return self._taken[chosen]

    def _arrays(self, chosen: Purpose) -> list[Any]:
        """Of these values; waits for the weights that are being packed."""
        if chosen not in self._read:
            self._read[chosen] = list(map(array_of, self._closed(chosen)))
        return self._read[chosen]

    def _given(self, needed: set[Value]) -> list[Value]:
        """The arrays that are ``needed``."""
        prepared = [
            (*(chain.before or ()), *(chain.folded or ()), *chain.prepared.values())
            for chain in self.chains
        ]
        packs = [chain.packed for chain in self.chains if chain.packed is not None]
        given = itertools.chain(
            self.graph.constants,
            *prepared,
            (value for packed in packs for value in (packed.together, packed.value)),
        )
        return list(filter(needed.__contains__, dict.fromkeys(given)))

    def _run(self, closed: Sequence[Any], leaves: Sequence[Any]) -> Any:
        outside = dict(zip(self._closed(purpose()), closed, strict=True))
        return jax.tree.unflatten(
            self.out_tree, rewrite.run(self.plan, self.graph, outside, leaves)
        )

    def _traced_once(self, *arrays: Any) -> Any:
        """What runs: of the values that the program takes and the leaves, one after the other."""
        refuse_others(self)
        with tracing_for(Purpose.RUNNING):
            count = len(self._closed(Purpose.RUNNING))
            return self._run(arrays[:count], arrays[count:])

    def _purpose(self, leaves: Sequence[Any]) -> Purpose:
        """What becomes of the program where it is called here."""
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        stays = self._stays and jax.sharding.get_abstract_mesh().empty
        runs = stays and not traced and jax_compat.is_eager()
        return Purpose.RUNNING if runs else Purpose.ANYTHING

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The outputs, in the function's structure."""
        running = self._purpose(leaves) is Purpose.RUNNING
        return self._execute(leaves) if running else self._inline(leaves)

    def _execute(self, leaves: Sequence[Any]) -> Any:
        with compiling(self):
            if Purpose.RUNNING not in self._read:
                self._compile(leaves)
            return self._running(*self._arrays(Purpose.RUNNING), *leaves)

    @uncollected()
    def _compile(self, leaves: Sequence[Any]) -> None:
        """Takes no arrays, which others are still packing."""
        avals = [value.aval for value in self._closed(Purpose.RUNNING)]
        self._running.lower(*avals, *leaves).compile()

    def _inline(self, leaves: Sequence[Any]) -> Any:
        with tracing_for(Purpose.ANYTHING), jax_compat.naming_forward_mode(FORWARD_MODE):
            return self._jitted(self._arrays(Purpose.ANYTHING), leaves)

    def repetition(self, args: tuple[Any, ...]) -> Repetition | None:
        """For calls like that with these arguments, which ended; None if those need all checks."""
        running = Repetition.is_possible(args) and self._purpose(args) is Purpose.RUNNING
        if not running or self._makes_keys:
            return None
        return Repetition(self._running, self._arrays(Purpose.RUNNING), args)


def _heaps(graph: Graph) -> dict[str, int]:
    """The option that keeps allocations small; XLA would warn of each array that is larger."""
    avals = [value.aval for node in graph.walk() for value in node.outputs]
    sizes = [aval.size * aval.dtype.itemsize for aval in avals]
    small = all(isinstance(size, int) and size <= _HEAP_BYTES for size in sizes)
    return {jax_compat.HEAP_BYTES: _HEAP_BYTES} if small else {}


def _outside(value: Value) -> bool:
    """Whether the program takes the value as an argument; others it holds."""
    if not as_argument(value):
        return False
    by_nature = is_pending(value) or is_explicit(value)
    return by_nature or not is_small(value.aval) or _is_uniform(value)


def _is_uniform(value: Value) -> bool:
    """Whether its numbers are all the same; XLA would compile and run a broadcast of one."""
    if value.aval.size < 2 or not value.is_constant:
        return False
    numbers = np.ravel(value.array)
    return bool((numbers == numbers[0]).all())


@uncollected()
def trace(
    function: Callable[..., Any],
    tree: Any,
    leaves: Sequence[Any],
    shared: Shared | None,
    sliced: bool,
) -> Program:
    """The program of ``function`` for arguments of the shapes of ``leaves``.

    Without ``shared`` nothing is captured or packed. ``sliced`` allows to run the batch a few
    images at a time, which must not be spread over devices.
    """

    def flat(*leaves: Any) -> Any:
        args, kwargs = jax.tree.unflatten(tree, leaves)
        return function(*args, **kwargs)

    with tracing_for(Purpose.READING):
        jaxpr, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
    return Program(jaxpr, jax.tree.structure(shapes), shared, sliced)
