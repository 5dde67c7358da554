"""Chains of convolutions in any JAX function onto the kernel.

``fuse.py`` is what users call, and keeps a ``program.py`` for each set of shapes: the function is
traced, matched, prepared and compiled once. On the way,

- ``graph.py`` flattens the jaxpr into values and nodes; ``equations.py`` says which functions
  inside equations are seen through and which stay bodies;
- ``captured.py`` takes what the function closes over as device arrays of its own;
- ``geometry.py`` says what a convolution is for the kernel, ``padding.py`` joins the explicit
  padding before it, ``weight_gradient.py`` computes what JAX writes for weight gradients;
- ``match.py`` finds the chains (``chain.py``) that follow convolutions: steps that fold into scale
  and shift, then a tail. ``region.py`` grows all elementwise equations that could be in a tail,
  whose operands ``operands.py`` tells apart; ``tail.py`` chooses where it ends and makes it an
  epilogue, with its own equations (``plain.py``, ``known.py``) as the meaning of its program;
  ``order.py`` puts a call with several results in its place. ``layout.py`` and ``moves.py`` say
  where axes are;
- ``symbolic/`` finds the batch norms with the statistics of the batch, by what their formulas mean;
- ``prepare.py`` folds and packs weights that do not change, with constant folding in
  ``constants.py``;
- ``rewrite.py`` runs the result, which ``jax.jit`` traces: chains by ``lowering.py``, pools by
  ``pooling.py``, loops and branches by ``control_flow.py``, and large activations a few images at a
  time by ``slices.py``.

``explain.py`` prints what became of each convolution, with names from ``naming.py``.
"""
