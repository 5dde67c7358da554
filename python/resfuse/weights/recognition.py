"""From the names and shapes of a file's arrays to the architecture that they belong to.

What shapes cannot tell (strides, activations, preprocessing) is that of the published network with
these shapes. Shapes are torch's: of a kernel ``(out, in / groups, height, width)``.
"""

import collections
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from resfuse.models.architectures import ARCHITECTURES, BASE_WIDTH, Architecture
from resfuse.models.convnext import CONVNEXTS, ConvNeXtArchitecture
from resfuse.models.densenet import DENSENETS, DenseNetArchitecture
from resfuse.models.mobilenet import MOBILENETS, MobileNetArchitecture
from resfuse.models.regnet import REGNETS, RegNetArchitecture
from resfuse.models.resnetv2 import RESNETS_V2, ResNetV2Architecture
from resfuse.models.vgg import VGGS, VGGArchitecture
from resfuse.weights.errors import WeightsError

__all__ = ["Shapes", "convnext", "densenet", "mobilenet", "regnet", "resnet", "resnet_v2", "vgg"]

Shapes = Mapping[str, tuple[int, ...]]


def _blocks(shapes: Shapes, pattern: str) -> dict[tuple[int, int], dict[str, tuple[int, ...]]]:
    """For stage and block, what is in it; the pattern finds stage, block and the rest's name."""
    found: dict[tuple[int, int], dict[str, tuple[int, ...]]] = collections.defaultdict(dict)
    for name, shape in shapes.items():
        if match := re.search(pattern, name):
            found[int(match[1]), int(match[2])][match[3]] = shape
    if not found:
        raise WeightsError(f"no name has the form of {pattern}")
    return dict(sorted(found.items()))


def _depths(blocks: Mapping[tuple[int, int], Any]) -> tuple[int, ...]:
    return tuple(collections.Counter(stage for stage, _ in blocks).values())


_RESNET = (
    r"(?:^layer|^conv(?=\d+_block)|encoder\.stages\.)(\d+)(?:\.|\.layers\.|_block)(\d+)[._](.+)$"
)
_SECOND = "conv2.weight", "layer.1.convolution.weight", "2_conv.kernel"
_THIRD = "conv3.weight", "layer.2.convolution.weight", "3_conv.kernel"
_RESNET_NORMS = "bn1.weight", "resnet.embedder.embedder.normalization.weight", "conv1_bn.gamma"


def _first(of: Shapes, names: tuple[str, ...]) -> tuple[int, ...] | None:
    return next((of[name] for name in names if name in of), None)


def resnet(shapes: Shapes) -> Architecture:
    """By the first block, the stem and the shortcuts."""
    blocks = _blocks(shapes, _RESNET)
    block = next(iter(blocks.values()))
    norm, second = _first(shapes, _RESNET_NORMS), _first(block, _SECOND)
    if norm is None or second is None:
        raise WeightsError("a ResNet needs the norm of its stem, and conv2 in its first block")
    features, (width, per_group, *_) = norm[0], second
    deep = shapes.get("conv1.0.weight")
    halves = any(
        re.fullmatch(r"layer\d+\.0\.downsample\.1\.weight", name) and len(shape) == 4
        for name, shape in shapes.items()
    )
    found = Architecture(
        "bottleneck" if _first(block, _THIRD) else "basic",
        _depths(blocks),
        width // per_group,
        width * BASE_WIDTH // (features * (width // per_group)),
        features,
        "plain" if deep is None else "deep" if deep[0] * 2 == features else "tiered",
        halves,
        "se" if "se.fc1.weight" in block else "eca" if "se.conv.weight" in block else None,
    )
    return _published(found, ARCHITECTURES)


_RESNET_V2 = r"^(?:stages\.|conv)(\d+)(?:\.blocks\.|_block)(\d+)[._](.+)$"
_LAST = "conv3.weight", "3_conv.kernel", "conv2.weight"
_STEM_V2 = "stem.conv3.weight", "stem.conv.weight", "conv1_conv.kernel"


def resnet_v2(shapes: Shapes) -> ResNetV2Architecture:
    """By the first block, the stem and the width of each stage."""
    blocks = _blocks(shapes, _RESNET_V2)
    block = next(iter(blocks.values()))
    features = {stage: _first(each, _LAST) for (stage, _), each in blocks.items()}
    stem, deep = _first(shapes, _STEM_V2), "stem.conv1.weight" in shapes
    if stem is None or None in features.values():
        raise WeightsError("a ResNetV2 needs the convolution of its stem, and conv2 in each stage")
    group = "norm1.weight" in block and "norm1.running_mean" not in block
    found = ResNetV2Architecture(
        "bottleneck" if _first(block, _THIRD) else "basic",
        _depths(blocks),
        tuple(shape[0] for shape in features.values() if shape),
        stem[0],
        deep,
        "group" if group else "batch",
        group and not deep,
    )
    return _published(found, RESNETS_V2)


