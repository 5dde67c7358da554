"""Chains of convolutions in any JAX function onto the kernel.

``fuse.py`` is what users call, and keeps a ``program.py`` for each set of shapes: the function is
traced, matched, prepared and compiled once. On the way,

- ``graph.py`` flattens the jaxpr into values and nodes; ``equations.py`` says which functions
  inside equations are seen through and which stay bodies;
- ``captured.py`` takes what the function closes over as device arrays of its own;
- ``match.py`` finds the chains that follow convolutions; ``layout.py`` says where their axes are,
  ``relu.py`` what a ReLU is; ``symbolic/`` finds the batch norms with the statistics of the batch,
  by what their formulas mean;
- ``prepare.py`` folds and packs weights that do not change, with constant folding in
  ``constants.py``;
- ``rewrite.py`` runs the result, which ``jax.jit`` traces: chains by ``lowering.py``, pools by
  ``pooling.py``, loops and branches by ``control_flow.py``, and large activations a few images at a
  time by ``slices.py``.

``explain.py`` prints what became of each convolution.
"""
