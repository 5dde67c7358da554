"""``fuse``: the convolutions of any JAX function on the kernel; ``explain``: which, and how."""

import functools
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.errors import ConcretizationTypeError
from jax.sharding import AxisType

from resfuse.fusion.explain import table
from resfuse.fusion.program import Program, Shared, trace
from resfuse.fusion.repetition import Repetition, UnlikeError
from resfuse.jax_compat import default_platform, trace_context
from resfuse.kernel import extension

__all__ = ["explain", "fuse"]

F = TypeVar("F", bound=Callable[..., Any])

_NOT_STATIC = (
    "fuse takes no static arguments: bind them, as in fuse(functools.partial(fn, train=False))"
)


def fuse(fn: F) -> F:
    """``fn`` with its convolutions, and what follows them, on the kernel.

    Like ``jax.jit``, it traces ``fn`` once for each set of shapes. Each convolution that the kernel
    supports is taken: in one to three dimensions and any order of axes, dilated, transposed,
    cropped or in groups, along with explicit padding in front; and each dense layer, one matrix on
    the last axis, of 8 pixels or more where ``fn`` does not close over the matrix, as a convolution
    of single pixels. So is what follows it: what has one number per channel (bias, batch norm at
    inference as any library writes it, scale, shift), and then any computation element by element
    with numbers, numbers for each channel or each image and channel, and tensors of the result's
    shape, such as activations, residuals and gates. In training, batch norm with the statistics of
    the batch is taken too, however it is written, and mean and variance are there for what else
    reads them, such as running averages; after it, residual and ReLU; and what one such layer gives
    to another is not kept for the backward pass, but made again. A value that is used
    elsewhere too is kept, and everything else stays as it is, also in the bodies of ``jit``,
    ``custom_jvp``, ``custom_vjp``, ``checkpoint``, ``scan``, ``while_loop`` and ``cond``.
    :func:`explain` shows what was found.

    Convolutions of single pixels, channels last and without padding, also do what stands before
    them, where the value is needed for nothing else and no convolution before can have it: batch
    norm, scale, shift and ReLU of what is used elsewhere too, or behind a pooling; the product with
    a number for each image and channel, as in squeeze and excitation; and concatenation, in front
    of wider windows too where they go by Winograd's algorithm.

    Pooling is taken as well, of up to three axes that are next to each other: maxima and averages
    of windows, the gradients of the maxima, and means, sums and maxima over images of
    32 pixels and more. So are norms by an image's own statistics, however they are written, with
    scale and bias, where nothing else reads the statistics: layer norm and RMS norm over the last
    axis; group norm and instance norm with channels last, and ReLU, leaky ReLU or SiLU behind them.

    Weights that ``fn`` closes over are folded with their batch norm and packed once, for all
    shapes; weights that are arguments, inside each call. Like ``jax.jit``, it captures what ``fn``
    closes over at the first call for a set of shapes, NumPy arrays included: to change, delete or
    donate one later has no effect, so pass as an argument what will change. NumPy arrays are copied
    to the device then, and JAX arrays not at all. Called directly, the compiled program holds
    copies of those under 64 KiB alone; within a ``jit`` of your own, of all.

    The result composes with ``jit``, ``vmap``, ``grad``, ``jax.export`` and batches that are
    sharded over devices; differentiate ``fn`` itself in forward mode. It may be a method, and be
    called from several threads. A copy, or what was pickled (as ``fn`` itself allows), captures
    anew. On a GPU or TPU, and without the compiled extension, it is ``fn``.

    Args:
        fn: takes and returns pytrees of arrays. Nothing is static, as it can be for ``jax.jit``:
            bind flags and functions with ``functools.partial``.

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
    return _Fused(_function(fn))  # type: ignore[return-value]


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Prints what :func:`fuse` makes of ``fn`` for these arguments, without running it.

    A row for each convolution, and each dense layer that the kernel takes: shapes (channels last
    where the kernel takes it), strides (``1/2`` with a zero between the pixels of the images: a
    transposed convolution), dilation of the window, groups, what was fused (``bn``: numbers that
    multiply and numbers that are added, for each channel; ``bn(batch)``: batch norm with the
    statistics of the batch; activations by name, and operations of which none is known by their
    number; before a colon, what stands in front of the convolution, such as ``concat+bn+relu:``),
    the kernel's algorithm (and the cascade, if several convolutions are one call, a few rows of
    each at a time; or the squeeze, if sums over all pixels and dense layers are one) and the size
    of the packed weights; or why it stays with XLA. A line sums up, and counts pools and norms
    on the kernel; others say which elementwise operations on a convolution's result stayed outside,
    which dense layers, and why.

    Args:
        fn: a function, or what :func:`fuse` made of one, which keeps the weights packed here.
        *args: as ``fn`` takes them.
        **kwargs: likewise.

    Raises:
        TypeError: ``fn`` is not callable, or an argument is not an array.

    Example:
        >>> conv = lambda x: jax.lax.conv(x, jnp.ones((8, 4, 3, 3)), (1, 1), "SAME")
        >>> resfuse.explain(lambda x: jax.nn.relu(conv(x)), jnp.ones((1, 4, 6, 6)))
        ... # doctest: +SKIP
        x        kernel   strides  dilation  groups  fused  algorithm  packed bytes
        1x6x6x4  3x3x4x8  1x1      1x1       1       relu   direct     1152
        1 of 1 convolutions on the kernel (avx512), with 0.0 MB of packed weights; pools: 0
    """
    if isinstance(fn, types.MethodType) and isinstance(fn.__func__, _Fused):
        args = (fn.__self__, *args)
        fn = fn.__func__
    fused = fn if isinstance(fn, _Fused) else _Fused(_function(fn))
    print(fused.explain(args, kwargs))


