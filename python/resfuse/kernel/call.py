"""A call of the extension as data, from which its types, ``vmap`` and sharding follow.

A call's rule names the axes of its operands and results, as ``einsum`` does:

    n h w i, p q j o, o, o -> n y x o

The factor ``n`` is the batch; where it occurs it leads. All else follows:

- The type of a result: the operands say the sizes and the shardings of the factors that they have.
- Several devices: arrays with ``n`` are split along it, and each device has the whole of the
  others. A result without ``n`` is the sum over the devices, unless the call says how to combine.
- ``vmap``: the examples make one larger batch if only arrays with ``n`` have them and every result
  has an ``n`` to keep them apart. Otherwise they take turns.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from resfuse.jax_compat import result_types, without_mesh
from resfuse.kernel.portion import Native, on_portion
from resfuse.purpose import Purpose, purpose

__all__ = ["Attribute", "Call", "Results", "bits"]

Attribute = bool | int | tuple[int, ...]
Results = tuple[Array, ...]
Devices = tuple[str, ...]  # the axes of the mesh along which the batch is split

_BATCH = "n"


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the extension, to be applied to its operands.

    Attributes:
        target: the handler's name, without its prefix.
        rule: the axes of the operands and results.
        sizes: of the results' factors that no operand has.
        attributes: what the handler takes besides arrays.
        combine: makes the whole batch's results from each device's; None adds up.
        in_place: the place of the operand whose memory the first result may take, -1 for the last;
            XLA copies an operand that is still needed.
    """

    target: str
    rule: str
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    attributes: Mapping[str, Attribute] = dataclasses.field(default_factory=dict)
    combine: Callable[[Results, Devices], Results] | None = None
    in_place: int | None = None

    def __call__(self, *operands: Array) -> Results:
        """The results, always as a tuple."""
        if purpose() is Purpose.RUNNING:
            return self._native(*operands)
        # Within `shard_map` a call is a device's own already, and JAX cannot split it further.
        local = bool(jax.sharding.get_abstract_mesh().manual_axes)
        call = custom_vmap(self._native if local else self._split())
        call.def_vmap(functools.partial(self._vmap, call))
        return tuple(call(*operands))

    def _split(self) -> Callable[..., Results]:
        """The call as XLA splits it over devices."""
        split = custom_partitioning(self._native)
        split.def_partition(
            self._partition,
            sharding_rule=self.rule,
            need_replication_factors=self._whole_factors,
        )
        return split

    @property
    def _operands(self) -> list[str]:
        """The factors of each operand, a letter an axis."""
        return self.rule.replace(" ", "").split("->")[0].split(",")

    @property
    def _results(self) -> list[str]:
        return self.rule.replace(" ", "").split("->")[1].split(",")

    @property
    def _whole_factors(self) -> tuple[str, ...]:
        """All but the batch, in the order of their appearance, as Shardy wants them."""
        return tuple(dict.fromkeys(filter(str.isalpha, self.rule.replace(_BATCH, ""))))

    def _native(self, *operands: Array) -> Results:
        """The call itself, on one device."""
        aliases = self._aliases(len(operands))
        call = on_portion(Native(operands, self._types(operands), aliases, self.attributes))
        native = jax.ffi.ffi_call(
            f"resfuse_{self.target}", call.types, input_output_aliases=dict(call.aliases)
        )
        return tuple(native(*call.operands, **{k: _typed(v) for k, v in call.attributes.items()}))

    def _aliases(self, operands: int) -> dict[int, int]:
        return {} if self.in_place is None else {range(operands)[self.in_place]: 0}

    def _types(self, operands: Results) -> Sequence[Any]:
        """The results' types, of which JAX's shardings are a part where there is a mesh."""
        sizes = self._sizes(operands)
        if not jax.sharding.get_abstract_mesh().empty:
            return result_types(functools.partial(self._like, sizes), *operands)
        shapes = ([sizes[factor] for factor in result] for result in self._results)
        return [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]

    def _sizes(self, operands: Results) -> Mapping[str, int]:
        sizes = dict(self.sizes)
        for factors, operand in zip(self._operands, operands, strict=True):
            if len(factors) != operand.ndim:
                shapes = [operand.shape for operand in operands]
                raise ValueError(f'{self.target} takes "{self.rule}", got shapes {shapes}')
            sizes.update(zip(factors, operand.shape, strict=True))
        return sizes

    def _like(self, sizes: Mapping[str, int], *operands: Array) -> Results:
        """Arrays of the results' types: never computed."""
        pairs = list(zip(self._operands, operands, strict=True))
        return tuple(
            functools.reduce(
                operator.add, (_summed_and_spread(*pair, result, sizes) for pair in pairs)
            )
            for result in self._results
        )

    def _partition(
        self, mesh: Mesh, operands: Sequence[Any], results: Any
    ) -> tuple[Mesh, Callable[..., Results], tuple[NamedSharding, ...], tuple[NamedSharding, ...]]:
        """What each device computes, and how the results and the operands lie on the devices."""
        del results
        images = next(o for o, axes in zip(operands, self._operands, strict=True) if _BATCH in axes)
        devices = _devices_of_batch(mesh, images)

        def on_each_device(*operands: Array) -> Results:
            with without_mesh():
                results = self._native(*operands)
                return self._combined(results, devices) if devices else results

        def shardings(arrays: list[str]) -> tuple[NamedSharding, ...]:
            split = PartitionSpec(devices) if devices else PartitionSpec()
            specs = [split if _BATCH in factors else PartitionSpec() for factors in arrays]
            return tuple(NamedSharding(mesh, spec) for spec in specs)

        return mesh, on_each_device, shardings(self._results), shardings(self._operands)

    def _combined(self, results: Results, devices: Devices) -> Results:
        if self.combine is not None:
            return self.combine(results, devices)
        return tuple(
            result if _BATCH in factors else lax.psum(result, devices)
            for factors, result in zip(self._results, results, strict=True)
        )

    def _vmap(
        self, call: Callable[..., Results], size: int, batched: Sequence[bool], *operands: Array
    ) -> tuple[Results, tuple[bool, ...]]:
        has_batch = [_BATCH in factors for factors in self._operands]
        only_images = all(
            has for has, is_batched in zip(has_batch, batched, strict=True) if is_batched
        )
        if only_images and all(_BATCH in factors for factors in self._results):
            folded = [
                _fold(size, is_batched, operand) if has else operand
                for has, is_batched, operand in zip(has_batch, batched, operands, strict=True)
            ]
            results = tuple(_unfold(size, result) for result in call(*folded))
        else:
            results = _in_turn(call, batched, operands)
        return results, (True,) * len(results)


