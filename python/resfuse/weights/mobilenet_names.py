"""What each library calls the modules of MobileNets and EfficientNets.

Functions are as in ``names``; timm counts the layers of a block from 1, torchvision from 0.
"""

from collections.abc import Iterable

from resfuse.weights.scheme import Rename, blocks, look_up

__all__ = ["efficientnet_pytorch", "timm_mobilenet", "torchvision_mobilenet"]


def _conv_norms(names: dict[str, str], ours: str, theirs: str) -> None:
    """A convolution and its norm, in torchvision's ``Conv2dNormActivation``."""
    names[f"{ours}.conv"], names[f"{ours}.bn"] = f"{theirs}.0", f"{theirs}.1"


def timm_mobilenet(paths: Iterable[str]) -> Rename:
    """``blocks.1.0.conv_dw`` and ``bn2``; a block that does not expand has one layer fewer."""
    paths = list(paths)
    names = {"stem.conv": "conv_stem", "stem.bn": "bn1", "classifier.fc": "classifier"}
    found = blocks(paths)
    for (stage, index), children in found.items():
        ours, theirs = f"stages.{stage}.{index}", f"blocks.{stage}.{index}"
        wide = "expand" in children
        order = ("expand", "depthwise", "project") if wide else ("depthwise", "project")
        convs = ("pw", "dw", "pwl") if wide else ("dw", "pw")
        for number, (layer, conv) in enumerate(zip(order, convs, strict=True), 1):
            names[f"{ours}.{layer}.conv"] = f"{theirs}.conv_{conv}"
            names[f"{ours}.{layer}.bn"] = f"{theirs}.bn{number}"
        names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}.se.conv_reduce"
        names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}.se.conv_expand"
    late, last = _has_hidden(paths), 1 + max(stage for stage, _ in found)
    names["head.conv"] = f"blocks.{last}.0.conv" if late else "conv_head"
    names["head.bn"] = f"blocks.{last}.0.bn1" if late else "bn2"
    names["classifier.hidden"] = "conv_head"
    return look_up(names)


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
    found = blocks(paths)
    names = {"classifier.fc": "classifier.1"}
    _conv_norms(names, "stem", "features.0")
    _conv_norms(names, "head", f"features.{len(found) + 1}")
    for position, ((stage, index), children) in enumerate(found.items(), 1):
        ours, theirs = f"stages.{stage}.{index}", f"features.{position}.conv"
        order = [layer for layer in ("expand", "depthwise") if layer in children]
        for number, layer in enumerate(order):
            _conv_norms(names, f"{ours}.{layer}", f"{theirs}.{number}")
        names[f"{ours}.project.conv"] = f"{theirs}.{len(order)}"
        names[f"{ours}.project.bn"] = f"{theirs}.{len(order) + 1}"
    return look_up(names)


def _mobilenet_v3(paths: Iterable[str]) -> Rename:
    """``features.2.block.0.0``, and two dense layers at the end."""
    found = blocks(paths)
    names = {"classifier.hidden": "classifier.0", "classifier.fc": "classifier.3"}
    _conv_norms(names, "stem", "features.0")
    _conv_norms(names, "head", f"features.{len(found) + 1}")
    for position, (block, children) in enumerate(found.items(), 1):
        _inverted_residual(names, block, children, f"features.{position}.block")
    return look_up(names)


def _efficientnet(paths: Iterable[str]) -> Rename:
    """``features.1.0.block.0.0``."""
    found = blocks(paths)
    names = {"classifier.fc": "classifier.1"}
    _conv_norms(names, "stem", "features.0")
    _conv_norms(names, "head", f"features.{2 + max(stage for stage, _ in found)}")
    for (stage, index), children in found.items():
        theirs = f"features.{stage + 1}.{index}.block"
        _inverted_residual(names, (stage, index), children, theirs)
    return look_up(names)


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
    for position, (stage, index) in enumerate(blocks(paths)):
        ours, theirs = f"stages.{stage}.{index}", f"_blocks.{position}"
        for layer, conv, norm in (*layers, ("project", "_project_conv", "_bn2")):
            names[f"{ours}.{layer}.conv"] = f"{theirs}.{conv}"
            names[f"{ours}.{layer}.bn"] = f"{theirs}.{norm}"
        names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}._se_reduce"
        names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}._se_expand"
    return look_up(names)
