"""What the model tests share: small networks with no parameter at 0 or 1, masks, and the error measure."""

import pytest
import torch
from mmengine.registry import MODELS

import mmcnv2.registry  # noqa: F401
from mmcnv2.models.sparse.backends import BACKENDS as BACKENDS  # 'auto' and every implementation there is

ARCH = dict(depths=(1, 1, 2, 1), channels=(4, 8, 12, 16))
OTHER_ARCH = dict(depths=(2, 1, 1, 3), channels=(6, 4, 14, 10))

# What the official state dict holds for a block.
BLOCK_KEYS = (
    *('dwconv.weight', 'dwconv.bias', 'norm.weight', 'norm.bias', 'pwconv1.weight', 'pwconv1.bias'),
    *('grn.gamma', 'grn.beta', 'pwconv2.weight', 'pwconv2.bias'),
)

# name: arch, image size (N, C, H, W), number of visible patches of each sample
CASES = {
    'square': (ARCH, (2, 3, 96, 96), 4),
    'wide, 4 channels': (OTHER_ARCH, (3, 4, 64, 128), 3),
    'one visible patch': (ARCH, (2, 1, 96, 64), 1),
    'one removed patch, batch 1': (OTHER_ARCH, (1, 3, 64, 96), 5),
    'small': (dict(depths=(1, 1, 1, 1), channels=(8, 12, 16, 24)), (2, 3, 64, 96), 3),
}
# Triton's interpreter takes seconds for a network: where there are many cases it has the small one alone.
FAST_BACKENDS = [name for name in BACKENDS if name != 'triton']
SLOW_BACKENDS = [name for name in BACKENDS if name == 'triton']
every_fast_backend = pytest.mark.parametrize('backend', FAST_BACKENDS)
_BY_NAME = {name: pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_BACKENDS)) for name in BACKENDS}
every_backend = pytest.mark.parametrize('backend', [*_BY_NAME.values()])
every_token_backend = pytest.mark.parametrize('backend', [_BY_NAME[name] for name in BACKENDS if name != 'dense'])


def backend_cases(*others):
    """Parameters (backend, name of a case, *other) for all of ``others``, of which a slow backend has the first."""
    slow = [pytest.param(name, 'small', *others[0], marks=pytest.mark.slow) for name in SLOW_BACKENDS]
    return [(backend, name, *other) for backend in FAST_BACKENDS for name in CASES for other in others] + slow


def build_backbone(arch=ARCH, randomised=True, type='mmcnv2.ConvNeXtV2', **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(dict(type=type, arch=arch, **kwargs))
    return randomise(model) if randomised else model


def build_fcmae(arch=ARCH, randomised=True, in_channels=3, decoder_embed_dims=12, backbone=None, **kwargs):
    torch.manual_seed(0)
    backbone = {'type': 'mmcnv2.ConvNeXtV2', 'arch': arch, 'in_channels': in_channels, **(backbone or {})}
    model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone, decoder_embed_dims=decoder_embed_dims, **kwargs))
    return randomise(model) if randomised else model


@torch.no_grad()
def randomise(model):
    """Weights of unit gain, norms around 1, biases and GRN of order one: a forgotten term shows."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.5 * noise + name.endswith('weight'))
    return model


def case(name, dtype=torch.float64):
    """Arch, images and a mask that differs between samples."""
    arch, size, num_visible = CASES[name]
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    n, h, w = size[0], size[2] // 32, size[3] // 32
    order = torch.stack([torch.randperm(h * w, generator=generator) for _ in range(n)])
    return arch, images, (order >= num_visible).view(n, h, w)


def pixels(mask, images):
    """The mask of patches as a mask of pixels, in the shape of ``images``."""
    return mask.repeat_interleave(32, 1).repeat_interleave(32, 2).unsqueeze(1).expand_as(images)


def error(actual, expected):
    """Norm of the difference over the norm of what was expected."""
    return (torch.linalg.vector_norm(actual.double() - expected.double()) / expected.double().norm()).item()


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def double_weights(model):
    """The state dict as leaves in float64, for the reference."""
    return {key: value.detach().double().requires_grad_() for key, value in model.state_dict().items()}


def weighted_sum(maps):
    """A scalar that weighs every entry of every map differently, so that its gradient holds all of them."""
    total = 0
    for map_ in maps:
        weight = torch.arange(map_.numel(), dtype=torch.float64).sin().view(map_.shape)
        total = total + (map_.double() * weight).sum() / map_.numel() ** 0.5
    return total
