"""Published weights: files to arrays, arrays to the variables of our networks, and back.

``safetensors``, ``pickles``, ``torch_files`` and ``keras_files`` read, and ``files`` tells them
apart. ``schemes`` lists what each library calls our variables (``names``, ``mobilenet_names``),
``recognition`` finds the network that an array's shapes belong to, ``families`` has the tables of
published ones, ``sources`` and ``hub`` know where files are and what lies beside them, ``loading``
puts all that together, and ``fitting`` sees to it that nothing is left over. The room knows
architectures and names, and no modules: ``resfuse.nnx.load`` and ``resfuse.linen.load`` make those.
"""
