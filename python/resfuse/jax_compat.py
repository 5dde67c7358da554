"""What is private to JAX or differs between its versions, gathered in one place.

Everything else in the package uses JAX's public interface. Each entry says what it stands for and
which public thing would replace it; ``tests/op/test_jax_compat.py`` holds each to what is expected
of it, so that a JAX that changed one of them fails there, by name, and not somewhere in a network.

``fuse`` reads jaxprs, whose types JAX offers in ``jax.extend``, without a promise to keep them. The
names of primitives and of their parameters are such a language too. Those of ``jax.lax`` operations
(``conv_general_dilated`` and so on) stand where they are matched; those of functions inside
equations, which JAX does change, are here.
"""

import contextlib
import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

import jax
from jax import Array, lax
from jax._src import config
from jax._src.core import trace_state_clean
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, jaxprs_in_params
from jax.interpreters import ad, batching, mlir

_Tree = TypeVar("_Tree")

__all__ = [
    "CALLS",
    "CHECKPOINT",
    "CUSTOM_DERIVATIVES",
    "HEAP_BYTES",
    "ClosedJaxpr",
    "Jaxpr",
    "JaxprEqn",
    "Literal",
    "Scan",
    "While",
    "branches",
    "call_again",
    "called",
    "checkpointed",
    "default_platform",
    "default_precision",
    "differentiable",
    "function_of",
    "has_axis_names",
    "has_rule_of",
    "has_shardings",
    "is_eager",
    "jaxprs_in_params",
    "makes_keys",
    "naming_forward_mode",
    "platforms",
    "result_types",
    "reverse_only",
    "run",
    "scanned",
    "trace_context",
    "while_parts",
    "with_rule_of",
    "with_weak_type",
    "without_mesh",
]

CALLS = ("jit", "closed_call")
"""The primitives of calls that mean no more than their function."""

CUSTOM_DERIVATIVES = ("custom_jvp_call", "custom_vjp_call")
"""The primitives of functions with derivative rules of their own."""

CHECKPOINT = "remat2"
"""The primitive of ``jax.checkpoint``."""

HEAP_BYTES = "xla_multiheap_size_constraint_per_heap"
"""An option of compiled programs, XLA's: no allocation of temporaries is larger, but for arrays."""


def trace_context() -> Hashable:
    """What decides, beside a function and its arguments, how JAX traces it.

    The settings, the mesh and the axis names in force: a part of the key of JAX's own caches, and
    the kind of random numbers, which they leave out. Nothing public says all of it; ``jax.config``
    and ``jax.sharding.get_abstract_mesh`` say most.
    """
    return config.trace_context(), jax.config.jax_default_prng_impl  # type: ignore[attr-defined]


def is_eager() -> bool:
    """Whether what is called here runs now: inside no trace, whatever its arguments are.

    Nothing public says so.
    """
    return trace_state_clean()


