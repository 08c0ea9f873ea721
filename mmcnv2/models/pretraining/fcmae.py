"""Fully convolutional masked autoencoder (arXiv 2301.00808, section 3).

    images -- random_mask --> visible patches -- backbone --> features (N, C, h, w)
           -- proj, mask token, decoder --> (N, h, w, D) -- pred --> pixels of each patch

with h = H/32 and w = W/32 patches, L = h*w.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmcnv2.registry import MODELS
from mmcnv2.utils.errors import InputError

from ..backbones.skeleton import NUM_STAGES, Stage, init_weights
from ..layers import is_plain
from ..sparse import PATCH_SIZE, make_layout, patch_indices, random_mask
from ..sparse.mask import check_mask_ratio


@MODELS.register_module()
class FCMAE(BaseModel):
    """A model that masks patches of images, encodes the visible ones and predicts the pixels of the removed ones.

    Args:
        backbone: Config of the encoder. Its last stage is used, without output norm, as in the paper: ``out_indices``
            defaults to (3,) and ``out_norm`` to False here.
        mask_ratio: Share of removed patches, in (0, 1).
        patch_size: Side of a patch in pixels; the stride of the encoder, 32.
        decoder_embed_dims: Channels D of the decoder.
        decoder_depth: Number of blocks in the decoder, of the same kind as those of the backbone.
        norm_pix_loss: Whether the target is each patch normalised by its own mean and variance (as in MAE).
        data_preprocessor: Config of the preprocessor that batches and normalises the images.
        init_cfg: See MMEngine. The constructor initialises all weights, once.

    Raises:
        ValueError: If ``mask_ratio`` or ``patch_size`` is out of range, or the backbone leaves out its last stage.
    """

    def __init__(
        self,
        backbone: dict,
        mask_ratio: float = 0.6,
        patch_size: int = PATCH_SIZE,
        decoder_embed_dims: int = 512,
        decoder_depth: int = 1,
        norm_pix_loss: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        check_mask_ratio(mask_ratio)
        if patch_size != PATCH_SIZE:
            raise InputError(f'patch_size must be the stride of the encoder, {PATCH_SIZE}, got {patch_size}')
        self.backbone = MODELS.build({'out_indices': (3,), 'out_norm': False, **backbone})
        if self.backbone.out_indices[-1] != NUM_STAGES - 1:
            raise InputError(f'the backbone must return its last stage, got out_indices {self.backbone.out_indices}')
        self.mask_ratio = mask_ratio
        self.patch_size = patch_size
        self.norm_pix_loss = norm_pix_loss
        channels, pixels = self.backbone.channels[-1], patch_size**2 * self.backbone.in_channels
        self.proj = nn.Conv2d(channels, decoder_embed_dims, kernel_size=1)
        self.decoder = Stage(*(self.backbone.block(decoder_embed_dims) for _ in range(decoder_depth)))
        self.pred = nn.Conv2d(decoder_embed_dims, pixels, kernel_size=1)
        for module in (self.proj, self.decoder, self.pred):
            module.apply(init_weights)
        self.mask_token = nn.Parameter(torch.empty(1, decoder_embed_dims, 1, 1))
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list | None = None,
        mode: str = 'tensor',
        mask: Tensor | None = None,
    ) -> dict[str, Tensor] | Tensor | tuple[Tensor, ...]:
        """Run the model for MMEngine: ``mode`` 'loss', 'predict' (reconstruction) or 'tensor' (features, unmasked).

        Raises:
            ValueError: If ``mode`` is none of these.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples, mask)
        if mode == 'predict':
            return self.predict(inputs, data_samples, mask)
        if mode == 'tensor':
            return self.backbone(inputs, mask)
        raise InputError(f"mode must be 'loss', 'predict' or 'tensor', got {mode!r}")

    def loss(self, inputs: Tensor, data_samples: list | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the mean squared error over the removed patches of a batch.

        Args:
            inputs: Normalised images (N, C, H, W), H and W divisible by 32.
            data_samples: Not used.
            mask: (N, h, w) bool, True = removed; drawn at random by default.

        Returns:
            ``dict(loss=...)``, a scalar.
        """
        return dict(loss=self.reconstruction_error(inputs, mask).mean())

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: list | None = None, mask: Tensor | None = None) -> Tensor:
        """Reconstruct images (N, C, H, W): visible patches as they are in ``inputs``, removed ones as predicted.

        With ``norm_pix_loss``, predictions are scaled back by the mean and deviation of the true patch.
        """
        mask = self.random_mask(inputs) if mask is None else mask
        pixels = self.forward_pixels(self.forward_decoder(self.forward_encoder(inputs, mask), mask))
        if self.norm_pix_loss:
            mean, std = self.patch_statistics(self.patchify(inputs))
            pixels = pixels * std + mean
        prediction = self.unpatchify(pixels, inputs)
        removed = F.interpolate(mask[:, None].float(), scale_factor=self.patch_size).bool()
        return torch.where(removed.to(inputs.device), prediction, inputs)

    def test_step(self, data: dict) -> list[dict[str, Tensor]]:
        """Return the reconstruction error of each image, for ``mmcnv2.ReconstructionError``."""
        inputs = self.data_preprocessor(data, False)['inputs']
        with torch.no_grad():
            errors = self.reconstruction_error(inputs).mean(dim=1)
        return [dict(reconstruction_error=error) for error in errors]

    val_step = test_step

    def reconstruction_error(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean squared error (N, R) of each of the R removed patches, in row-major order."""
        mask = self.random_mask(images) if mask is None else mask
        features = self.forward_encoder(images, mask)
        decoded = self.forward_decoder(features, mask)
        return self.forward_loss(images, decoded, mask)

    def random_mask(self, images: Tensor) -> Tensor:
        """Draw a mask (N, h, w) bool on the CPU for images (N, C, H, W), see ``models/sparse/mask.py``."""
        height, width = images.shape[-2:]
        grid_size = (height // self.patch_size, width // self.patch_size)
        return random_mask(images.shape[0], grid_size, self.mask_ratio)

    def forward_encoder(self, images: Tensor, mask: Tensor) -> Tensor:
        """Encode images (N, C, H, W) as features (N, channels[-1], h, w), zero at removed patches."""
        return self.backbone(images, mask)[-1]

    def forward_decoder(self, features: Tensor, mask: Tensor) -> Tensor:
        """Decode features (N, channels[-1], h, w) into patches (N, h, w, D)."""
        layout = make_layout(None, 'dense')
        x = layout.pack(self.proj(features))
        removed = mask.to(x.device, non_blocking=True).unsqueeze(-1)
        x = torch.where(removed, self.mask_token.to(x.dtype).flatten(), x)
        return self.decoder(x, layout)

    def forward_pixels(self, decoded: Tensor) -> Tensor:
        """Predict the pixels (..., p*p*C) of decoded patches (..., D), which may be any selection of patches."""
        if is_plain(self.pred, nn.Conv2d):
            pixels = F.linear(decoded, self.pred.weight.flatten(1), self.pred.bias)
        else:
            pixels = self.pred(decoded.flatten(0, -2)[:, :, None, None]).view(*decoded.shape[:-1], -1)
        # The loss is computed at least in fp32, also under autocast.
        return pixels.flatten(1, -2).to(torch.promote_types(pixels.dtype, torch.float32))

    def forward_loss(self, images: Tensor, decoded: Tensor, mask: Tensor) -> Tensor:
        """Return the error (N, R) of each removed patch, from images and decoded patches (N, h, w, D)."""
        if not mask.any():
            raise InputError('mask removes no patch, and the loss is the mean over removed patches')
        removed = patch_indices(mask).to(images.device, non_blocking=True).unsqueeze(-1)  # (N, R, 1)
        target = self.patchify(images).take_along_dim(removed, dim=1)  # (N, R, p*p*C)
        if self.norm_pix_loss:
            mean, std = self.patch_statistics(target)
            target = (target - mean) / std
        pixels = self.forward_pixels(decoded.flatten(1, 2).take_along_dim(removed, dim=1))
        return F.mse_loss(pixels, target, reduction='none').mean(dim=-1)

    def patchify(self, images: Tensor) -> Tensor:
        """Cut images (N, C, H, W) into patches (N, L, p*p*C), pixels in order (row, column, channel)."""
        p = self.patch_size
        x = images.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # (N, C, h, p, w, p)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def unpatchify(self, patches: Tensor, images: Tensor) -> Tensor:
        """Put patches (N, L, p*p*C) back into the shape of ``images``."""
        n, channels, height, width = images.shape
        p = self.patch_size
        x = patches.view(n, height // p, width // p, p, p, channels)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(images.shape)

    @staticmethod
    def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (N, L, 1) of each patch; 1e-6 keeps flat patches finite (MAE's code)."""
        mean = patches.mean(dim=-1, keepdim=True)
        std = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        return mean, std
