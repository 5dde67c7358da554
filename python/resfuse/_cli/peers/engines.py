"""The engines that are compared: which module runs each, and what has to be installed for it."""

from importlib.util import find_spec
from typing import NamedTuple

from resfuse._cli.engines import YNN_OFF


class Engine(NamedTuple):
    """The module whose ``load(variant, ...)`` gives the engine's call, and the variant."""

    heading: str
    module: str
    variant: str
    packages: tuple[str, ...] = ()
    xla_flags: str = ""

    @property
    def exported(self) -> bool:
        """Whether it reads ONNX."""
        return "onnx" in self.packages

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


OURS = "resfuse"
_ONNX = ("onnx", "torch")  # torch writes the files
ENGINES = {
    OURS: Engine("resfuse", "run_flax", "fuse"),
    "resfuse-arguments": Engine("resfuse,\nweights as\narguments", "run_flax", "arguments"),
    "flax": Engine("Flax", "run_flax", "xla"),
    "flax-ynn-off": Engine("Flax,\nYNN off", "run_flax", "xla", xla_flags=YNN_OFF),
    "onnxruntime": Engine("ONNX\nRuntime", "run_onnxruntime", "", ("onnxruntime", *_ONNX)),
    "openvino": Engine("OpenVINO", "run_openvino", "", ("openvino", *_ONNX)),
    "pytorch": Engine("PyTorch\neager", "run_torch", "eager", ("torch",)),
    "inductor": Engine("PyTorch\ninductor", "run_torch", "inductor", ("torch",)),
}


def peers(engines: list[str]) -> list[str]:
    """Those that are not resfuse."""
    return [name for name in engines if not name.startswith(OURS)]
