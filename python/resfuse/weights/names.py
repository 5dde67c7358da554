"""What each library calls the modules of our networks.

A function takes the paths of all variables of a network, and gives the library's name of a module.
torchvision and timm count what is in a ``Sequential``, activations included, so that a name can
depend on what comes before.
"""

import re
from collections.abc import Iterable

from resfuse.weights.scheme import Rename, renaming

__all__ = [
    "efficientnet_pytorch",
    "keras_densenet",
    "keras_mobilenet_v2",
    "timm_convnext",
    "timm_mobilenet",
    "timm_regnet",
    "timm_vgg",
    "torchvision_convnext",
    "torchvision_densenet",
    "torchvision_mobilenet",
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


def _blocks(paths: Iterable[str]) -> dict[tuple[int, int], set[str]]:
    """For the stage and number of each block of ``stages``, its children, in order."""
    found: dict[tuple[int, int], set[str]] = {}
    for path in paths:
        head, *rest = path.split(".")
        if head == "stages":
            found.setdefault((int(rest[0]), int(rest[1])), set()).add(rest[2])
    return dict(sorted(found.items()))


def _look_up(names: dict[str, str]) -> Rename:
    return lambda name: names.get(name, name)


def _conv_norms(names: dict[str, str], ours: str, theirs: str) -> None:
    """A convolution and its norm, in torchvision's ``Conv2dNormActivation``."""
    names[f"{ours}.conv"], names[f"{ours}.bn"] = f"{theirs}.0", f"{theirs}.1"


def timm_mobilenet(paths: Iterable[str]) -> Rename:
    """``blocks.1.0.conv_dw`` and ``bn2``; a block that does not expand has one layer fewer."""
    paths = list(paths)
    names = {"stem.conv": "conv_stem", "stem.bn": "bn1", "classifier.fc": "classifier"}
    blocks = _blocks(paths)
    for (stage, index), children in blocks.items():
        ours, theirs = f"stages.{stage}.{index}", f"blocks.{stage}.{index}"
        wide = "expand" in children
        order = ("expand", "depthwise", "project") if wide else ("depthwise", "project")
        convs = ("pw", "dw", "pwl") if wide else ("dw", "pw")
        for number, (layer, conv) in enumerate(zip(order, convs, strict=True), 1):
            names[f"{ours}.{layer}.conv"] = f"{theirs}.conv_{conv}"
            names[f"{ours}.{layer}.bn"] = f"{theirs}.bn{number}"
        names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}.se.conv_reduce"
        names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}.se.conv_expand"
    late, last = _has_hidden(paths), 1 + max(stage for stage, _ in blocks)
    names["head.conv"] = f"blocks.{last}.0.conv" if late else "conv_head"
    names["head.bn"] = f"blocks.{last}.0.bn1" if late else "bn2"
    names["classifier.hidden"] = "conv_head"
    return _look_up(names)


def _has_hidden(paths: Iterable[str]) -> bool:
    return any(path.startswith("classifier.hidden.") for path in paths)


def torchvision_mobilenet(paths: Iterable[str]) -> Rename:
    """MobileNetV3 has a hidden layer, EfficientNet squeeze and excitation, MobileNetV2 neither."""
    paths = list(paths)
    if _has_hidden(paths):
        return _mobilenet_v3(paths)
    return (_efficientnet if any(".squeeze_excite." in path for path in paths) else _mobilenet_v2)(
        paths
    )


def _mobilenet_v2(paths: Iterable[str]) -> Rename:
    """``features.2.conv.0.0``; the last convolution of a block has no activation, and no box."""
    blocks = _blocks(paths)
    names = {"classifier.fc": "classifier.1"}
    _conv_norms(names, "stem", "features.0")
    _conv_norms(names, "head", f"features.{len(blocks) + 1}")
    for position, ((stage, index), children) in enumerate(blocks.items(), 1):
        ours, theirs = f"stages.{stage}.{index}", f"features.{position}.conv"
        order = [layer for layer in ("expand", "depthwise") if layer in children]
        for number, layer in enumerate(order):
            _conv_norms(names, f"{ours}.{layer}", f"{theirs}.{number}")
        names[f"{ours}.project.conv"] = f"{theirs}.{len(order)}"
        names[f"{ours}.project.bn"] = f"{theirs}.{len(order) + 1}"
    return _look_up(names)


