"""OpenVINO, in float32, for latency."""

from collections.abc import Callable
from typing import Any

import openvino

from prepared import Prepared


def start() -> None:
    """Wakes the runtime, before any network is there."""
    openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")


def inference(variant: str, folder: str, batch: int, threads: int) -> Callable[[], Any]:
    """The network as a call on the images."""
    del variant
    prepared = Prepared(folder)
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    model = openvino.Core().compile_model(str(prepared.onnx(batch)), "CPU", settings)
    request = model.create_infer_request()
    x = prepared.images_channels_first(batch)
    return lambda: request.infer([x], share_inputs=True, share_outputs=True)[0]
