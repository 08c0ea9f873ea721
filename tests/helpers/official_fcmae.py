"""The forward of the official pre-training on its own state dict, on the full grid in place of MinkowskiEngine.

The code of facebookresearch/ConvNeXt-V2 does (fcmae.py, convnextv2_sparse.py), in plain operations. Positions of a
kernel run as MinkowskiEngine's do: the first coordinate, the row, is the fastest. Nothing of mmcnv2 is imported.
"""

import torch
import torch.nn.functional as F

from .reference import upsample


def loss(weights, images, mask, norm_over_batch=True):
    """The mean over removed patches. The sparse GRN takes its norm over the whole batch, or, if not, per sample."""
    x = F.conv2d(images, *pair(weights, 'encoder.downsample_layers.0.0', 'weight'), stride=4)
    x = norm(x, weights, 'encoder.downsample_layers.0.1')
    x = x * upsample(mask, x)
    dims = (0, 2, 3) if norm_over_batch else (2, 3)
    for i in range(4):
        if i > 0:
            x = norm(x, weights, f'encoder.downsample_layers.{i}.0.ln')
            x = sparse_conv(x, weights, f'encoder.downsample_layers.{i}.1', stride=2)
        keep = upsample(mask, x)
        x = x * keep
        for j in range(sum(k.startswith(f'encoder.stages.{i}.') and k.endswith('kernel') for k in weights)):
            name = f'encoder.stages.{i}.{j}'
            y = sparse_conv(x, weights, f'{name}.dwconv', padding=3, groups=x.shape[1])
            y = norm(y, weights, f'{name}.norm.ln')
            y = mlp(y, weights, name, '.linear', keep, dims)
            x = x + y * keep
    x = F.conv2d(x, *pair(weights, 'proj', 'weight'))
    removed = mask.unsqueeze(1).to(x.dtype)
    x = x * (1 - removed) + weights['mask_token'] * removed
    for j in range(sum(k.startswith('decoder.') and k.endswith('dwconv.weight') for k in weights)):
        y = F.conv2d(x, *pair(weights, f'decoder.{j}.dwconv', 'weight'), padding=3, groups=x.shape[1])
        y = norm(y, weights, f'decoder.{j}.norm')
        x = x + mlp(y, weights, f'decoder.{j}', '', torch.ones_like(removed), (2, 3))
    pred = F.conv2d(x, *pair(weights, 'pred', 'weight')).permute(0, 2, 3, 1)

    total = 0.0
    for n, row, col in mask.nonzero().tolist():
        patch = images[n, :, 32 * row : 32 * row + 32, 32 * col : 32 * col + 32]
        target = patch.permute(1, 2, 0).flatten()  # row, column, channel
        target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
        total = total + ((pred[n, row, col] - target) ** 2).mean()
    return total / mask.sum()


def sparse_conv(x, weights, name, **options):
    """Kernels (k*k, C) or (k*k, in, out), and a bias (1, C)."""
    kernel, bias = pair(weights, name, 'kernel')
    size = round(len(kernel) ** 0.5)
    kernel = kernel.unsqueeze(1) if kernel.ndim == 2 else kernel
    rows = [torch.stack([kernel[col * size + row].T for col in range(size)], -1) for row in range(size)]
    return F.conv2d(x, torch.stack(rows, -2), bias[0], **options)


def mlp(x, weights, name, layer, keep, dims):
    x = linear(x, weights, f'{name}.pwconv1{layer}')
    x = F.gelu(x) * keep
    response = x.square().sum(dim=dims, keepdim=True).sqrt()
    response = response / (response.mean(dim=1, keepdim=True) + 1e-6)
    gamma, beta = (weights[f'{name}.grn.{key}'].reshape(1, -1, 1, 1) for key in ('gamma', 'beta'))
    return linear(gamma * (x * response) + beta + x, weights, f'{name}.pwconv2{layer}')


def linear(x, weights, name):
    return F.linear(x.permute(0, 2, 3, 1), *pair(weights, name, 'weight')).permute(0, 3, 1, 2)


def norm(x, weights, name):
    x = x.permute(0, 2, 3, 1)
    return F.layer_norm(x, x.shape[-1:], *pair(weights, name, 'weight'), eps=1e-6).permute(0, 3, 1, 2)


def pair(weights, name, kind):
    return weights[f'{name}.{kind}'], weights[f'{name}.bias']
