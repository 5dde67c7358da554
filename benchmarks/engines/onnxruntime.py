"""ONNX Runtime with all of its optimisations."""

from collections.abc import Callable
from typing import Any

import onnxruntime

from prepared import Prepared


def start() -> None:
    """Wakes the runtime, before any network is there."""
    onnxruntime.get_available_providers()


def inference(variant: str, folder: str, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images."""
    del variant
    prepared = Prepared(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    path = str(prepared.onnx(batch))
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    inputs = {"x": prepared.images_channels_first(batch)}
    return lambda: session.run(None, inputs)[0]
