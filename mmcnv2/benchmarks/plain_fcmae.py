"""FCMAE written plainly, the baseline of the benchmarks: the dense formulation of the paper's section 3.1.

Every position of every map is computed, and removed ones are multiplied by zero wherever they could be seen. No
module of ``mmcnv2`` is used. The keys of the state dict are those of ``mmcnv2.FCMAE``, so the benchmarks load the
same weights into both and compare the results before they time anything.
"""

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global response normalisation of (N, H, W, C) (paper, algorithm 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        response = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (x * response) + self.beta + x


class Block(nn.Module):
    """ConvNeXt V2 block on (N, C, H, W); ``keep`` (N, 1, H, W) is 0 at removed positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.grn = GRN(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        shortcut = x
        x = self.dwconv(x if keep is None else x * keep).permute(0, 2, 3, 1)
        x = F.gelu(self.pwconv1(self.norm(x)))
        x = self.grn(x if keep is None else x * keep.permute(0, 2, 3, 1))
        return shortcut + self.pwconv2(x).permute(0, 3, 1, 2)


class ConvNeXtV2(nn.Module):
    """The encoder: images (N, 3, H, W) to the maps of the four stages, with ``out_norm`` through output norms."""

    def __init__(self, depths: tuple[int, ...], channels: tuple[int, ...], out_norm: bool = False) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), LayerNorm2d(channels[0], eps=1e-6))]
        )
        for c_in, c_out in itertools.pairwise(channels):
            layers = nn.Sequential(LayerNorm2d(c_in, eps=1e-6), nn.Conv2d(c_in, c_out, 2, 2))
            self.downsample_layers.append(layers)
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(c) for _ in range(depth)) for depth, c in zip(depths, channels, strict=True)
        )
        self.out_norm = out_norm
        for i, c in enumerate(channels if out_norm else ()):
            self.add_module(f'norm{i}', LayerNorm2d(c, eps=1e-6))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        outs = []
        keep = None
        if mask is not None:
            x = x * upsample(mask, x)
        for i, downsample in enumerate(self.downsample_layers):
            x = downsample(x)
            if mask is not None:
                keep = upsample(mask, x)
            for block in cast(nn.ModuleList, self.stages[i]):
                x = block(x, keep)
            outs.append(getattr(self, f'norm{i}')(x) if self.out_norm else x)
        return tuple(out if mask is None else out * upsample(mask, out) for out in outs)


class FCMAE(nn.Module):
    """The loss of images (N, 3, H, W) and a mask (N, H/32, W/32) bool, True = removed."""

    def __init__(self, depths: tuple[int, ...], channels: tuple[int, ...], decoder_embed_dims: int = 512) -> None:
        super().__init__()
        self.backbone = ConvNeXtV2(depths, channels)
        self.proj = nn.Conv2d(channels[-1], decoder_embed_dims, 1)
        self.mask_token = nn.Parameter(torch.zeros(1, decoder_embed_dims, 1, 1))
        self.decoder = nn.Sequential(Block(decoder_embed_dims))
        self.pred = nn.Conv2d(decoder_embed_dims, 32 * 32 * 3, 1)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        removed = mask.to(images.device).unsqueeze(1)
        x = self.proj(self.backbone(images, mask)[-1])
        x = torch.where(removed, self.mask_token.to(x.dtype), x)
        prediction = self.pred(self.decoder(x)).flatten(2).transpose(1, 2)  # (N, L, 32*32*3)
        n, c, h, w = images.shape
        target = images.view(n, c, h // 32, 32, w // 32, 32).permute(0, 2, 4, 3, 5, 1).reshape(prediction.shape)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        error = (prediction - target).square().mean(-1)
        removed = removed.flatten(1)
        return (error * removed).sum() / removed.sum()


def upsample(mask: Tensor, x: Tensor) -> Tensor:
    """Return (N, 1, H, W) in the dtype of ``x`` (N, C, H, W): 0 at removed positions, 1 elsewhere."""
    side = x.shape[-1] // mask.shape[-1]
    keep = (~mask).to(x.device, x.dtype).unsqueeze(1)
    return keep.repeat_interleave(side, 2).repeat_interleave(side, 3)
