"""What ConvNeXt and ConvNeXt V2 share, dense and masked: everything but the MLP of a block.

Tensors have the channels last, (N, ..., C), from the images to the output maps. A layout
(``models/sparse/layout.py``) says where the positions are; without a mask they are the full grid.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmcnv2.utils.errors import InputError

from ..layers import is_recorded, layer_norm
from ..normalization import IMAGENET, Normalization
from ..sparse import PATCH_SIZE, Layout, check_mask, make_layout
from ..sparse.backends import check_backend
from ..weights.matching import match_state_dicts

NORM_EPS = 1e-6
NUM_STAGES = 4
_NO_DILATION = (
    'its maps have strides 4, 8, 16 and 32, since its downsampling is a 2x2 convolution of stride 2, which cannot be '
    'dilated. Remove it; a head that needs a finer map takes an earlier one too, as in configs/deeplabv3plus and '
    'configs/fcn'
)


class Block(nn.Module):
    """Depthwise 7x7, LayerNorm, an MLP, residual. A block of a network adds the rest of its MLP and ``mlp``.

    Layers are computed as functions of their weights, which is faster and keeps less for backward. A layer with hooks,
    or one that was replaced or wrapped (LoRA, quantization, parametrization), is called instead.

    Args:
        channels: C.
        drop_path: Probability of dropping the residual branch of a sample, in [0, 1).
    """

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Apply the block to tokens (N, ..., C), placed as ``layout`` says, and return the same shape."""
        shortcut = x
        x = layout.depthwise_conv(x, self.dwconv)
        x = layer_norm(x, self.norm)
        x = self.mlp(x, layout.removed(x))
        return shortcut + self.drop_path(x)

    def mlp(self, x: Tensor, removed: Tensor | None) -> Tensor:
        """Apply the MLP to (N, ..., C): as one function, or layer by layer if one of them has been changed.

        Args:
            x: Tokens.
            removed: (N, ..., 1) bool, positions that do not count; None if there are none. The output there may be
                anything finite.
        """
        raise NotImplementedError


