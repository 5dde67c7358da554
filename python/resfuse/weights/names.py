"""What each library calls the modules of our networks.

A function takes the paths of all variables of a network, and gives the library's name of a module.
torchvision and timm count what is in a ``Sequential``, activations included, so that a name can
depend on what comes before.
"""

import re
from collections.abc import Iterable

from resfuse.weights.scheme import Rename, blocks, look_up, renaming

__all__ = [
    "timm_convnext",
    "timm_regnet",
    "timm_vgg",
    "torchvision_convnext",
    "torchvision_densenet",
    "torchvision_regnet",
    "torchvision_vgg",
    "transformers_convnext",
    "transformers_regnet",
    "transformers_resnet",
    "unchanged",
]


def unchanged(_: Iterable[str]) -> Rename:
    """Ours are torchvision's ResNet and timm's ResNetV2."""
    return lambda name: name


def transformers_resnet(paths: Iterable[str]) -> Rename:
    """``resnet.encoder.stages.0.layers.0.layer.0.convolution``; a bare model has no ``resnet``."""
    del paths

    def block(match: re.Match[str]) -> str:
        stage, index, kind, number = match.groups()
        layer = {"conv": "convolution", "bn": "normalization"}[kind]
        return (
            f"resnet.encoder.stages.{int(stage) - 1}.layers.{index}.layer.{int(number) - 1}.{layer}"
        )

    def skip(match: re.Match[str]) -> str:
        stage, index, number = match.groups()
        layer = ("convolution", "normalization")[int(number)]
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{index}.shortcut.{layer}"

    return renaming(
        (r"^layer(\d+)\.(\d+)\.(conv|bn)(\d)$", block),
        (r"^layer(\d+)\.(\d+)\.downsample\.(\d)$", skip),
        (r"^conv1$", "resnet.embedder.embedder.convolution"),
        (r"^bn1$", "resnet.embedder.embedder.normalization"),
        (r"^fc$", "classifier.1"),
    )


def timm_convnext(_: Iterable[str]) -> Rename:
    """``stages.1.downsample.0`` and ``stages.1.blocks.0.mlp.fc1``."""
    return renaming(
        (r"^stem\.conv", "stem.0"),
        (r"^stem\.norm", "stem.1"),
        (r"\.downsample\.norm", ".downsample.0"),
        (r"\.downsample\.conv", ".downsample.1"),
        (r"(\.blocks\.\d+\.)conv", r"\1conv_dw"),
        (r"(\.blocks\.\d+\.)fc", r"\1mlp.fc"),
        (r"^(norm|fc)", r"head.\1"),
    )


def torchvision_convnext(_: Iterable[str]) -> Rename:
    """``features.1.0.block.0``: stages have odd numbers, what comes before each an even one."""

    def block(match: re.Match[str]) -> str:
        return f"features.{2 * int(match[1]) + 1}.{match[2]}"

    def downsample(match: re.Match[str]) -> str:
        return f"features.{2 * int(match[1])}.{('norm', 'conv').index(match[2])}"

    return renaming(
        (r"^stem\.conv", "features.0.0"),
        (r"^stem\.norm", "features.0.1"),
        (r"^norm", "classifier.0"),
        (r"^fc", "classifier.2"),
        (r"^stages\.(\d+)\.downsample\.(norm|conv)", downsample),
        (r"^stages\.(\d+)\.blocks\.(\d+)", block),
        (r"\.conv$", ".block.0"),
        (r"\.norm$", ".block.2"),
        (r"\.fc1$", ".block.3"),
        (r"\.fc2$", ".block.5"),
    )


def transformers_convnext(_: Iterable[str]) -> Rename:
    """``convnext.encoder.stages.0.layers.0.dwconv``."""
    return renaming(
        (r"^stem\.conv", "convnext.embeddings.patch_embeddings"),
        (r"^stem\.norm", "convnext.embeddings.layernorm"),
        (r"^norm", "convnext.layernorm"),
        (r"^fc", "classifier"),
        (r"^stages\.", "convnext.encoder.stages."),
        (r"\.downsample\.norm", ".downsampling_layer.0"),
        (r"\.downsample\.conv", ".downsampling_layer.1"),
        (r"\.blocks\.(\d+)\.?", r".layers.\1."),
        (r"(\.layers\.\d+)\.$", r"\1"),
        (r"(\.layers\.\d+)\.conv", r"\1.dwconv"),
        (r"(\.layers\.\d+)\.norm", r"\1.layernorm"),
        (r"(\.layers\.\d+)\.fc", r"\1.pwconv"),
    )


