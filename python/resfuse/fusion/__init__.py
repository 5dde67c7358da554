"""Conv chains of any JAX function onto the kernel; ``resfuse/fuse.py`` is what users call.

``graph.py`` flattens a jaxpr into values and nodes, with ``equations.py`` and ``bodies.py``;
``geometry.py`` says which convolutions the kernel takes; ``match.py`` finds the chains that follow
them, and ``statistics.py`` the batch norms with the statistics of the batch, by what their formulas
mean (``formulas.py``, ``algebra.py``, ``polynomial.py``); ``prepare.py`` computes once what depends
on closed-over arrays only; ``rewrite.py`` runs the result, with the kernel's calls in
``results.py`` and the bodies of control flow in ``control.py``; ``program.py`` is all that for one
shape.
"""
