"""``fuse``: the convolutions of any JAX function on the kernel."""

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from resfuse import ffi
from resfuse.fusion.prepare import Packs
from resfuse.fusion.program import Program, trace

__all__ = ["fuse"]

F = TypeVar("F", bound=Callable[..., Any])

# What, beside the arguments, decides how a function is traced.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_default_prng_impl",
)


def fuse(fn: F) -> F:
    """``fn`` with its convolutions, and what follows them, on the kernel.

    Like ``jax.jit``, it traces ``fn`` once for each set of shapes. Each convolution that the kernel
    supports is taken, along with what follows it and has one number per channel (bias, batch norm
    at inference as any library writes it, scale, shift), the addition of a residual, and a ReLU.
    A value that is used elsewhere too is kept, and everything else stays as it is, also in the
    bodies of ``jit``, ``custom_jvp``, ``custom_vjp``, ``checkpoint``, ``scan``, ``while_loop`` and
    ``cond``. :func:`explain` shows what was found.

    Weights that ``fn`` closes over are folded with their batch norm and packed once, at the first
    call, for all shapes; weights that are arguments, inside each call. Like ``jax.jit``,
    closed-over values are those of the first call: pass as an argument what will change.

    The result composes with ``jit``, ``vmap``, ``grad``, ``jax.export`` and batches that are
    sharded over devices; differentiate ``fn`` itself in forward mode. On a GPU or TPU, and without
    the compiled extension, it is ``fn``.

    Args:
        fn: takes and returns pytrees of arrays.

    Returns:
        A function of the same arguments with the same results, but for the kernel's rounding; see
        ``precision`` in :func:`resfuse.conv_bn_relu`, and take that of the convolutions in ``fn``.

    Raises:
        TypeError: ``fn`` is not callable; the result's, if an argument is not an array.

    Example:
        >>> kernel = jnp.ones((3, 3, 4, 8))
        >>> def fn(x):
        ...     y = jax.lax.conv_general_dilated(
        ...         x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        ...     return jax.nn.relu(y * 2 + 1)
        >>> resfuse.fuse(fn)(jnp.ones((1, 6, 6, 4))).shape
        (1, 6, 6, 8)
    """
    if not callable(fn):
        raise TypeError(f"fuse takes a function, got {type(fn).__name__}")
    programs = _Programs(fn)

    @functools.wraps(fn, updated=())
    def fused(*args: Any, **kwargs: Any) -> Any:
        return programs(args, kwargs)

    fused.programs = programs  # type: ignore[attr-defined]
    return fused  # type: ignore[return-value]


class _Programs:
    """The programs of one function, by the shapes of the arguments."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self._plain = jax.jit(fn)
        self._packs = Packs()
        self._programs: dict[Any, Program] = {}
        self._lock = threading.RLock()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        if not _on_cpu(leaves):
            return self._plain(*args, **kwargs)
        try:
            key = (tree, *map(jax.typeof, leaves), *_situation())
        except TypeError:
            self._plain.trace(*args, **kwargs)  # says which argument it is
            raise
        program = self._programs.get(key)
        return (program or self._traced(key, tree, leaves))(leaves)

    def _traced(self, key: Any, tree: Any, leaves: list[Any]) -> Program:
        with self._lock:
            if key in self._programs:
                return self._programs[key]
            program = trace(self.fn, tree, leaves, self._packs)
            if program.portable:
                self._programs[key] = program
            return program


def _situation() -> tuple[Any, ...]:
    settings = (getattr(jax.config, name) for name in _SETTINGS)
    return (*settings, jax.sharding.get_abstract_mesh(), ffi.isa())


def _on_cpu(leaves: list[Any]) -> bool:
    """Whether this may run on a CPU, as far as can be told before it is compiled."""
    if not ffi.available():
        return False
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.committed:
            return next(iter(leaf.devices())).platform == "cpu"
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    return (getattr(default, "platform", default) or jax.default_backend()) == "cpu"