def bits(*numbers: float) -> tuple[int, ...]:
    """Numbers in float32, as handlers take them in an attribute."""
    return tuple(np.array(numbers, np.float32).view(np.uint32).tolist())


def _typed(value: Attribute) -> Any:
    kind: Any = np.bool_ if isinstance(value, bool) else np.int64
    return np.array(value, kind) if isinstance(value, tuple) else kind(value)


def _summed_and_spread(
    factors: str, operand: Array, result: str, sizes: Mapping[str, int]
) -> Array:
    """The operand summed over the factors that the result lacks, repeated along those it lacks."""
    total = operand.sum([axis for axis, factor in enumerate(factors) if factor not in result])
    kept = [result.index(factor) for factor in factors if factor in result]
    return lax.broadcast_in_dim(total, [sizes[factor] for factor in result], kept)


def _devices_of_batch(mesh: Mesh, images: Any) -> Devices:
    # Where `jax.set_mesh` names the mesh, but no argument lies on it, JAX gives neither.
    axes = (*getattr(images.sharding, "spec", ()), None)[0]
    devices = (axes,) if isinstance(axes, str) else tuple(axes or ())
    parts = 1
    for name in devices:
        parts *= mesh.shape[name]
    # An uneven split would pad the batch, and the padding would enter the statistics.
    return devices if images.shape[0] % parts == 0 else ()


def _fold(size: int, batched: bool, images: Array) -> Array:
    """The examples' batches as one; the batch that ``size`` examples share is repeated."""
    if not batched:
        images = lax.broadcast(images, (size,))
    return images.reshape(images.shape[0] * images.shape[1], *images.shape[2:])


def _unfold(size: int, images: Array) -> Array:
    return images.reshape(size, images.shape[0] // size, *images.shape[1:])


def _in_turn(
    call: Callable[..., Results], batched: Sequence[bool], operands: Sequence[Array]
) -> Results:
    """One call for each example; broadcasting would copy what the examples share."""

    def one(example: list[Array]) -> Results:
        own = iter(example)
        pairs = zip(batched, operands, strict=True)
        return call(*(next(own) if is_batched else shared for is_batched, shared in pairs))

    pairs = zip(batched, operands, strict=True)
    results: Results = lax.map(one, [operand for is_batched, operand in pairs if is_batched])
    return results
