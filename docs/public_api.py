"""The pages of the API: a directive that documents whatever a module's ``__all__`` names.

    .. api:: resfuse.nnx

An error ends the build where a public name has come to no page, or has no documentation.
"""

import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import resfuse.d2l
import resfuse.linen
import resfuse.nnx

MODULES = ("resfuse", "resfuse.ffi", "resfuse.linen", "resfuse.nnx", "resfuse.d2l")


class Api(SphinxDirective):
    """Functions, classes, what is neither, and networks, which are classes with settings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The entries, as autodoc makes them."""
        return self.parse_text_to_nodes("".join(entries(self.arguments[0])))


def entries(module: str) -> Iterator[str]:
    """The directives of a page."""
    networks: dict[Any, list[str]] = {}
    for name, value in public(module).items():
        if isinstance(value, functools.partial):
            networks.setdefault(value.func, []).append(name)
        elif (first := _first_name(value)) != name:
            yield f".. py:data:: {name.removeprefix(f'{module}.')}\n   :module: {module}\n\n"
            yield f"   Is :obj:`{first}`.\n\n"
        else:
            yield from _entry(name, value)
    for network, names in networks.items():
        signatures = "\n   ".join(name.removeprefix(f"{module}.") for name in names)
        sizes = f":class:`{network.__name__}` of these sizes."
        yield f".. py:data:: {signatures}\n   :module: {module}\n\n   {sizes}\n\n"


def _first_name(value: Any) -> str:
    """The public name under which it is documented, for several modules may offer it."""
    return next(name for each in MODULES for name, it in public(each).items() if it is value)


def _entry(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value) and issubclass(value, Exception):
        yield f".. autoexception:: {name}\n\n"
    elif inspect.isclass(value):
        yield f".. autoclass:: {name}\n   :members:\n\n"
    elif callable(value):
        yield f".. autofunction:: {name}\n\n"
    else:
        yield f".. autodata:: {name}\n\n"


def public(module: str) -> Mapping[str, Any]:
    """What users are told of, but modules, which have pages of their own, and the version."""
    found: Any = functools.reduce(getattr, module.split(".")[1:], resfuse)
    named = {name: getattr(found, name) for name in found.__all__ if not name.startswith("_")}
    return {
        f"{module}.{name}": value
        for name, value in named.items()
        if not isinstance(value, types.ModuleType)
    }


def check(app: Sphinx, exception: Exception | None) -> None:
    """Ends the build where a public name has no entry."""
    if exception or app.builder.name != "html":
        return
    domain: Any = app.env.get_domain("py")
    missing = [name for module in MODULES for name in public(module) if name not in domain.objects]
    if missing:
        raise ExtensionError(f"not in the pages of the API: {', '.join(missing)}")


def setup(app: Sphinx) -> Mapping[str, bool]:
    """Adds the directive and the check."""
    app.add_directive("api", Api)
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
