"""Each scheme's names and shapes against those of the library's own networks."""

import dataclasses
import hashlib
import json

import pytest
from flax import nnx

import agreement
from network_case import steady
from resfuse import nnx as networks
from resfuse.weights.errors import WeightsError
from resfuse.weights.families import known_as, named, recognize
from resfuse.weights.schemes import SCHEMES, recognize_scheme, scheme_of, torch_shapes
from resfuse.weights.variables import by_path
from sampling import long_but

# The SHA-256, its first 12 digits, of the sorted JSON of names and shapes of ``state_dict()``
# without ``num_batches_tracked``, in torchvision 0.28.0, timm 1.0.31 and transformers 5.24.0; in
# Keras 3.15.1, of layers and weights, of which only the names of a ConvNeXt's scales are ours.
DIGESTS = {
    ("torchvision", "ResNet18"): "78751369115e",
    ("torchvision", "ResNet50"): "3ee6c80130e2",
    ("torchvision", "ResNeXt50_32x4d"): "0feb6590c3d4",
    ("torchvision", "WideResNet50_2"): "9b22a6f447d9",
    ("torchvision", "MobileNetV2"): "e52f94162299",
    ("torchvision", "MobileNetV3Large"): "2df3de647be3",
    ("torchvision", "MobileNetV3Small"): "ad4ca700d516",
    ("torchvision", "EfficientNetB0"): "7f3eaaefb7bd",
    ("torchvision", "EfficientNetB4"): "371e17ba6c56",
    ("torchvision", "ConvNeXtTiny"): "eeab576c3651",
    ("torchvision", "ConvNeXtBase"): "04b52fb23a70",
    ("torchvision", "DenseNet121"): "e3adcdbb253d",
    ("torchvision", "VGG16"): "9a6389529132",
    ("torchvision", "VGG11"): "af539f54f4b9",
    ("timm", "ResNet18"): "78751369115e",
    ("timm", "ResNet50"): "3ee6c80130e2",
    ("timm", "ResNet50D"): "9bc4768485ef",
    ("timm", "ECAResNet50T"): "470e407a10c0",
    ("timm", "ECAResNet50D"): "7cb8289ef8db",
    ("timm", "SEResNet50"): "1cebab111cd6",
    ("timm", "SEResNeXt50_32x4d"): "6f497b729746",
    ("timm", "ResNetV2_50"): "990e80c1d763",
    ("timm", "ResNetV2_50D"): "69c3884f9282",
    ("timm", "ResNetV2_50D_GN"): "df3792bcf603",
    ("timm", "ResNetV2_50x1_BiT"): "193736e8f12e",
    ("timm", "ResNetV2_18"): "1b88ce5c297b",
    ("timm", "MobileNetV2"): "2b5e44664d4d",
    ("timm", "MobileNetV3Large"): "48f888c824bf",
    ("timm", "MobileNetV3Small"): "2f22fee9a252",
    ("timm", "EfficientNetB0"): "4204551cf9e5",
    ("timm", "EfficientNetB4"): "c3b90fcbaaef",
    ("timm", "EfficientNetLite0"): "fe64542af129",
    ("timm", "EfficientNetLite4"): "c981f3713fc5",
    ("timm", "ConvNeXtTiny"): "3e2ba1aa2442",
    ("timm", "ConvNeXtBase"): "6cd0a881496c",
    ("timm", "DenseNet121"): "e3adcdbb253d",
    ("timm", "VGG16"): "a209813cdaf9",
    ("timm", "VGG11"): "16c0e3b02fb3",
    ("timm", "RegNetX3_2GF"): "da68f55bd6cb",
    ("timm", "RegNetX200MF"): "6d5bfcebc057",
    ("timm", "RegNetX600MF"): "adcf21e0b7b5",
    ("timm", "RegNetX4GF"): "792c23f87ace",
    ("timm", "RegNetX6_4GF"): "b51e974125a6",
    ("timm", "RegNetX12GF"): "c4010b096085",
    ("timm", "RegNetY200MF"): "5170f06ca50d",
    ("timm", "RegNetY600MF"): "d2089e0229c2",
    ("timm", "RegNetY4GF"): "50b5141d51c7",
    ("timm", "RegNetY6_4GF"): "6261ecfd3339",
    ("timm", "RegNetY12GF"): "b1bba2b92813",
    ("timm", "TimmRegNetX400MF"): "63fc246c9ba2",
    ("timm", "TimmRegNetY800MF"): "2862cb94d7ed",
    ("timm", "TimmRegNetY8GF"): "8e3d5c2afcf0",
    ("transformers", "ResNet50"): "61457657b6c4",
    ("transformers", "ResNet18"): "fc458645cb47",
    ("transformers", "ConvNeXtTiny"): "def52a026684",
    ("transformers", "RegNetX400MF"): "7fbbb69861b3",
    ("transformers", "RegNetY400MF"): "a6e08a09a21e",
    ("torchvision", "RegNetX400MF"): "97dc50add8e1",
    ("torchvision", "RegNetY8GF"): "42059c314f3d",
    ("keras", "MobileNetV2"): "8a54321907b2",
    ("keras", "MobileNetV3Large"): "fdfa3604ad74",
    ("keras", "MobileNetV3Small"): "5a171f3c965b",
    ("keras", "EfficientNetB0"): "826f9f11c066",
    ("keras", "EfficientNetB4"): "7889bd21637b",
    ("keras", "ConvNeXtTiny"): "9dcbf5b629da",
    ("keras", "ConvNeXtBase"): "eba4de059e08",
    ("keras", "DenseNet121"): "db22926fea8e",
    ("keras", "DenseNet201"): "c4dd3d1ee8de",
    ("keras", "ResNet50"): "ca25bdc24ea0",
    ("keras", "ResNet101"): "1f3dec950661",
    ("keras", "ResNetV2_50"): "4b241724a299",
    ("keras", "ResNetV2_101"): "7a8964664176",
}
QUICK = {
    ("torchvision", "ResNet18"),
    ("transformers", "ResNet18"),
    ("timm", "ECAResNet50T"),
    ("timm", "ResNetV2_18"),
    ("timm", "ResNetV2_50x1_BiT"),
    ("torchvision", "MobileNetV3Small"),
    ("timm", "MobileNetV3Small"),
    ("timm", "EfficientNetLite0"),
    ("torchvision", "ConvNeXtTiny"),
    ("timm", "ConvNeXtTiny"),
    ("transformers", "ConvNeXtTiny"),
    ("torchvision", "VGG11"),
    ("timm", "VGG11"),
    ("torchvision", "RegNetX400MF"),
    ("transformers", "RegNetY400MF"),
    ("timm", "TimmRegNetX400MF"),
    ("torchvision", "DenseNet121"),
    ("keras", "MobileNetV3Small"),
    ("keras", "EfficientNetB0"),
    ("keras", "ConvNeXtTiny"),
    ("keras", "ResNet50"),
    ("keras", "ResNetV2_50"),
}


