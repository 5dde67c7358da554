"""Forward-mode differentiation, refused by name.

A ``custom_vjp`` function refuses forward mode too, but under ``jit`` from deep inside JAX and
without a word about which function it was. Here an identity on the inputs, whose tangent is an
operation that can be transposed but not run, says it first. Only where a tangent is batched before
it is run (``jacfwd``) does JAX still come first; :func:`named` gives its refusal our name, unless
the caller's own ``jit`` lies between.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

__all__ = ["named", "refuse_forward_mode"]

_MESSAGE = (
    "resfuse's kernel cannot be differentiated in forward mode (jvp, jacfwd, linearize); "
    'pass implementation="xla" to differentiate the reference, '
    "or differentiate the function that fuse was given"
)


@jax.custom_jvp
def refuse_forward_mode(x: Array) -> Array:
    """Returns ``x``; differentiates in reverse mode only."""
    return x


@refuse_forward_mode.defjvp
def _tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return primals[0], _reverse_only_p.bind(tangents[0])


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Turns JAX's refusal of forward mode into ours."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" in str(error) and "custom_vjp" in str(error):
            raise TypeError(_MESSAGE) from error
        raise


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError(_MESSAGE)


_reverse_only_p = Primitive("resfuse_reverse_only")
_reverse_only_p.def_impl(_refuse)
_reverse_only_p.def_abstract_eval(lambda tangent: tangent)
ad.deflinear2(_reverse_only_p, lambda cotangent, _: [cotangent])
batching.defvectorized(_reverse_only_p)
mlir.register_lowering(_reverse_only_p, _refuse)
