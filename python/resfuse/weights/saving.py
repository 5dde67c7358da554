"""Writing a network's variables under a library's names."""

import os
from typing import Any

import numpy as np

from resfuse.weights.families import FAMILIES
from resfuse.weights.safetensors import write_safetensors
from resfuse.weights.schemes import scheme_of
from resfuse.weights.variables import by_path

__all__ = ["save"]


def save(
    model: Any,
    path: str | os.PathLike[str],
    *,
    scheme: str = "torchvision",
    variables: Any = None,
    dtype: Any = None,
) -> None:
    """Writes a network's variables to a file of safetensors, as a library names and lays them out.

    The values of what ``load`` has read come out bit for bit; of half precision, with its
    ``dtype``. The library's own loader takes the file, in torch also with ``strict=True``, which
    does not ask for the counters ``num_batches_tracked``.

    Args:
        model: One of the networks of ``resfuse.nnx`` or ``resfuse.linen``.
        path: The file, which is replaced.
        scheme: ``"torchvision"``, ``"timm"``, ``"transformers"`` or ``"efficientnet_pytorch"``.
        variables: Of a Linen module, ``{"params": ..., "batch_stats": ...}``.
        dtype: Of the file; ``None`` for the variables'.

    Raises:
        WeightsError: For a scheme that has no such network.
        TypeError: For a model that is none of these networks, or is without variables.

    Example:
        >>> import tempfile
        >>> import resfuse.nnx
        >>> from flax import nnx
        >>> file = f"{tempfile.mkdtemp()}/resnet18.safetensors"
        >>> save(resfuse.nnx.ResNet18(num_classes=10, rngs=nnx.Rngs(0)), file)
    """
    family = type(model).__name__
    if family not in FAMILIES:
        raise TypeError(f"model must be one of {', '.join(FAMILIES)}, got {family}")
    leaves = by_path(_variables(model) if variables is None else variables)
    library = scheme_of(scheme, family)
    places = library.places({name: leaf.shape for name, leaf in leaves.items()})
    arrays = {
        place.name: place.to_theirs(np.asarray(leaves[name], dtype))
        for name, place in places.items()
    }
    write_safetensors(arrays, path)


def _variables(model: Any) -> Any:
    from flax import nnx  # which takes a second, and only those with networks have

    if not isinstance(model, nnx.Module):
        raise TypeError("a Linen module needs variables=")
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.RngState)))
