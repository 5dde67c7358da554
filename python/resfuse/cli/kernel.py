"""Whether the compiled kernel is what runs."""

import jax

from resfuse.kernel import extension


def why_not_live(implementation: str | None = None) -> str | None:
    """Why the op, called with this implementation, runs as plain XLA; ``None`` if it does not."""
    if implementation == "xla":
        return "implementation 'xla' is plain Flax"
    if not extension.available():
        return extension.unavailable_reason()
    if jax.default_backend() != "cpu":
        return f"JAX runs on {jax.default_backend()}, and the kernel is for CPUs"
    return None