def expected(library, name):
    """The names and shapes that we expect in the library's file of a published network.

    Keras has several schemes for one family of ours: that of the file is the one to be recognized.
    """
    family, architecture = named(name)
    found = [each for each in SCHEMES if (each.library, each.family) == (library, family)]
    shapes = [_expected(scheme, name, architecture) for scheme in found]
    return next(
        (each for each in shapes if digest(each) == DIGESTS.get((library, name))), shapes[0]
    )


def _expected(scheme, name, architecture):
    network = getattr(networks, scheme.family)
    steadied = dataclasses.replace(steady(architecture), **scheme.settings)
    model = nnx.eval_shape(lambda: network(steadied, rngs=agreement.same_key()))
    leaves = by_path(nnx.to_pure_dict(nnx.state(model)))
    places = scheme.places({path: leaf.shape for path, leaf in leaves.items()})
    prefix = ""
    if (scheme.library, scheme.family) == ("keras", "ConvNeXt"):
        prefix = name.lower().replace("convnext", "convnext_") + "_"
    return {prefix + place.name: place.shape for place in places.values()}


def digest(shapes):
    return hashlib.sha256(json.dumps(sorted(shapes.items())).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("library", "name"),
    long_but(QUICK, DIGESTS),
)
def test_names_shapes_and_architecture_are_the_librarys(library, name):
    shapes = expected(library, name)
    assert digest(shapes) == DIGESTS[library, name]
    family, architecture = named(name)
    scheme = recognize_scheme(shapes)
    assert (scheme.library in (library, "torchvision"), scheme.family) == (True, family)
    found = recognize(family, lambda: torch_shapes(scheme, shapes))
    assert known_as(family, found) == name
    assert found == architecture


def test_a_custom_resnet_is_found():
    shapes = expected("torchvision", "ResNet18")
    first = {name: shape for name, shape in shapes.items() if name.startswith("layer1.1.")}
    third = {name.replace("layer1.1.", "layer1.2."): shape for name, shape in first.items()}
    assert recognize("ResNet", lambda: shapes | third).depths == (3, 2, 2, 2)


def test_unknown_names_and_shapes_are_errors():
    with pytest.raises(WeightsError, match="no scheme that we know has names such as these: a, b"):
        recognize_scheme({"b": (1,), "a": (1,)})
    with pytest.raises(WeightsError, match="of no VGG"):
        recognize("VGG", lambda: {"features.0.weight": (64, 3, 3, 3)})
    with pytest.raises(WeightsError, match="of no ResNet"):
        recognize("ResNet", lambda: {"layer1.0.conv1.weight": (64, 64, 3, 3)})
    with pytest.raises(WeightsError, match="'ResNet49'"):
        named("ResNet49")
    with pytest.raises(WeightsError, match="must be one of timm for a ResNetV2"):
        scheme_of("torchvision", "ResNetV2")