def torchvision_densenet(_: Iterable[str]) -> Rename:
    """``features.denseblock1.denselayer1.norm1``."""

    def layer(match: re.Match[str]) -> str:
        return f"features.denseblock{int(match[1]) + 1}.denselayer{int(match[2]) + 1}"

    def transition(match: re.Match[str]) -> str:
        return f"features.transition{int(match[1]) + 1}"

    return renaming(
        (r"^denseblocks\.(\d+)\.(\d+)", layer),
        (r"^transitions\.(\d+)", transition),
        (r"^(conv0|norm0|norm5)", r"features.\1"),
    )


def torchvision_vgg(paths: Iterable[str]) -> Rename:
    """``features.0`` is a convolution, ``.1`` its norm, ``.2`` a ReLU; a pool has a number, too."""
    names = {f"classifier.fc{number}": f"classifier.{3 * (number - 1)}" for number in (1, 2, 3)}
    for position, (stage, index) in enumerate(blocks(paths)):
        names[f"stages.{stage}.{index}.conv"] = f"features.{3 * position + stage}"
        names[f"stages.{stage}.{index}.bn"] = f"features.{3 * position + stage + 1}"
    return look_up(names)


def timm_vgg(paths: Iterable[str]) -> Rename:
    """torchvision's, and ``pre_logits.fc1`` and ``head.fc``."""
    features = torchvision_vgg(paths)
    names = {"classifier.fc3": "head.fc"}
    names |= {f"classifier.fc{number}": f"pre_logits.fc{number}" for number in (1, 2)}
    return lambda name: names.get(name) or features(name)


def torchvision_regnet(_: Iterable[str]) -> Rename:
    """``trunk_output.block1.block1-0.f.a.0``."""

    def block(match: re.Match[str]) -> str:
        stage = f"block{int(match[1]) + 1}"
        return f"trunk_output.{stage}.{stage}-{match[2]}."

    return renaming(
        (r"^stages\.(\d+)\.(\d+)\.", block),
        (r"\.(a|b|c)\.", r".f.\1."),
        (r"\.squeeze_excite", ".f.se"),
        (r"\.conv$", ".0"),
        (r"\.bn$", ".1"),
    )


def timm_regnet(_: Iterable[str]) -> Rename:
    """``s1.b1.conv1.conv``."""

    def block(match: re.Match[str]) -> str:
        return f"s{int(match[1]) + 1}.b{int(match[2]) + 1}."

    def conv(match: re.Match[str]) -> str:
        return f".conv{'abc'.index(match[1]) + 1}."

    return renaming(
        (r"^stages\.(\d+)\.(\d+)\.", block),
        (r"\.(a|b|c)\.", conv),
        (r"\.squeeze_excite\.", ".se."),
        (r"\.proj\.", ".downsample."),
        (r"^fc$", "head.fc"),
    )


def transformers_regnet(paths: Iterable[str]) -> Rename:
    """``regnet.encoder.stages.0.layers.0.layer.0.convolution``; squeeze and excitation counts."""
    squeezes = any(".squeeze_excite." in path for path in paths)
    order = {"a": 0, "b": 1, "c": 3 if squeezes else 2}
    return renaming(
        (r"^stem\.", "regnet.embedder.embedder."),
        (r"^fc$", "classifier.1"),
        (r"^stages\.(\d+)\.(\d+)\.", r"regnet.encoder.stages.\1.layers.\2."),
        (r"\.(a|b|c)\.", lambda match: f".layer.{order[match[1]]}."),
        (r"\.squeeze_excite\.fc1", ".layer.2.attention.0"),
        (r"\.squeeze_excite\.fc2", ".layer.2.attention.2"),
        (r"\.proj\.", ".shortcut."),
        (r"\.conv$", ".convolution"),
        (r"\.bn$", ".normalization"),
    )
