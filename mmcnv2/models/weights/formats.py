"""How others name and shape the weights of a ConvNeXt V2 backbone, and which of these formats a checkpoint has.

A format is a list of replacements that turn a key of ours into theirs. This serves both directions: what our backbone
needs is looked up under their names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmcnv2.utils.errors import InputError

CONV_MLP_BELOW = 96  # channels of the stem: timm has 1x1 convolutions in atto to nano, linear layers from tiny on


@dataclass(frozen=True)
class WeightFormat:
    """A way to write the weights of a ConvNeXt V2.

    Attributes:
        name: What the log and the converter call it.
        prefixes: Possible prefixes of the backbone's keys; the first is that of a whole model.
        renames: (pattern, replacement) pairs for ``re.sub``, applied to a key of ours in turn.
        classifier: Names of the norm after the pooling and of the last linear layer of a classifier.
        grn_rows: Whether GRN's parameters are (1, 1, 1, C) instead of (C,).
        output_norms: Whether models of this format can have a norm for the map of each stage, like ours.
        conv_mlp: Whether linear layers of small networks are 1x1 convolutions.
        sparse: Whether all convolutions but the stem are MinkowskiEngine's: (k*k, C), (k*k, in, out), x before y.
    """

    name: str
    prefixes: tuple[str, ...]
    renames: tuple[tuple[str, str], ...] = ()
    classifier: tuple[str, str] | None = None
    grn_rows: bool = False
    output_norms: bool = False
    conv_mlp: bool = False
    sparse: bool = False

    def key(self, own: str) -> str:
        """Return their key, without prefix, for a key of ours."""
        for pattern, replacement in self.renames:
            own = re.sub(pattern, replacement, own)
        return own

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
            theirs = theirs.permute(2, 1, 0).unflatten(2, (k, k)).transpose(2, 3)
        if theirs.squeeze().shape == own.squeeze().shape:
            return theirs.reshape(own.shape)
        is_stem = own.ndim == theirs.ndim == 4 and own.shape[2:] == theirs.shape[2:] == (4, 4)
        return theirs if is_stem and own.shape[0] == theirs.shape[0] else None

    def write(self, key: str, own: Tensor, stem_channels: int) -> Tensor:
        """Return a tensor of ours, called ``key``, in their shape; not for ``sparse`` formats."""
        if self.grn_rows and '.grn.' in key:
            return own.view(1, 1, 1, -1)
        if self.conv_mlp and stem_channels < CONV_MLP_BELOW and re.search(r'pwconv[12]\.weight$', key):
            return own[:, :, None, None]
        return own


TIMM = (
    (r'^stages\.(\d+)\.', r'stages.\1.blocks.'),
    (r'^downsample_layers\.0\.', 'stem.'),
    (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
    (r'dwconv\.', 'conv_dw.'),
    (r'pwconv([12])\.', r'mlp.fc\1.'),
    (r'grn\.gamma$', 'mlp.grn.weight'),
    (r'grn\.beta$', 'mlp.grn.bias'),
)

FORMATS = (
    WeightFormat('mmcnv2', ('backbone.', ''), classifier=('head.norm', 'head.fc'), output_norms=True),
    WeightFormat('official', ('',), classifier=('norm', 'head'), grn_rows=True),
    WeightFormat(
        'official, sparse pre-training',
        ('encoder.', ''),
        (
            # The stem and its norm work on the image and are dense.
            (r'^(stages.*dwconv|downsample_layers\.[1-3]\.1)\.weight$', r'\1.kernel'),
            (r'^(stages.*norm|downsample_layers\.[1-3]\.0)\.', r'\1.ln.'),
            (r'(pwconv[12])\.', r'\1.linear.'),
        ),
        sparse=True,
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
        (
            (r'^stages\.(\d+)\.(\d+)\.norm\.', r'stages.\1.\2.layernorm.'),
            (r'^stages\.(\d+)\.', r'encoder.stages.\1.layers.'),
            (r'^downsample_layers\.0\.0\.', 'embeddings.patch_embeddings.'),
            (r'^downsample_layers\.0\.1\.', 'embeddings.layernorm.'),
            (r'^downsample_layers\.(\d+)\.', r'encoder.stages.\1.downsampling_layer.'),
            *((rf'^norm{i}\.', f'hidden_states_norms.stage{i + 1}.') for i in range(4)),
            (r'grn\.gamma$', 'grn.weight'),
            (r'grn\.beta$', 'grn.bias'),
        ),
        ('convnextv2.layernorm', 'classifier'),
        grn_rows=True,
    ),
)


def recognize(state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[WeightFormat, str]:
    """Return the format and the prefix under which most keys of a backbone are found.

    Args:
        state_dict: State dict of any model with a ConvNeXt V2 in it.
        own: State dict of the backbone to be loaded.

    Raises:
        ValueError: If no key is found under any format.
    """
    candidates = [(format, prefix) for format in FORMATS for prefix in format.prefixes]

    def found(candidate: tuple[WeightFormat, str]) -> tuple[int, bool]:
        format, prefix = candidate
        keys = [prefix + format.key(key) for key in own]
        grn = state_dict.get(prefix + format.key('stages.0.0.grn.gamma'))
        # The official names equal ours; only the shape of GRN differs.
        return sum(key in state_dict for key in keys), grn is not None and (grn.ndim == 4) == format.grn_rows

    best = max(candidates, key=found)  # the first of equals
    if found(best)[0] == 0:
        some = ', '.join(list(state_dict)[:5]) or 'nothing'
        formats = '; '.join(format.name for format in FORMATS)
        raise InputError(
            f'the checkpoint has no weights of a ConvNeXt V2: it holds {len(state_dict)} tensors ({some}...). '
            f'Known formats: {formats}. For the backbone of a larger model give its prefix in init_cfg'
        )
    return best