def _kernels(shapes: Shapes, size: int | None = None) -> list[tuple[int, ...]]:
    """The shapes of square kernels, all or of one size."""
    return [
        shape
        for shape in shapes.values()
        if len(shape) == 4 and shape[2] == shape[3] and size in (None, shape[2])
    ]


def convnext(shapes: Shapes) -> ConvNeXtArchitecture:
    """By its depthwise kernels."""
    count = collections.Counter(out for out, into, *_ in _kernels(shapes, 7) if into == 1)
    features = tuple(sorted(count))
    found = ConvNeXtArchitecture(tuple(count[each] for each in features), features)
    known = (each for each in CONVNEXTS.values() if each.depths == found.depths)
    return next((each for each in known if each.features == found.features), found)


_DENSE_LAYER = r"(?:denseblock|conv)(\d+)(?:\.denselayer|_block)(\d+)[._](.+)$"


def densenet(shapes: Shapes) -> DenseNetArchitecture:
    """By its first layer."""
    layers = _blocks(shapes, _DENSE_LAYER)
    layer = next(iter(layers.values()))
    wide = _first(layer, ("conv1.weight", "1_conv.kernel"))
    growth = _first(layer, ("conv2.weight", "2_conv.kernel"))
    if wide is None or growth is None:
        raise WeightsError("a DenseNet needs two convolutions in its first layer")
    found = DenseNetArchitecture(_depths(layers), growth[0], wide[0] // growth[0])
    return _published(found, DENSENETS)


def _squeezes(shapes: Shapes) -> int:
    """How many blocks have squeeze and excitation, by their first dense layers."""
    first = r"\.se\.conv_reduce|\.fc1|_se_reduce|\.attention\.0|_squeeze_excite_conv"
    pattern = rf"({first})\.(weight|kernel)$"
    return sum(bool(re.search(pattern, name)) for name in shapes)


def mobilenet(shapes: Shapes) -> MobileNetArchitecture:
    """By its depthwise kernels and how many blocks squeeze."""

    def signature(architecture: MobileNetArchitecture) -> Any:
        plans = [plan for plans in architecture.stages for plan in plans]
        count = collections.Counter((plan.expanded, plan.size) for plan in plans)
        return count, sum(plan.squeezed > 0 for plan in plans)

    depthwise = [shape for shape in _kernels(shapes) if shape[1] == 1 and shape[2] > 1]
    found = collections.Counter((out, size) for out, _, size, _ in depthwise), _squeezes(shapes)
    return _only(MOBILENETS, lambda each: signature(each) == found)


def regnet(shapes: Shapes) -> RegNetArchitecture:
    """By its grouped kernels, and whether blocks squeeze."""
    count = collections.Counter((out, into) for out, into, *_ in _kernels(shapes, 3))

    def fits(architecture: RegNetArchitecture) -> bool:
        wanted = collections.Counter(
            {(stage.features, stage.group): stage.depth for stage in architecture.stages}
        )
        stem = count - wanted
        return (
            not wanted - count
            and sum(stem.values()) == 1
            and (_squeezes(shapes) > 0) == (architecture.squeeze > 0)
        )

    return _only(REGNETS, fits)


def vgg(shapes: Shapes) -> VGGArchitecture:
    """By how many kernels have each width."""
    found = collections.Counter(out for out, *_ in _kernels(shapes, 3))

    def fits(architecture: VGGArchitecture) -> bool:
        count: collections.Counter[int] = collections.Counter()
        for depth, features in zip(architecture.depths, architecture.features, strict=True):
            count[features] += depth
        return count == found

    return _only(VGGS, fits)


def _only(table: Mapping[str, Any], fits: Callable[[Any], bool]) -> Any:
    for architecture in table.values():
        if fits(architecture):
            return architecture
    raise WeightsError(
        f"the shapes are of none of {', '.join(table)}; architecture= says which network it is"
    )


def _published(found: Any, table: Mapping[str, Any]) -> Any:
    """The same with the preprocessing of the published network, if it is one."""
    for architecture in table.values():
        if dataclasses.replace(architecture, preprocessing=found.preprocessing) == found:
            return architecture
    return found
