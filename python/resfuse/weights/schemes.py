"""The schemes that we know, as a table."""

from collections.abc import Collection, Mapping

from resfuse.models import convention
from resfuse.weights import efficientnet_pictures, mobilenet_names, names
from resfuse.weights.errors import WeightsError
from resfuse.weights.flax_schemes import FLAX_SCHEMES
from resfuse.weights.keras_schemes import KERAS_SCHEMES
from resfuse.weights.scheme import FLAX, TORCH, Rules, Scheme

__all__ = ["SCHEMES", "recognize_scheme", "scheme_of", "torch_shapes"]

_DENSE_AS_CONV = (1, 1)
_DENSE_NORM: Rules = ((r"(\.denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2"),)  # before 0.3
# timm's blur and average where the others stride, without arrays; torchvision has none of them.
_ANTI_ALIASED = ((r"^(se)?res(net|next)(aa|blur)", None),)
# A file's scheme is the first that has one of its keys.
SCHEMES = (
    Scheme(
        "transformers",
        "ResNet",
        names.transformers_resnet,
        ("resnet.embedder.embedder.convolution.weight",),
    ),
    Scheme(
        "timm",
        "ResNet",
        names.unchanged,
        ("conv1.0.weight", "layer1.0.se.fc1.weight", "layer1.0.se.conv.weight"),
        variants=_ANTI_ALIASED,
    ),
    Scheme(
        "torchvision",
        "ResNet",
        names.unchanged,
        ("layer1.0.conv1.weight",),
        variants=_ANTI_ALIASED,
    ),
    Scheme(
        "timm",
        "ResNetV2",
        names.unchanged,
        ("stages.0.blocks.0.norm1.weight",),
        tails=((r"^head\.fc\.kernel", _DENSE_AS_CONV),),
    ),
    Scheme(
        "transformers",
        "ConvNeXt",
        names.transformers_convnext,
        ("convnext.embeddings.patch_embeddings.weight",),
        {"gamma": "layer_scale_parameter"},
        settings={"last_epsilon": 1e-12},
    ),
    Scheme(
        "timm",
        "ConvNeXt",
        names.timm_convnext,
        ("stages.0.blocks.0.conv_dw.weight",),
        variants=(
            (r"^convnext_xxlarge", {"epsilon": 1e-5, "last_epsilon": 1e-5}),
            (r"^test_convnext", None),
        ),
    ),
    Scheme(
        "torchvision",
        "ConvNeXt",
        names.torchvision_convnext,
        ("features.1.0.layer_scale",),
        {"gamma": "layer_scale"},
        ((r"\.gamma$", (1, 1)),),
    ),
    Scheme(
        "transformers",
        "RegNet",
        names.transformers_regnet,
        ("regnet.embedder.embedder.convolution.weight",),
    ),
    Scheme("timm", "RegNet", names.timm_regnet, ("s1.b1.conv1.conv.weight",)),
    Scheme(
        "torchvision",
        "RegNet",
        names.torchvision_regnet,
        ("trunk_output.block1.block1-0.f.a.0.weight",),
    ),
    Scheme(
        "timm",
        "MobileNet",
        mobilenet_names.timm_mobilenet,
        ("conv_stem.weight",),
        settings={"convention": convention.TORCH},  # of MobileNetV3, too
        variants=((r"^tf_", {"convention": convention.TENSORFLOW}),),
        centred=r"^tf_(mobilenetv3|efficientnet_(lite|b\d[._]ap))",
        tails=((r"^classifier\.hidden\.kernel", _DENSE_AS_CONV),),
    ),
    Scheme(
        "torchvision",
        "MobileNet",
        mobilenet_names.torchvision_mobilenet,
        (
            "features.1.conv.0.0.weight",
            "features.1.block.0.0.weight",
            "features.1.0.block.0.0.weight",
        ),
    ),
    Scheme(
        "efficientnet_pytorch",
        "MobileNet",
        mobilenet_names.efficientnet_pytorch,
        ("_conv_stem.weight",),
        settings={"convention": convention.TENSORFLOW},
        preprocessing=efficientnet_pictures.efficientnet_pytorch,
        centred=r"^adv-",  # its AdvProp weights
    ),
    Scheme(
        "torchvision",
        "DenseNet",
        names.torchvision_densenet,
        (
            "features.denseblock1.denselayer1.norm1.weight",
            "features.denseblock1.denselayer1.norm.1.weight",
        ),
        aliases=_DENSE_NORM,
    ),
    Scheme("timm", "DenseNet", names.torchvision_densenet, ()),
    Scheme(
        "timm",
        "VGG",
        names.timm_vgg,
        ("pre_logits.fc1.weight",),
        tails=(
            (r"^classifier\.fc1\.kernel", (7, 7)),
            (r"^classifier\.fc2\.kernel", _DENSE_AS_CONV),
        ),
    ),
    Scheme("torchvision", "VGG", names.torchvision_vgg, ("features.1.running_mean",)),
    *KERAS_SCHEMES,
    *FLAX_SCHEMES,
)


def recognize_scheme(found: Collection[str]) -> Scheme:
    """The scheme of a file with arrays of these names.

    Raises:
        WeightsError: If it is none that we know.
    """
    for scheme in SCHEMES:
        if any(key in found for key in scheme.keys):
            return scheme
    first = ", ".join(sorted(found)[:5])
    raise WeightsError(f"no scheme that we know has names such as these: {first}")


def scheme_of(library: str, family: str) -> Scheme:
    """A library's scheme for a family of networks; Keras has several, and its are only read.

    Raises:
        WeightsError: If we know none; it says which we know.
    """
    schemes = {
        scheme.library: scheme
        for scheme in SCHEMES
        if scheme.family == family and scheme.layout is TORCH
    }
    if library not in schemes:
        known = ", ".join(sorted(schemes)) or "none"
        raise WeightsError(f"scheme must be one of {known} for a {family}, got {library!r}")
    return schemes[library]


def torch_shapes(
    scheme: Scheme, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Those of a file's arrays as torch would have them; our own names become timm's."""
    if scheme.layout is FLAX:
        places = scheme_of("timm", scheme.family).places(shapes).values()
        return {place.name: place.shape for place in places}
    return {name: scheme.layout.torch_shape(name, shape) for name, shape in shapes.items()}
