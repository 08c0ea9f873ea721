"""How others name and shape the weights of a ConvNeXt, V1 or V2, and which of these formats a checkpoint has.

A format is a list of replacements that turn a key of ours into theirs. This serves both directions: what our backbone
needs is looked up under their names. What FCMAE has beside the backbone has the same names everywhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmcnv2.utils.errors import InputError

BACKBONE = 'backbone.'  # before the keys of the backbone in a whole model of ours
CONV_MLP_BELOW = 96  # channels of the stem: timm has 1x1 convolutions in atto to nano, linear layers from tiny on


@dataclass(frozen=True)
class WeightFormat:
    """A way to write the weights of a backbone.

    Attributes:
        name: What the log and the converter call it.
        prefixes: Possible prefixes of the backbone's keys; the first is that of a whole model.
        renames: (pattern, replacement) pairs for ``re.sub``, applied to a key of ours in turn.
        classifier: Names of the norm after the pooling and of the last linear layer of a classifier.
        networks: The networks that it knows; ConvNeXt has layer scale, ConvNeXtV2 GRN.
        grn_rows: Whether GRN's parameters are (1, 1, 1, C) instead of (C,).
        scale_maps: Whether the layer scale of ConvNeXt is (C, 1, 1) instead of (C,).
        output_norms: Whether models of this format can have a norm for the map of each stage, like ours.
        conv_mlp: Whether linear layers of small networks are 1x1 convolutions.
        sparse: Whether all convolutions but the stem are MinkowskiEngine's, kernels (k*k, C) or (k*k, in, out) whose
            positions go down the columns (y runs first), biases (1, C), and GRN is (1, C).
        fcmae: Whether the weights may be those of a whole FCMAE: projection, mask token, decoder and prediction.
    """

    name: str
    prefixes: tuple[str, ...]
    renames: tuple[tuple[str, str], ...] = ()
    classifier: tuple[str, str] | None = None
    networks: tuple[str, ...] = ('ConvNeXtV2', 'ConvNeXt')
    grn_rows: bool = False
    scale_maps: bool = False
    output_norms: bool = False
    conv_mlp: bool = False
    sparse: bool = False
    fcmae: bool = False

    def key(self, own: str) -> str:
        """Return their key, without prefix, for a key of ours."""
        for pattern, replacement in self.renames:
            own = re.sub(pattern, replacement, own)
        return own

    def whole_key(self, own: str, prefix: str) -> str:
        """Return their key for a key of a whole model of ours; ``prefix`` precedes the keys of their backbone."""
        return prefix + self.key(own.removeprefix(BACKBONE)) if own.startswith(BACKBONE) else own

    def read(self, theirs: Tensor, own: Tensor) -> Tensor | None:
        """Return a tensor of theirs in the shape of ``own``, None if it does not fit.

        Extra dimensions of size 1 are dropped or added (GRN as (1, 1, 1, C), linear layers as 1x1 convolutions).
        A stem may have another number of input channels.
        """
        if self.sparse and own.ndim == 4 and theirs.ndim < 4:
            k = own.shape[-1]
            if theirs.shape[0] != k * k:
                return None
            if theirs.ndim == 2:  # depthwise, (k*k, C)
                theirs = theirs.unsqueeze(1)
            theirs = theirs.permute(2, 1, 0).unflatten(2, (k, k)).mT
        if theirs.squeeze().shape == own.squeeze().shape:
            return theirs.reshape(own.shape)
        is_stem = own.ndim == theirs.ndim == 4 and own.shape[2:] == theirs.shape[2:] == (4, 4)
        return theirs if is_stem and own.shape[0] == theirs.shape[0] else None

    def write(self, key: str, own: Tensor, stem_channels: int) -> Tensor:
        """Return a tensor of our backbone, called ``key`` there, in their shape."""
        if self.sparse:
            return self._write_sparse(key, own)
        if self.grn_rows and '.grn.' in key:
            return own.view(1, 1, 1, -1)
        if self.scale_maps and re.search(r'^stages\.\d+\.\d+\.gamma$', key):
            return own.view(-1, 1, 1)
        if self.conv_mlp and stem_channels < CONV_MLP_BELOW and re.search(r'pwconv[12]\.weight$', key):
            return own[:, :, None, None]
        return own

    def write_beside(self, key: str, own: Tensor) -> Tensor:
        """Return a tensor of what FCMAE has beside the backbone in their shape: the official decoder is dense."""
        return own.view(1, 1, 1, -1) if self.sparse and '.grn.' in key else own

    def _write_sparse(self, key: str, own: Tensor) -> Tensor:
        theirs = self.key(key)
        if theirs.endswith('.kernel'):
            kernel = own.mT.flatten(2).permute(2, 1, 0)  # (k*k, in, out)
            return kernel.squeeze(1) if 'dwconv' in key else kernel
        is_row = '.grn.' in key or self.key(re.sub('bias$', 'weight', key)).endswith('.kernel')
        return own.view(1, -1) if is_row else own


TIMM = (
    (r'^stages\.(\d+)\.', r'stages.\1.blocks.'),
    (r'^downsample_layers\.0\.', 'stem.'),
    (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
    (r'dwconv\.', 'conv_dw.'),
    (r'pwconv([12])\.', r'mlp.fc\1.'),
    (r'grn\.gamma$', 'mlp.grn.weight'),
    (r'grn\.beta$', 'mlp.grn.bias'),
)

TRANSFORMERS = (
    (r'^stages\.(\d+)\.(\d+)\.norm\.', r'stages.\1.\2.layernorm.'),
    (r'^stages\.(\d+)\.', r'encoder.stages.\1.layers.'),
    (r'^downsample_layers\.0\.0\.', 'embeddings.patch_embeddings.'),
    (r'^downsample_layers\.0\.1\.', 'embeddings.layernorm.'),
    (r'^downsample_layers\.(\d+)\.', r'encoder.stages.\1.downsampling_layer.'),
    *((rf'^norm{i}\.', f'hidden_states_norms.stage{i + 1}.') for i in range(4)),
    (r'grn\.gamma$', 'grn.weight'),
    (r'grn\.beta$', 'grn.bias'),
    (r'\.gamma$', '.layer_scale_parameter'),
)

FORMATS = (
    WeightFormat('mmcnv2', (BACKBONE, ''), classifier=('head.norm', 'head.fc'), output_norms=True, fcmae=True),
    WeightFormat('official', ('',), classifier=('norm', 'head'), grn_rows=True),
    WeightFormat(
        'official-fcmae',
        ('encoder.', ''),
        (
            # The stem and its norm work on the image and are dense.
            (r'^(stages.*dwconv|downsample_layers\.[1-3]\.1)\.weight$', r'\1.kernel'),
            (r'^(stages.*norm|downsample_layers\.[1-3]\.0)\.', r'\1.ln.'),
            (r'(pwconv[12])\.', r'\1.linear.'),
        ),
        networks=('ConvNeXtV2',),
        sparse=True,
        fcmae=True,
    ),
    WeightFormat('timm', ('', 'backbone.'), TIMM, ('head.norm', 'head.fc'), conv_mlp=True),
    WeightFormat(
        'timm, features_only',
        ('', 'backbone.'),
        (*TIMM, (r'^stages\.(\d+)\.', r'stages_\1.'), (r'^stem\.', 'stem_')),
        conv_mlp=True,
    ),
    WeightFormat(
        'mmpretrain',
        ('backbone.', ''),
        ((r'dwconv\.', 'depthwise_conv.'), (r'pwconv([12])\.', r'pointwise_conv\1.')),
        ('backbone.norm3', 'head.fc'),
        output_norms=True,
    ),
    WeightFormat(
        'transformers',
        ('convnextv2.', ''),
        TRANSFORMERS,
        ('convnextv2.layernorm', 'classifier'),
        networks=('ConvNeXtV2',),
        grn_rows=True,
    ),
    WeightFormat(
        'transformers, ConvNext',
        ('convnext.', ''),
        TRANSFORMERS,
        ('convnext.layernorm', 'classifier'),
        networks=('ConvNeXt',),
    ),
    WeightFormat(
        'transformers, DINOv3ConvNext',
        ('', 'backbone.'),
        (
            (r'^stages\.(\d+)\.(\d+)\.', r'stages.\1.layers.\2.'),
            (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample_layers.'),
            (r'dwconv\.', 'depthwise_conv.'),
            (r'(layers\.\d+)\.norm\.', r'\1.layer_norm.'),
            (r'pwconv([12])\.', r'pointwise_conv\1.'),
        ),
        networks=('ConvNeXt',),
    ),
    WeightFormat(
        'DINOv3',
        ('',),
        ((r'^norm(\d)\.', r'norms.\1.'),),
        networks=('ConvNeXt',),
        output_norms=True,
    ),
    WeightFormat(
        'torchvision',
        ('', 'backbone.'),
        (
            *((rf'^stages\.{i}\.(\d+)\.', rf'features.{2 * i + 1}.\1.') for i in range(4)),
            *((rf'^downsample_layers\.{i}\.', rf'features.{2 * i}.') for i in range(4)),
            (r'dwconv\.', 'block.0.'),
            (r'(features\.\d+\.\d+)\.norm\.', r'\1.block.2.'),
            (r'pwconv1\.', 'block.3.'),
            (r'pwconv2\.', 'block.5.'),
            (r'gamma$', 'layer_scale'),
        ),
        ('classifier.0', 'classifier.2'),
        networks=('ConvNeXt',),
        scale_maps=True,
    ),
)


def recognize(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[WeightFormat, str]:
    """Return the format and the prefix under which most keys of a backbone are found.

    Args:
        state_dict: State dict of any model with a ConvNeXt, V1 or V2, in it.
        own: State dict of the backbone to be loaded.

    Raises:
        ValueError: If no key is found under any format.
    """
    candidates = [(format, prefix) for format in FORMATS for prefix in format.prefixes]

    def found(candidate: tuple[WeightFormat, str]) -> tuple[int, bool, bool]:
        format, prefix = candidate
        grn = state_dict.get(prefix + format.key('stages.0.0.grn.gamma'))
        # The official names equal ours; only the shape of GRN differs, and the names of the head.
        return (
            _num_found(state_dict, own, format, prefix),
            grn is not None and (grn.ndim == 4) == format.grn_rows,
            format.classifier is not None and f'{format.classifier[0]}.weight' in state_dict,
        )

    best = max(candidates, key=found)  # the first of equals
    if found(best)[0] == 0:
        some = ', '.join(list(state_dict)[:5]) or 'nothing'
        formats = '; '.join(format.name for format in FORMATS)
        raise InputError(
            f'the checkpoint has no weights of a ConvNeXt V2 or V1: it holds {len(state_dict)} tensors ({some}...). '
            f'Known formats: {formats}. For the backbone of a larger model give its prefix in init_cfg'
        )
    return best


def recognize_network(
    state_dict: Mapping[str, Tensor], outlines: Mapping[str, Mapping[str, Tensor]]
) -> tuple[str, WeightFormat, str]:
    """Return which network a state dict is of, the format, and the prefix.

    Args:
        state_dict: As for ``recognize``.
        outlines: Keys of a block a stage, by name of the network.

    Raises:
        ValueError: If no key is found under any format.
    """
    found = {network: recognize(state_dict, own) for network, own in outlines.items()}
    best = max(found, key=lambda name: _num_found(state_dict, outlines[name], *found[name]) / len(outlines[name]))
    return best, *found[best]


def _num_found(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor], format: WeightFormat, prefix: str) -> int:
    return sum(prefix + format.key(key) in state_dict for key in own)
