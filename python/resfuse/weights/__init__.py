"""Published weights: files to arrays, arrays to the variables of our networks, and back.

``safetensors``, ``pickles``, ``torch_files`` and ``keras_files`` read, ``files`` tells them apart;
``schemes`` says what each library calls our variables, ``recognition`` which network an array's
shapes belong to, ``matching`` that nothing is left over. It knows architectures and names, and no
modules: ``resfuse.nnx.load`` and ``resfuse.linen.load`` make those.
"""
