"""ConvNeXt V2 and FCMAE (arXiv 2301.00808) and ConvNeXt (arXiv 2201.03545) as the papers' equations say.

Plain functions on a state dict with the official key names. Maps are NCHW on the full grid; after every operation that
could leak, the map is multiplied by ``keep`` (N, 1, H, W), 1 where visible. Nothing of mmcnv2 is imported.
"""

import math
import re

import torch


def features(weights, images, mask=None):
    """Maps of the four stages, each through its output norm where there is one."""
    x, outs = images, []
    for i in range(4):
        if i > 0:
            x = layer_norm(x, weights, f'downsample_layers.{i}.0') * upsample(mask, x)
        stride, j = (4, 0) if i == 0 else (2, 1)
        if i == 0:
            x = x * upsample(mask, x)
        x = strided_conv(x, weights, f'downsample_layers.{i}.{j}', stride)
        keep = upsample(mask, x)
        x = x * keep
        if i == 0:
            x = layer_norm(x, weights, 'downsample_layers.0.1') * keep
        for j in range(count(weights, rf'stages\.{i}\.(\d+)\.')):
            x = block(x, weights, f'stages.{i}.{j}', keep)
        has_norm = f'norm{i}.weight' in weights
        outs.append(layer_norm(x, weights, f'norm{i}') * keep if has_norm else x)
    return outs


def fcmae(weights, images, mask, norm_pix_loss=True):
    """Loss and un-normalised reconstruction (N, C, H, W) of every patch."""
    x = features(part(weights, 'backbone.'), images, mask)[-1]
    x = strided_conv(x, weights, 'proj', 1)
    removed = mask.unsqueeze(1).to(x.dtype)
    x = x * (1 - removed) + weights['mask_token'].reshape(1, -1, 1, 1) * removed
    for j in range(count(weights, r'decoder\.(\d+)\.')):
        x = block(x, weights, f'decoder.{j}', torch.ones_like(removed))
    pred = strided_conv(x, weights, 'pred', 1)

    loss, reconstruction = 0.0, images.clone()
    for n, row, col in mask.new_ones(mask.shape).nonzero().tolist():
        rows, cols = slice(32 * row, 32 * row + 32), slice(32 * col, 32 * col + 32)
        patch = images[n, :, rows, cols]
        shift, scale = 0.0, 1.0
        if norm_pix_loss:
            shift = patch.sum() / patch.numel()
            scale = (((patch - shift) ** 2).sum() / (patch.numel() - 1) + 1e-6) ** 0.5
        # The vector of a patch runs over rows, then columns, then channels.
        predicted = pred[n, :, row, col].reshape(32, 32, images.shape[1]).permute(2, 0, 1)
        reconstruction[n, :, rows, cols] = (predicted * scale + shift).detach()
        if mask[n, row, col]:
            error = predicted - (patch - shift) / scale
            loss = loss + (error**2).sum() / patch.numel() / mask.sum()
    return loss, reconstruction


def block(x, weights, name, keep):
    """x + pwconv2(GRN(GELU(pwconv1(LN(dwconv(x)))))), without GRN and times gamma in the first version"""
    y = depthwise_conv(x * keep, weights, f'{name}.dwconv') * keep
    y = layer_norm(y, weights, f'{name}.norm') * keep
    y = linear(y, weights, f'{name}.pwconv1')
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2))) * keep
    if f'{name}.grn.gamma' in weights:
        y = grn(y, weights[f'{name}.grn.gamma'], weights[f'{name}.grn.beta']) * keep
    y = linear(y, weights, f'{name}.pwconv2') * keep
    scale = weights.get(f'{name}.gamma')
    return x + (y if scale is None else y * scale.reshape(1, -1, 1, 1))


def grn(x, gamma, beta):
    """Equations 1 to 3 and algorithm 1: per sample and channel the L2 norm, divided by its mean over channels."""
    norm = (x * x).sum(dim=(2, 3), keepdim=True).sqrt()
    response = norm / (norm.sum(dim=1, keepdim=True) / x.shape[1] + 1e-6)
    return gamma.reshape(1, -1, 1, 1) * (x * response) + beta.reshape(1, -1, 1, 1) + x


def layer_norm(x, weights, name):
    """Over the channels of each position, with the biased variance."""
    centred = x - x.sum(dim=1, keepdim=True) / x.shape[1]
    variance = (centred**2).sum(dim=1, keepdim=True) / x.shape[1]
    x = centred / (variance + 1e-6).sqrt()
    return x * weights[f'{name}.weight'].reshape(1, -1, 1, 1) + weights[f'{name}.bias'].reshape(1, -1, 1, 1)


def linear(x, weights, name):
    x = torch.einsum('nchw,oc->nohw', x, weights[f'{name}.weight'])
    return x + weights[f'{name}.bias'].reshape(1, -1, 1, 1)


def strided_conv(x, weights, name, stride):
    """Convolution whose kernel is as large as its stride: a linear map of separate windows."""
    n, c, height, width = x.shape
    windows = x.reshape(n, c, height // stride, stride, width // stride, stride)
    x = torch.einsum('nchawb,ocab->nohw', windows, weights[f'{name}.weight'])
    return x + weights[f'{name}.bias'].reshape(1, -1, 1, 1)


def depthwise_conv(x, weights, name):
    """y[h, w] = b + sum over i, j of weight[i, j] * x[h + i - 3, w + j - 3], zeros outside."""
    weight = weights[f'{name}.weight']
    size, (height, width) = weight.shape[-1], x.shape[2:]
    padded = x.new_zeros(*x.shape[:2], height + size - 1, width + size - 1)
    padded[:, :, size // 2 : size // 2 + height, size // 2 : size // 2 + width] = x
    y = weights[f'{name}.bias'].reshape(1, -1, 1, 1)
    for i in range(size):
        for j in range(size):
            y = y + weight[:, 0, i, j].reshape(1, -1, 1, 1) * padded[:, :, i : i + height, j : j + width]
    return y


def upsample(mask, x):
    """keep (N, 1, H, W) for a map ``x`` (N, C, H, W); ones without a mask."""
    if mask is None:
        return x.new_ones(x.shape[0], 1, *x.shape[2:])
    side = x.shape[2] // mask.shape[1]
    return torch.kron(1 - mask.to(x.dtype), x.new_ones(side, side)).unsqueeze(1)


def part(weights, prefix):
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}


def count(weights, pattern):
    """How many consecutive numbers match ``pattern`` in the keys."""
    return len({match[1] for key in weights if (match := re.match(pattern, key))})