def _mobilenet_v3(paths: Iterable[str]) -> Rename:
    """``features.2.block.0.0``, and two dense layers at the end."""
    blocks = _blocks(paths)
    names = {"classifier.hidden": "classifier.0", "classifier.fc": "classifier.3"}
    _conv_norms(names, "stem", "features.0")
    _conv_norms(names, "head", f"features.{len(blocks) + 1}")
    for position, (block, children) in enumerate(blocks.items(), 1):
        _inverted_residual(names, block, children, f"features.{position}.block")
    return _look_up(names)


def _efficientnet(paths: Iterable[str]) -> Rename:
    """``features.1.0.block.0.0``."""
    blocks = _blocks(paths)
    names = {"classifier.fc": "classifier.1"}
    _conv_norms(names, "stem", "features.0")
    _conv_norms(names, "head", f"features.{2 + max(stage for stage, _ in blocks)}")
    for (stage, index), children in blocks.items():
        theirs = f"features.{stage + 1}.{index}.block"
        _inverted_residual(names, (stage, index), children, theirs)
    return _look_up(names)


def _inverted_residual(
    names: dict[str, str], block: tuple[int, int], children: set[str], theirs: str
) -> None:
    ours = f"stages.{block[0]}.{block[1]}"
    order = ("expand", "depthwise", "squeeze_excite", "project")
    for number, layer in enumerate(layer for layer in order if layer in children):
        _conv_norms(names, f"{ours}.{layer}", f"{theirs}.{number}")
        for dense in ("fc1", "fc2"):
            names[f"{ours}.{layer}.{dense}"] = f"{theirs}.{number}.{dense}"


def efficientnet_pytorch(paths: Iterable[str]) -> Rename:
    """``_blocks.3._depthwise_conv``, of lukemelas' package, which ports TensorFlow's weights."""
    names = {"stem.conv": "_conv_stem", "stem.bn": "_bn0", "classifier.fc": "_fc"}
    names |= {"head.conv": "_conv_head", "head.bn": "_bn1"}
    layers = ("expand", "_expand_conv", "_bn0"), ("depthwise", "_depthwise_conv", "_bn1")
    for position, (stage, index) in enumerate(_blocks(paths)):
        ours, theirs = f"stages.{stage}.{index}", f"_blocks.{position}"
        for layer, conv, norm in (*layers, ("project", "_project_conv", "_bn2")):
            names[f"{ours}.{layer}.conv"] = f"{theirs}.{conv}"
            names[f"{ours}.{layer}.bn"] = f"{theirs}.{norm}"
        names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}._se_reduce"
        names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}._se_expand"
    return _look_up(names)


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
    for position, (stage, index) in enumerate(_blocks(paths)):
        names[f"stages.{stage}.{index}.conv"] = f"features.{3 * position + stage}"
        names[f"stages.{stage}.{index}.bn"] = f"features.{3 * position + stage + 1}"
    return _look_up(names)


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


def keras_mobilenet_v2(paths: Iterable[str]) -> Rename:
    """``block_1_depthwise`` and ``block_1_depthwise_BN``; the first block has a name of its own."""
    names = {"stem.conv": "Conv1", "stem.bn": "bn_Conv1", "classifier.fc": "predictions"}
    names |= {"head.conv": "Conv_1", "head.bn": "Conv_1_bn"}
    for position, (stage, index) in enumerate(_blocks(paths)):
        theirs = f"block_{position}" if position else "expanded_conv"
        for layer in ("expand", "depthwise", "project"):
            names[f"stages.{stage}.{index}.{layer}.conv"] = f"{theirs}_{layer}"
            names[f"stages.{stage}.{index}.{layer}.bn"] = f"{theirs}_{layer}_BN"
    return _look_up(names)


def keras_densenet(_: Iterable[str]) -> Rename:
    """``conv2_block1_0_bn``, and ``pool2_conv`` after it: the stem is number 1."""

    def layer(match: re.Match[str]) -> str:
        kind, number = match[3], int(match[4])
        last = f"{number - 1}_bn" if kind == "norm" else f"{number}_conv"
        return f"conv{int(match[1]) + 2}_block{int(match[2]) + 1}_{last}"

    def transition(match: re.Match[str]) -> str:
        return f"pool{int(match[1]) + 2}_{'bn' if match[2] == 'norm' else 'conv'}"

    return renaming(
        (r"^denseblocks\.(\d+)\.(\d+)\.(norm|conv)(\d)$", layer),
        (r"^transitions\.(\d+)\.(norm|conv)$", transition),
        (r"^conv0$", "conv1_conv"),
        (r"^norm0$", "conv1_bn"),
        (r"^norm5$", "bn"),
        (r"^classifier$", "predictions"),
    )
