"""The engines that are compared: which module runs each, and what has to be installed for it."""

from importlib.util import find_spec
from typing import NamedTuple

from resfuse.cli.engines import YNN_OFF


class Engine(NamedTuple):
    """Modules ``run_*`` and ``train_*`` give its call by ``load(variant, ...)``."""

    library: str
    heading: str
    module: str
    variant: str
    packages: tuple[str, ...] = ()
    xla_flags: str = ""
    trains: bool = True

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
    OURS: Engine("resfuse", "resfuse", "flax", "fuse"),
    "resfuse-arguments": Engine(
        "resfuse", "resfuse,\nweights as\narguments", "flax", "arguments", trains=False
    ),
    "flax": Engine("Flax", "Flax", "flax", "xla"),
    "flax-ynn-off": Engine("Flax", "Flax,\nYNN off", "flax", "xla", xla_flags=YNN_OFF),
    "onnxruntime": Engine(
        "ONNX Runtime", "ONNX\nRuntime", "onnxruntime", "", ("onnxruntime", *_ONNX), trains=False
    ),
    "openvino": Engine("OpenVINO", "OpenVINO", "openvino", "", ("openvino", *_ONNX), trains=False),
    "pytorch": Engine("PyTorch", "PyTorch\neager", "torch", "eager", ("torch",)),
    "inductor": Engine("PyTorch", "PyTorch\ninductor", "torch", "inductor", ("torch",)),
}


def libraries(engines: list[str]) -> dict[str, list[str]]:
    """The engines that are not resfuse, by library."""
    found: dict[str, list[str]] = {}
    for name in peers(engines):
        found.setdefault(ENGINES[name].library, []).append(name)
    return found


def peers(engines: list[str]) -> list[str]:
    """Those that are not resfuse."""
    return [name for name in engines if not name.startswith(OURS)]
