"""DispNet: the disparity network of SfMLearner, an encoder-decoder with four outputs."""
from tfdepth.networks.convolutions import Convolution
from tfdepth.networks.unet import DisparityNet

ENCODER = ((32, 7), (64, 5), (128, 3), (256, 3), (512, 3), (512, 3), (512, 3))  # channels, kernel
DECODER = (16, 32, 64, 128, 256, 512, 512)                                      # channels, level 1-7


class DispNet(DisparityNet):
    """Image -> disparities of the levels 0 to 3, see `DisparityNet`; H and W multiples of 16.

    Layers carry the names of the published checkpoint (cnv1 ... disp1). As published it has
    31 596 900 parameters.

    Source: Zhou et al., CVPR 2017, section 3.4; Mayer et al., CVPR 2016.
    """
    size_multiple = 16

    def __init__(self, min_disparity=0.01, normalization="none", initializer="glorot_uniform",
                 initial_disparity=0.0, upsampling="transposed", momentum=0.99):
        """Args: min_disparity, initial_disparity: as for `DisparityNet`. normalization: "none" or
        "batch", with momentum, see `Convolution`. initializer: of the kernels before a ReLU.
        upsampling: see `UpPath.add_up_path`."""
        super().__init__(min_disparity, initial_disparity)
        block = dict(activation="relu", normalization=normalization, initializer=initializer,
                     momentum=momentum)
        self.encoder = []                                                  # (cnv, cnvb) a level
        for level, (channels, kernel) in enumerate(ENCODER, start=1):
            self.encoder.append((
                Convolution(f"cnv{level}", channels, kernel, stride=2, **block),
                Convolution(f"cnv{level}b", channels, kernel, **block)))
        self.add_up_path(DECODER, self.head(), upsampling, block)

    def encode(self, image, training):
        encoded = []
        for cnv, cnvb in self.encoder:
            image = cnvb(cnv(image, training=training), training=training)
            encoded.append(image)
        return tuple(encoded)
