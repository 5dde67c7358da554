"""What is private to JAX or differs between its versions, gathered in one place.

Everything else in the package uses JAX's public interface. Each entry says what it stands for and
which public thing would replace it; ``tests/op/test_jax_compat.py`` holds each to what is expected
of it, so that a JAX that changed one of them fails there, by name, and not somewhere in a network.
"""

__all__: list[str] = []
