"""What torchvision and timm call the modules of the NNX networks.

Each function takes the pure state of a network, and gives a function of the names of its modules.
"""

import re


def timm_mobilenet(state):
    """``blocks.1.0.conv_dw`` and ``bn2``; a block that does not expand has one layer fewer."""
    stages, late = state["stages"], "hidden" in state["classifier"]
    head = ("blocks.{}.0.conv", "blocks.{}.0.bn1") if late else ("conv_head", "bn2")
    conv, norm = (name.format(len(stages)) for name in head)
    names = {
        "stem.conv": "conv_stem",
        "stem.bn": "bn1",
        "head.conv": conv,
        "head.bn": norm,
        "classifier.hidden": "conv_head",
        "classifier.fc": "classifier",
    }
    for stage, blocks in stages.items():
        for index, block in blocks.items():
            ours, theirs = f"stages.{stage}.{index}", f"blocks.{stage}.{index}"
            order = ("expand", "depthwise", "project")
            order = order if "expand" in block else order[1:]
            convs = ("pw", "dw", "pwl") if "expand" in block else ("dw", "pw")
            for number, (layer, conv) in enumerate(zip(order, convs, strict=True), 1):
                names[f"{ours}.{layer}.conv"] = f"{theirs}.conv_{conv}"
                names[f"{ours}.{layer}.bn"] = f"{theirs}.bn{number}"
            names[f"{ours}.squeeze_excite.fc1"] = f"{theirs}.se.conv_reduce"
            names[f"{ours}.squeeze_excite.fc2"] = f"{theirs}.se.conv_expand"
    return names.get


def timm_convnext(_):
    """``stages.1.downsample.0`` and ``stages.1.blocks.0.mlp.fc1``."""
    return replacing(
        (r"^stem\.conv", "stem.0"),
        (r"^stem\.norm", "stem.1"),
        (r"\.downsample\.norm", ".downsample.0"),
        (r"\.downsample\.conv", ".downsample.1"),
        (r"(\.blocks\.\d+\.)conv", r"\1conv_dw"),
        (r"(\.blocks\.\d+\.)fc", r"\1mlp.fc"),
        (r"^(norm|fc)", r"head.\1"),
    )


def torchvision_densenet(_):
    """``features.denseblock1.denselayer1.norm1``."""

    def rename(name):
        head, *rest = name.split(".")
        numbers = [int(part) + 1 for part in rest if part.isdigit()]
        if head == "denseblocks":
            head = "denseblock{}.denselayer{}".format(*numbers)
        elif head == "transitions":
            head = "transition{}".format(*numbers)
        names = [head, *(part for part in rest if not part.isdigit())]
        return ".".join(names if head == "classifier" else ["features", *names])

    return rename


def torchvision_vgg(state):
    """``features.0`` is a convolution, ``.1`` its norm, ``.2`` a ReLU; a pool has a number, too."""
    names = {f"classifier.fc{number}": f"classifier.{3 * (number - 1)}" for number in (1, 2, 3)}
    position = 0
    for stage, layers in state["stages"].items():
        for index in layers:
            names[f"stages.{stage}.{index}.conv"] = f"features.{position}"
            names[f"stages.{stage}.{index}.bn"] = f"features.{position + 1}"
            position += 3
        position += 1
    return names.get


def torchvision_regnet(_):
    """``trunk_output.block1.block1-0.f.a.0``."""

    def block(match):
        stage = f"block{int(match[1]) + 1}"
        return f"trunk_output.{stage}.{stage}-{match[2]}."

    return replacing(
        (r"^stages\.(\d+)\.(\d+)\.", block),
        (r"\.(a|b|c)\.", r".f.\1."),
        (r"\.squeeze_excite", ".f.se"),
        (r"\.conv$", ".0"),
        (r"\.bn$", ".1"),
    )


def replacing(*rules):
    """Each pattern replaced in turn."""

    def rename(name):
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    return rename
