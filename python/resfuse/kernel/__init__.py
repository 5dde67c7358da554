"""The compiled extension as calls for JAX, with their derivatives, ``vmap`` and sharding."""
