"""Weights of ours written down as others write them, name by name and shape by shape.

The names and shapes are those that the state dicts of timm 1.0.31, onedl-mmpretrain 1.3.6 and transformers 5.24.0
showed, and those that the official repository's code reads; nothing here uses the package's own tables.
"""

import torch

# Stem convolution and norm, downsampling, then a block: dwconv, norm, pwconv1, gamma, beta, pwconv2.
NAMES = {
    'official': dict(
        stem=('downsample_layers.0.0', 'downsample_layers.0.1'),
        downsample='downsample_layers.{i}.{j}',
        block='stages.{i}.{j}.',
        parts=('dwconv', 'norm', 'pwconv1', 'grn.gamma', 'grn.beta', 'pwconv2'),
        classifier=('norm', 'head'),
    ),
    'timm': dict(
        stem=('stem.0', 'stem.1'),
        downsample='stages.{i}.downsample.{j}',
        block='stages.{i}.blocks.{j}.',
        parts=('conv_dw', 'norm', 'mlp.fc1', 'mlp.grn.weight', 'mlp.grn.bias', 'mlp.fc2'),
        classifier=('head.norm', 'head.fc'),
    ),
    'timm, features_only': dict(
        stem=('stem_0', 'stem_1'),
        downsample='stages_{i}.downsample.{j}',
        block='stages_{i}.blocks.{j}.',
        parts=('conv_dw', 'norm', 'mlp.fc1', 'mlp.grn.weight', 'mlp.grn.bias', 'mlp.fc2'),
        classifier=(),
    ),
    'mmpretrain': dict(
        stem=('backbone.downsample_layers.0.0', 'backbone.downsample_layers.0.1'),
        downsample='backbone.downsample_layers.{i}.{j}',
        block='backbone.stages.{i}.{j}.',
        parts=('depthwise_conv', 'norm', 'pointwise_conv1', 'grn.gamma', 'grn.beta', 'pointwise_conv2'),
        classifier=('backbone.norm3', 'head.fc'),
    ),
    'transformers': dict(
        stem=('convnextv2.embeddings.patch_embeddings', 'convnextv2.embeddings.layernorm'),
        downsample='convnextv2.encoder.stages.{i}.downsampling_layer.{j}',
        block='convnextv2.encoder.stages.{i}.layers.{j}.',
        parts=('dwconv', 'layernorm', 'pwconv1', 'grn.weight', 'grn.bias', 'pwconv2'),
        classifier=('convnextv2.layernorm', 'classifier'),
    ),
}


def foreign_state_dict(layout, model):
    """The weights of a backbone of ours, with a classifier's random ones, as ``layout`` has them."""
    names, own, out = NAMES[layout], model.state_dict(), {}

    def add(key, ours):
        for kind in ('weight', 'bias'):
            out[f'{key}.{kind}'] = own[f'{ours}.{kind}']

    for j in range(2):
        add(names['stem'][j], f'downsample_layers.0.{j}')
        for i in (1, 2, 3):
            add(names['downsample'].format(i=i, j=j), f'downsample_layers.{i}.{j}')
    dwconv, norm, pwconv1, gamma, beta, pwconv2 = names['parts']
    for i, depth in enumerate(model.depths):
        for j in range(depth):
            block, ours = names['block'].format(i=i, j=j), f'stages.{i}.{j}.'
            for theirs, part in ((dwconv, 'dwconv'), (norm, 'norm'), (pwconv1, 'pwconv1'), (pwconv2, 'pwconv2')):
                add(block + theirs, ours + part)
            for theirs, part in ((gamma, 'grn.gamma'), (beta, 'grn.beta')):
                value = own[ours + part]
                out[block + theirs] = value.view(1, 1, 1, -1) if layout in ('official', 'transformers') else value
            if layout.startswith('timm'):  # atto to nano: 1x1 convolutions
                for theirs in (pwconv1, pwconv2):
                    out[f'{block}{theirs}.weight'] = out[f'{block}{theirs}.weight'][:, :, None, None]
    channels = model.channels[-1]
    for key, rows in zip(names['classifier'], (None, 5), strict=False):
        out[f'{key}.weight'] = torch.randn(channels) if rows is None else torch.randn(rows, channels)
        out[f'{key}.bias'] = torch.randn(rows or channels)
    return out


def official_fcmae_state_dict(model):
    """A whole FCMAE of ours as the official pre-training saves it: a sparse encoder and a dense decoder."""
    out = {key: value for key, value in sparse_state_dict(model.backbone).items() if key.startswith('encoder.')}
    for key, value in model.state_dict().items():
        if not key.startswith('backbone.'):
            out[key] = value.view(1, 1, 1, -1) if '.grn.' in key else value
    return out


def sparse_state_dict(model):
    """As the official pre-training saves its sparse encoder: kernels (k*k, ...) with x before y, biases (1, C)."""
    out = {}
    for key, value in model.state_dict().items():
        *path, kind = key.split('.')
        stem = key.startswith('downsample_layers.0')
        has_row = path[-1] in ('dwconv', 'grn') or (path[-1] == '1' and not stem)  # vectors as (1, C)
        if value.ndim == 4 and not stem:
            c_out, c_in, k, _ = value.shape
            kernel = value.new_empty(k * k, c_in, c_out)
            for x in range(k):
                for y in range(k):
                    kernel[x * k + y] = value[:, :, y, x].T
            value, kind = (kernel.squeeze(1) if k == 7 else kernel), 'kernel'
        elif has_row:
            value = value.view(1, -1)
        elif path[-1] in ('pwconv1', 'pwconv2'):
            path = [*path, 'linear']
        elif not stem:
            path = [*path, 'ln']
        out['.'.join(['encoder', *path, kind])] = value
    decoder = {
        'proj.weight': (12, model.channels[-1], 1, 1), 'proj.bias': (12,), 'mask_token': (1, 12, 1, 1),
        'decoder.0.dwconv.weight': (12, 1, 7, 7), 'decoder.0.grn.gamma': (1, 1, 1, 48), 'pred.bias': (3072,),
    }  # fmt: skip
    return out | {key: torch.randn(shape) for key, shape in decoder.items()}
