"""Whole networks that answer images, beside the engines that people use instead."""

from comparison import app
from models import Model
from options import ENGINES, Comparison
from resfuse.cli.bench.results import Task

_IMAGENET = ("ResNet18", "ResNet34", "ResNet50", "ResNeXt50_32x4d", "WideResNet50_2")
_TORCHVISION = {
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": "mobilenet_v3_large",
    "EfficientNetB0": "efficientnet_b0",
    "ConvNeXtTiny": "convnext_tiny",
    "DenseNet121": "densenet121",
    "VGG16": "vgg16_bn",
}

COMPARISON = Comparison(
    # float32 in another order stays far below this tolerance.
    Task("inference", "call", "logits", calls=1, tolerance=1e-3, at_least=0.2),
    models={
        **{name: Model(f"linen.{name}", 224) for name in _IMAGENET},
        **{
            name: Model(f"nnx.{name}", 224, torchvision=theirs)
            for name, theirs in _TORCHVISION.items()
        },
        "UNet": Model("unet.UNet", 224, batches=(1, 8), num_classes=2),
        "ResNet18_CIFAR": Model(
            "linen.ResNet18", 32, num_classes=10, settings={"cifar_stem": True}
        ),
    },
    engines=tuple(ENGINES),
)

if __name__ == "__main__":
    app(COMPARISON, __doc__)()
