"""The head of the official classifier: a LayerNorm after the pooling, then a linear layer."""

from mmpretrain.models import LinearClsHead
from torch import Tensor, nn

from mmcnv2.registry import MODELS

from ..backbones.skeleton import NORM_EPS


@MODELS.register_module()
class ConvNeXtV2ClsHead(LinearClsHead):
    """mmpretrain's linear head with a LayerNorm before it; official checkpoints call the two ``norm`` and ``head``.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the pooled features.
        init_cfg: The default is that of official fine-tuning: std 0.02 times 0.001 ("head init" of the paper's tables
            9 to 13), so that the first predictions are uniform.
        **kwargs: See mmpretrain.
    """

    def __init__(self, num_classes: int, in_channels: int, init_cfg: dict | None = None, **kwargs: object) -> None:
        init_cfg = init_cfg or dict(type='TruncNormal', layer='Linear', std=2e-5)
        super().__init__(num_classes, in_channels, init_cfg, **kwargs)
        self.norm = nn.LayerNorm(in_channels, eps=NORM_EPS)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Return the last of the pooled features, (N, C), after the norm."""
        return self.norm(super().pre_logits(feats))