def _function(fn: Any) -> Callable[..., Any]:
    if not callable(fn):
        raise TypeError(f"fuse takes a function, got {type(fn).__name__}")
    return fn


# To be refused takes a millisecond: where settings of JAX change between calls, it does not pay.
_MOST_REFUSED = 4


class _Fused:
    """A fused function, with its programs by the shapes of the arguments."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn, updated=())
        self._fn = fn
        self._plain = jax.jit(fn)
        self._shared = Shared()
        self._programs: dict[Any, Program] = {}
        self._last: Repetition | None = None
        self._refused = 0  # how often that did not repeat a call
        self._lock = threading.RLock()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        last = self._last
        if last is not None and not kwargs and last.is_like(args):
            try:
                return last(args)
            except UnlikeError:
                self._refused += 1
        leaves, tree = jax.tree.flatten((args, kwargs))
        if _elsewhere(leaves):
            return self._plain(*args, **kwargs)
        program = self._program(leaves, tree)
        outputs = program(leaves)
        often = self._refused >= _MOST_REFUSED
        self._last = None if kwargs or often else program.repetition(args)
        return outputs

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method, where this stands in a class."""
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        """By name, if it is found under its own; otherwise as the function, to be fused again."""
        return _global_name(self) or (fuse, (self._fn,))

    def explain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The table."""
        leaves, tree = jax.tree.flatten((args, kwargs))
        reason = _elsewhere(leaves)
        program = self._program(leaves, tree, run=reason is None)
        return table(program.graph, program.chains, program.plan.cascades, program.norms, reason)

    def _program(self, leaves: list[Any], tree: Any, run: bool = True) -> Program:
        try:
            return self._found_or_traced(leaves, tree, run)
        except TypeError as error:
            failure = error
        args, kwargs = jax.tree.unflatten(tree, leaves)
        self._fail_as_jit(args, kwargs)
        raise failure

    def _fail_as_jit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises what ``jit`` does, which knows the names of the arguments."""
        try:
            self._plain.trace(*args, **kwargs)
        except TypeError as error:
            if isinstance(error, ConcretizationTypeError) or "static_arg" in str(error):
                error.add_note(_NOT_STATIC)
            raise

    def _found_or_traced(self, leaves: list[Any], tree: Any, run: bool) -> Program:
        sliced = _on_one_device(leaves)
        avals = tuple(map(jax.typeof, leaves))
        key = run, sliced, tree, avals, trace_context(), extension.isa()
        program = self._programs.get(key)
        if program is None:
            with self._lock:
                program = self._programs.get(key) or self._traced(key, leaves)
        return program

    def _traced(self, key: Any, leaves: list[Any]) -> Program:
        run, sliced, tree, *_ = key
        program = trace(self._fn, tree, leaves, self._shared if run else None, sliced)
        if program.portable:
            self._programs[key] = program
        return program


def _global_name(fused: _Fused) -> str | None:
    """The name under which pickle finds it, as it does what a decorator fused."""
    name: str = getattr(fused, "__qualname__", "")
    found: Any = sys.modules.get(getattr(fused, "__module__", ""))
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is fused else None


def _on_one_device(leaves: list[Any]) -> bool:
    """Whether no argument can be spread over devices, as far as can be told here."""
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    return jax.device_count() == 1 or all(
        not isinstance(array, jax.core.Tracer) and len(array.devices()) == 1 for array in arrays
    )


def _elsewhere(leaves: list[Any]) -> str | None:
    """Why this will not run on the kernel, as far as can be told before it is compiled."""
    if not extension.available():
        return extension.unavailable_reason()
    if {AxisType.Manual, AxisType.Explicit} <= {*jax.sharding.get_abstract_mesh().axis_types}:
        # JAX does not lower the kernel's call there: "Unhandled OpSharding type".
        return "in a shard_map over some axes of an Explicit mesh"
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.committed:
            return _not_a_cpu(next(iter(leaf.devices())).platform)
    return _not_a_cpu(default_platform())


def _not_a_cpu(platform: str) -> str | None:
    return None if platform == "cpu" else f"runs on {platform}"
