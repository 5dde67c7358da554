"""What is private to JAX or differs between its versions, gathered in one place.

Everything else in the package uses JAX's public interface. Each entry says what it stands for and
which public thing would replace it; ``tests/op/test_jax_compat.py`` holds each to what is expected
of it, so that a JAX that changed one of them fails there, by name, and not somewhere in a network.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = [
    "default_platform",
    "default_precision",
    "naming_forward_mode",
    "result_types",
    "reverse_only",
    "without_mesh",
]


def default_platform() -> str:
    """Where JAX would run what is not said to run elsewhere.

    ``jax.default_backend()`` alone knows nothing of ``jax.default_device``.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform: str | None = getattr(device, "platform", device)
    return platform or jax.default_backend()


def default_precision() -> lax.Precision | lax.DotAlgorithmPreset | None:
    """What ``precision=None`` means for ``jax.lax`` here: ``jax.default_matmul_precision``.

    ``jax.lax`` does this for its own operations, in private. The value is a part of the keys of
    ``jax.jit``, so whoever asks while tracing is asked again when it has changed.
    """
    name = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    if name is None:
        return None
    try:
        return lax.Precision(name)  # "float32" is another name of the highest, and so on
    except ValueError:
        return lax.DotAlgorithmPreset[name]


def result_types(function: Callable[..., Sequence[Array]], *operands: Array) -> Sequence[Any]:
    """The types of what ``function`` returns, for ``jax.ffi.ffi_call``.

    ``jax.eval_shape`` forgets a part of them in a ``shard_map`` over some of a mesh's axes, and
    ``ffi_call`` then fails.
    """
    avals: Sequence[Any] = jax.make_jaxpr(function)(*operands).out_avals
    return avals


def without_mesh() -> contextlib.AbstractContextManager[Any]:
    """Within, nothing is traced for the caller's mesh.

    What a device computes for itself inside ``custom_partitioning`` must not be annotated with
    shardings: XLA no longer expects them at that stage, and JAX does not take the mesh away.
    """
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ()))


@contextlib.contextmanager
def naming_forward_mode(message: str) -> Iterator[None]:
    """Within, ``message`` replaces JAX's refusal of forward mode, known by its words alone.

    That is, unless the caller's own ``jit`` lies between.
    """
    try:
        yield
    except TypeError as error:
        if "forward-mode" in str(error) and "custom_vjp" in str(error):
            raise TypeError(message) from error
        raise


def reverse_only(message: str) -> Callable[[Array], Array]:
    """An identity that is differentiated in reverse mode only; else ``message`` is a ``TypeError``.

    ``custom_vjp`` refuses forward mode as well, but under ``jit`` from deep inside JAX and without
    a word about which function it was. Here the tangent is an operation that can be transposed but
    not run, which says it first; JAX has no public way to make one. Only where a tangent is batched
    before it is run (``jacfwd``) does JAX still come first: see :func:`naming_forward_mode`.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise TypeError(message)

    tangent_p = Primitive("reverse_only")
    tangent_p.def_impl(refuse)
    tangent_p.def_abstract_eval(lambda tangent: tangent)
    ad.deflinear2(tangent_p, lambda cotangent, _: [cotangent])
    batching.defvectorized(tangent_p)
    mlir.register_lowering(tangent_p, refuse)

    @jax.custom_jvp
    def identity(x: Array) -> Array:
        return x

    identity.defjvp(lambda primals, tangents: (primals[0], tangent_p.bind(tangents[0])))
    return identity