def run(eqn: JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """The equation's results for ``operands``, as when it was traced.

    One step of ``jax.extend.core.jaxpr_as_fun``, which runs whole jaxprs only.
    """
    primitive = eqn.primitive
    with eqn.ctx.manager:
        outputs = primitive.bind(*operands, **primitive.get_bind_params(eqn.params))
    return list(outputs) if primitive.multiple_results else [outputs]


def has_shardings(jaxpr: Jaxpr | ClosedJaxpr) -> bool:
    """Whether it says itself, at any depth, on which devices arrays are.

    There is no public list of the primitives that do.
    """
    return any(
        eqn.primitive.name in ("shard_map", "sharding_constraint", "reshard")
        or (eqn.primitive.name in CALLS and not _is_without_shardings(eqn.params))
        or any(map(has_shardings, jaxprs_in_params(eqn.params)))
        for eqn in jaxpr.eqns
    )


def makes_keys(jaxpr: Jaxpr | ClosedJaxpr) -> bool:
    """Whether it makes keys of random numbers, at any depth: of the default kind, perhaps."""
    return any(
        eqn.primitive.name.startswith("random_")
        or any(map(makes_keys, jaxprs_in_params(eqn.params)))
        for eqn in jaxpr.eqns
    )


def called(eqn: JaxprEqn) -> ClosedJaxpr | None:
    """The function of a call that adds nothing to it, such as shardings; None for all others.

    Shardings that were not given have a private type, and ``jax.jit`` has no inverse.
    """
    if eqn.primitive.name not in CALLS or not _is_without_shardings(eqn.params):
        return None
    return function_of(eqn.params)


def _is_without_shardings(params: Mapping[str, Any]) -> bool:
    settings = (*params.get("in_shardings", ()), *params.get("out_shardings", ()))
    return all(type(setting).__name__ == "UnspecifiedValue" for setting in settings)


def call_again(eqn: JaxprEqn, function: ClosedJaxpr, operands: Sequence[Any]) -> list[Any]:
    """The call, shardings and all, of another function.

    ``jax.jit`` takes shardings too, but in the caller's terms, not in those of a traced call.
    """
    return list(eqn.primitive.bind(*operands, **(eqn.params | {"jaxpr": function})))


class Scan(NamedTuple):
    """A ``scan``: its operands are constants, what it carries, and what it goes over."""

    body: ClosedJaxpr
    constants: int
    carried: int
    options: Mapping[str, Any]  # as lax.scan takes them


def scanned(params: Mapping[str, Any]) -> Scan:
    """The parts of a ``scan`` equation; ``lax.scan`` has no inverse."""
    if "ft_in" in params:  # JAX 0.12
        constants, carried, _ = map(len, params["ft_in"].unpack())
    else:
        constants, carried = params["num_consts"], params["num_carry"]
    names = ("length", "reverse", "unroll", "_split_transpose")
    options = {name: params[name] for name in names if name in params}
    return Scan(params["jaxpr"], constants, carried, options)


class While(NamedTuple):
    """A ``while``: its operands are the constants of both functions, and what it carries."""

    condition: ClosedJaxpr
    body: ClosedJaxpr
    condition_constants: int
    body_constants: int


def while_parts(params: Mapping[str, Any]) -> While:
    """The parts of a ``while`` equation; ``lax.while_loop`` has no inverse."""
    names = ("cond_jaxpr", "body_jaxpr", "cond_nconsts", "body_nconsts")
    return While(*(params[name] for name in names))


def branches(params: Mapping[str, Any]) -> tuple[ClosedJaxpr, ...]:
    """The functions of a ``cond`` equation; ``lax.switch`` has no inverse."""
    return tuple(params["branches"])


def platforms(params: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, ...] | None:
    """Those of the branches of ``lax.platform_dependent``; None for a choice by a number."""
    found: tuple[tuple[str, ...] | None, ...] | None = params.get("branches_platforms")
    return found


def checkpointed(params: Mapping[str, Any]) -> tuple[ClosedJaxpr, dict[str, Any]] | None:
    """The function of ``jax.checkpoint`` and its options; None for the derivative of such a one.

    ``jax.checkpoint`` has no inverse.
    """
    if params["differentiated"]:
        return None
    options = {name: params[name] for name in ("prevent_cse", "policy")}
    return _closed(params["jaxpr"]), options


def differentiable(params: Mapping[str, Any]) -> ClosedJaxpr:
    """The function of a ``jax.custom_jvp`` or ``jax.custom_vjp``, which have no inverse."""
    return _closed(params["call_jaxpr"])


def has_rule_of(params: Mapping[str, Any], function: Callable[..., Any]) -> bool:
    """Whether a ``custom_jvp_call`` has the very derivative rule of ``function``, a ``custom_jvp``.

    False also where that cannot be seen: the equation has the rule in the closures of a function
    that traces it. To trace it takes milliseconds, and gives what can be compared.
    """
    rule: Any = params.get("jvp_jaxpr_fun")
    traced = _closed_over(getattr(rule, "f", None), "fn")
    rule = _closed_over(traced, "jvp")
    return rule is not None and rule.f is getattr(function, "jvp", None)


def with_rule_of(
    function: Callable[[jax.Array], jax.Array], other: Any
) -> Callable[[jax.Array], jax.Array]:
    """``function`` with the derivative rule of ``other``, a ``custom_jvp`` of the same values.

    Where the rule cannot be seen it is ``other``.
    """
    rule = getattr(other, "jvp", None)
    if rule is None:
        return other
    made = jax.custom_jvp(function)
    made.defjvp(rule)
    return made


def _closed_over(function: Any, name: str) -> Any:
    names = function.__code__.co_freevars if inspect.isfunction(function) else ()
    return function.__closure__[names.index(name)].cell_contents if name in names else None


def function_of(params: Mapping[str, Any]) -> ClosedJaxpr:
    """The function of a call, whichever of :data:`CALLS` or :data:`CUSTOM_DERIVATIVES` it is."""
    return _closed(params["call_jaxpr" if "call_jaxpr" in params else "jaxpr"])


def has_axis_names(jaxpr: ClosedJaxpr) -> bool:
    """Whether it means something only where the axes that it names are, such as under ``vmap``.

    The effect that says so is of a private type.
    """
    return any(type(effect).__name__ == "NamedAxisEffect" for effect in jaxpr.effects)


def with_weak_type(array: Array, weak_type: bool) -> Array:
    """The array with that weak type, which decides what it promotes others to.

    ``lax.convert_element_type`` gives types without, and ``jnp.asarray`` those of its argument.
    """
    if array.weak_type == weak_type:
        return array
    return lax.convert_element_type_p.bind(
        array, new_dtype=array.dtype, weak_type=weak_type, sharding=None
    )


def _closed(jaxpr: Jaxpr | ClosedJaxpr) -> ClosedJaxpr:
    """Some equations hold a jaxpr without constants as it is; since JAX 0.12 there is one type."""
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


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


def reverse_only(message: str) -> Callable[[_Tree], _Tree]:
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
    def identity(arrays: _Tree) -> _Tree:
        return arrays

    def bound(tangent: Any) -> Any:
        return tangent if isinstance(tangent, SymbolicZero) else tangent_p.bind(tangent)

    def derivative(primals: tuple[_Tree], tangents: tuple[Any]) -> tuple[_Tree, Any]:
        return primals[0], jax.tree.map(bound, tangents[0])

    identity.defjvp(derivative, symbolic_zeros=True)
    return identity
