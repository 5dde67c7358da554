"""The families of networks whose weights can be read, and the names of the published ones."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from resfuse.models.architectures import ARCHITECTURES
from resfuse.models.convnext import CONVNEXTS
from resfuse.models.densenet import DENSENETS
from resfuse.models.mobilenet import MOBILENETS
from resfuse.models.regnet import REGNETS
from resfuse.models.resnetv2 import RESNETS_V2
from resfuse.models.vgg import VGGS
from resfuse.weights import recognition
from resfuse.weights.errors import WeightsError
from resfuse.weights.recognition import Shapes

__all__ = ["FAMILIES", "Family", "known_as", "named", "recognize"]


@dataclasses.dataclass(frozen=True)
class Family:
    """Networks of one class.

    Attributes:
        table: Those that are published, by name.
        recognize: From the names and shapes of a file's arrays to the architecture.
        stem: The path, in our network, of the convolution that takes images, as a pattern.
        head: The path of the dense layer that gives logits.
    """

    table: Mapping[str, Any]
    recognize: Callable[[Shapes], Any]
    stem: str
    head: str


FAMILIES: Mapping[str, Family] = {
    "ResNet": Family(ARCHITECTURES, recognition.resnet, r"conv1(\.0)?", "fc"),
    "ResNetV2": Family(RESNETS_V2, recognition.resnet_v2, r"stem\.conv1?", "head.fc"),
    "MobileNet": Family(MOBILENETS, recognition.mobilenet, r"stem\.conv", "classifier.fc"),
    "ConvNeXt": Family(CONVNEXTS, recognition.convnext, r"stem\.conv", "fc"),
    "DenseNet": Family(DENSENETS, recognition.densenet, r"conv0", "classifier"),
    "RegNet": Family(REGNETS, recognition.regnet, r"stem\.conv", "fc"),
    "VGG": Family(VGGS, recognition.vgg, r"stages\.0\.0\.conv", "classifier.fc3"),
}


def named(name: str) -> tuple[str, Any]:
    """The family and the architecture of a published network.

    Raises:
        WeightsError: For a name that no table has.
    """
    for family, each in FAMILIES.items():
        if name in each.table:
            return family, each.table[name]
    known = ", ".join(name for each in FAMILIES.values() for name in each.table)
    raise WeightsError(f"architecture must be one of {known}, got {name!r}")


_UNNAMED = {"preprocessing", "convention", "use_bias", "stride_first", "keras", "last_epsilon"}


def known_as(family: str, architecture: Any) -> str:
    """The name of a published network, or else the architecture's data.

    Its preprocessing, and what a library has in its own way, are no part of the name.
    """
    same = _UNNAMED & {field.name for field in dataclasses.fields(architecture)}
    for name, known in FAMILIES[family].table.items():
        kept = {field: getattr(architecture, field) for field in same}
        if dataclasses.replace(known, **kept) == architecture:
            return name
    return str(architecture)


def recognize(family: str, shapes: Callable[[], Shapes]) -> Any:
    """The architecture of a file with arrays of the names and shapes that ``shapes`` gives.

    Raises:
        WeightsError: If the arrays are those of no network of the family.
    """
    try:
        return FAMILIES[family].recognize(shapes())
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(f"the arrays are those of no {family}: {error}") from None
