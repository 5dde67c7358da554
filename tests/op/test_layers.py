"""A lower layer never imports a higher one, and only one module what JAX keeps private."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import resfuse

ROOT = Path(resfuse.__file__).parent
# Each imports itself and what stands before it.
LAYERS = (
    ("garbage", "jax_compat", "memory"),
    ("arguments", "purpose"),
    ("spec",),
    ("reference",),
    ("kernel",),
    ("dispatch",),
    ("ops",),
    ("fusion", "models"),
    ("weights",),
    ("linen",),
    ("d2l", "nnx"),
    ("__init__",),
    ("cli",),
)
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}


def rooms() -> list[str]:
    return sorted({path.name.removesuffix(".py") for path in ROOT.iterdir() if is_room(path)})


def is_room(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


@functools.cache
def imports(room: str) -> list[tuple[str, str]]:
    """The modules that a room imports, with the places."""
    return list(_imports(room))


def _imports(room: str) -> Iterator[tuple[str, str]]:
    files = (ROOT / room).rglob("*.py") if (ROOT / room).is_dir() else [ROOT / f"{room}.py"]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            where = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((alias.name, where) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module == "resfuse":
                yield from ((f"resfuse.{alias.name}", where) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module), where


@pytest.mark.parametrize("room", rooms())
def test_imports_nothing_higher(room: str) -> None:
    for name, where in imports(room):
        package, *parts = name.split(".")
        # What the package itself offers, such as `resfuse.ffi`, is its `__init__`.
        other = parts[0] if parts and parts[0] in HEIGHT else "__init__"
        if package == "resfuse" and other != room:
            assert HEIGHT[other] < HEIGHT[room], where


@pytest.mark.parametrize("room", [room for room in rooms() if room != "jax_compat"])
def test_imports_nothing_private_of_jax(room: str) -> None:
    private = ("jax._src", "jax.extend", "jax.interpreters")
    assert [where for name, where in imports(room) if name.startswith(private)] == []