class Downsample(nn.Sequential):
    """Patch convolution and LayerNorm, in the order of the official code: the stem ends with the norm.

    Args:
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Also the size of the kernel.
        is_stem: Whether the input is images; the convolution then comes first.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, is_stem: bool = False) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel_size=stride, stride=stride)
        norm = nn.LayerNorm(c_out if is_stem else c_in, eps=NORM_EPS)
        super().__init__(*((conv, norm) if is_stem else (norm, conv)))
        self.is_stem = is_stem

    def forward(self, x: Tensor, layout: Layout) -> Tensor:  # type: ignore[override]  # also takes a layout
        """Downsample tokens (N, ..., c_in) to (N, ..., c_out)."""
        first, second = self
        if self.is_stem:
            return layer_norm(layout.patch_conv(x, cast(nn.Conv2d, first)), cast(nn.LayerNorm, second))
        return layout.patch_conv(layer_norm(x, cast(nn.LayerNorm, first)), cast(nn.Conv2d, second))


class Stage(nn.Sequential):
    """Blocks one after the other."""

    def forward(  # type: ignore[override]  # also takes a layout
        self, x: Tensor, layout: Layout, with_cp: bool = False
    ) -> Tensor:
        """Apply the blocks to tokens (N, ..., C) and return the same shape; ``with_cp``: see ``ConvNeXtBase``."""
        for block in self:
            if with_cp and torch.is_grad_enabled() and not is_recorded():
                x = checkpoint(block, x, layout, use_reentrant=False)
            else:
                x = block(x, layout)
        return x


class ConvNeXtBase(BaseModule):
    """A backbone of four stages, for images of any size divisible by 32. The networks say what a block is.

    Args:
        arch: A name in ``architectures``, or ``dict(depths=(...), channels=(...))`` with four numbers each.
        in_channels: Channels of the images.
        drop_path_rate: Stochastic depth of the last block, in [0, 1); it grows linearly from 0 over all blocks.
        out_indices: Stages whose maps are returned, 0 to 3, with strides 4, 8, 16, 32, in that order. What comes after
            the last of them is neither computed nor trained.
        out_norm: Whether returned maps pass through a LayerNorm ``norm{i}``. Dense prediction uses it, FCMAE does not.
        frozen_stages: Stages whose parameters stay fixed: -1 none, 0 the stem, k >= 1 the stem and the first k stages
            with their output norms.
        with_cp: Whether blocks are recomputed in backward (activation checkpointing), to save memory.
        sparse_backend: How masked images are computed, see ``models/sparse/backends``.
        init_cfg: Weights to load, e.g. ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')``. Without it
            they keep their initial values: truncated normal of std 0.02, zero biases.

    Raises:
        ValueError: If an argument has another value; the message names the argument and the values allowed.
    """

    #: Blocks and channels of the four stages, by name.
    architectures: ClassVar[dict[str, dict[str, tuple[int, ...]]]]
    block: ClassVar[type[Block]]
    #: What images are to be normalised with, for those who feed it: ``forward`` takes them as they are.
    normalization: Normalization = IMAGENET
    #: Arguments of other backbones that this one cannot have, and why; ``mmcnv2 check`` and ``train`` say it.
    refused: ClassVar[dict[str, str]] = dict.fromkeys(('dilations', 'strides', 'output_stride'), _NO_DILATION)

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        out_norm: bool = True,
        frozen_stages: int = -1,
        with_cp: bool = False,
        sparse_backend: str = 'auto',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.depths, self.channels = _resolve_arch(arch, self.architectures)
        if not out_indices or not all(0 <= i < NUM_STAGES for i in out_indices):
            raise InputError(f'out_indices must be among 0, 1, 2, 3, got {tuple(out_indices)}')
        if not -1 <= frozen_stages <= NUM_STAGES:
            raise InputError(f'frozen_stages must be from -1 to {NUM_STAGES}, got {frozen_stages}')
        if not 0 <= drop_path_rate < 1:
            raise InputError(f'drop_path_rate must be at least 0 and below 1, got {drop_path_rate}')
        check_backend(sparse_backend)
        self.in_channels = in_channels
        self.out_indices = tuple(out_indices)
        self.out_norm = out_norm
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.sparse_backend = sparse_backend

        self.downsample_layers = nn.ModuleList(
            [
                Downsample(in_channels, self.channels[0], stride=4, is_stem=True),
                *(Downsample(c_in, c_out, stride=2) for c_in, c_out in pairwise(self.channels)),
            ]
        )
        rates = iter(torch.linspace(0, drop_path_rate, sum(self.depths), device='cpu').tolist())
        self.stages = nn.ModuleList(
            Stage(*(self.block(c, next(rates)) for _ in range(depth)))
            for depth, c in zip(self.depths, self.channels, strict=True)
        )
        if out_norm:
            for i in self.out_indices:
                self.add_module(f'norm{i}', nn.LayerNorm(self.channels[i], eps=NORM_EPS))
        self.apply(init_weights)
        self._freeze_stages()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute the maps of the stages in ``out_indices``.

        Args:
            x: Images (N, in_channels, H, W), float, H and W divisible by 32.
            mask: (N, H/32, W/32) bool, True = removed, the same number of visible patches in every sample. Removed
                pixels have no influence.

        Returns:
            Maps (N, channels[i], H/s, W/s), s = 4, 8, 16, 32, contiguous, zero at removed positions.

        Raises:
            ValueError: If the images or the mask have another shape; the message says what was expected.
        """
        self._check_images(x)
        if mask is not None:
            check_mask(mask, x)
        layout = make_layout(mask, self.sparse_backend)
        outs = []
        x = layout.pack(x)
        for i in range(max(self.out_indices) + 1):
            x = self.downsample_layers[i](x, layout)
            x = self.stages[i](x, layout, self.with_cp)
            if i in self.out_indices:
                out = layer_norm(x, getattr(self, f'norm{i}')) if self.out_norm else x
                # mmcv's operators, RoIAlign among them, read memory as NCHW whatever the strides are.
                outs.append(layout.unpack(out).contiguous())
        return tuple(outs)

    def init_weights(self) -> None:
        """Load the weights of ``init_cfg``.

        Output norms that the checkpoint lacks keep their initial values, as after pre-training, which has none. The
        log says so, in place of MMEngine's warning of missing keys.
        """
        # Only here: a strict load_state_dict must find all keys.
        handle = self.register_load_state_dict_post_hook(_leave_output_norms_fresh)
        super().init_weights()
        handle.remove()

    def train(self, mode: bool = True) -> 'ConvNeXtBase':
        """Set the training mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self

    @staticmethod
    def is_output_norm(key: str) -> bool:
        """Return whether a key of the state dict belongs to an output norm; pre-training has none."""
        return key.startswith('norm')

    def _freeze_stages(self) -> None:
        # What no output needs has no gradients: processes that wait for each other's would wait for ever.
        first_unused = max(self.out_indices) + 1
        frozen: list[nn.Module] = [*self.downsample_layers[first_unused:], *self.stages[first_unused:]]
        if self.frozen_stages >= 0:
            frozen.append(self.downsample_layers[0])
        for i in range(self.frozen_stages):
            frozen += [self.downsample_layers[i], self.stages[i]]
            if self.out_norm and i in self.out_indices:
                frozen.append(getattr(self, f'norm{i}'))
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        # MMEngine loads with strict=False and would continue with random weights after a page of warnings. (If there
        # is nothing under the prefix, the larger model decides: it may be loading the heads alone.)
        own = self.state_dict()
        if prefix and not any(prefix + key in state_dict for key in own):
            return super()._load_from_state_dict(state_dict, prefix, *args)
        problems = match_state_dicts(
            state_dict, own, lambda key: prefix + key, is_optional=self.is_output_norm
        ).problems
        if problems:
            raise InputError(
                f'the checkpoint does not fit this {type(self).__name__} (depths {self.depths}, channels '
                f'{self.channels}): {len(problems)} of {len(own)} tensors disagree, e.g. {"; ".join(problems[:3])}. '
                "Check arch, in_channels and, in init_cfg, the prefix ('backbone.' for checkpoints of this project)"
            )
        return super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_images(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InputError(
                f'images must be (N, {self.in_channels}, H, W), got shape {tuple(x.shape)}; '
                'the number of channels is the in_channels of the backbone'
            )
        if x.shape[2] % PATCH_SIZE or x.shape[3] % PATCH_SIZE:
            raise InputError(
                f'height and width must be divisible by {PATCH_SIZE}, got {x.shape[2]}x{x.shape[3]}; let the data '
                f'preprocessor pad (mmdet: pad_size_divisor={PATCH_SIZE}, mmseg: size_divisor={PATCH_SIZE})'
            )


def _leave_output_norms_fresh(backbone: nn.Module, keys: Any) -> None:
    """Remove output norms from the missing keys of a load, and log them; ``keys`` is what PyTorch gives its hooks."""
    fresh = [key for key in keys.missing_keys if ConvNeXtBase.is_output_norm(key)]
    keys.missing_keys[:] = [key for key in keys.missing_keys if key not in fresh]
    if fresh:
        norms = ', '.join(dict.fromkeys(key.split('.')[0] for key in fresh))
        print_log(f'output norms {norms} start fresh: the checkpoint has none, as after pre-training', 'current')


def init_weights(module: nn.Module) -> None:
    """Initialise a convolution or linear layer: truncated normal of std 0.02, zero bias (official code).

    Norms, GRN and layer scale keep what their constructors set. Apply once, with ``module.apply``.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _resolve_arch(arch: str | dict, architectures: dict[str, dict]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(arch, str):
        if arch not in architectures:
            raise InputError(f'arch must be one of {", ".join(architectures)} or a dict, got {arch!r}')
        arch = architectures[arch]
    if set(arch) != {'depths', 'channels'} or any(len(v) != NUM_STAGES for v in arch.values()):
        raise InputError(f'arch must be dict(depths=..., channels=...) with {NUM_STAGES} numbers each, got {arch}')
    return tuple(arch['depths']), tuple(arch['channels'])
