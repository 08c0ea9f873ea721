"""Global response normalisation of ConvNeXt V2 (arXiv 2301.00808, section 4, algorithm 1).

The norm is taken per sample over the positions of that sample, as in the paper. (The official sparse layer takes
it over the whole batch, so its results depend on the batch size.)
"""

from typing import Any

import torch
from torch import Tensor, nn


class GRN(nn.Module):
    """``x + gamma * (x * N(G(x))) + beta``, with G the L2 norm over positions and N the division by the channel mean.

    Args:
        channels: Number of channels C. ``gamma`` and ``beta`` have shape (C,) and start at zero, so that a fresh
            layer is the identity.
        eps: Added to the mean norm.

    Shape: (N, ..., C) to the same; the positions are all dimensions between the first and the last. Positions that
    must not count have to be zero.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        positions = tuple(range(1, x.ndim - 1))
        # A sum of squares over thousands of positions overflows fp16 and is coarse in bf16.
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=positions, keepdim=True, dtype=dtype)
        response = norm / (norm.mean(dim=-1, keepdim=True) + self.eps)
        return torch.addcmul(self.beta.to(x.dtype), x, (self.gamma * response + 1).to(x.dtype))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        # Official checkpoints hold both parameters as (1, 1, 1, C).
        for key in (f'{prefix}gamma', f'{prefix}beta'):
            if key in state_dict:
                state_dict[key] = state_dict[key].flatten()
        super()._load_from_state_dict(state_dict, prefix, *args)
