from contextlib import nullcontext
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.dist import is_main_process
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, OptimStateKeyType
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from mmcnv2.models.backbones import Block
from mmcnv2.registry import STRATEGIES
from mmcnv2.utils.files import written_whole

from ..console import BriefConsole


@STRATEGIES.register_module()
class FSDPStrategy(BriefConsole, MMEngineFSDPStrategy):
    """A strategy that shards parameters, gradients and optimizer state over all processes; for ``FlexibleRunner``.

    MMEngine's strategy of this name, with these differences:

    - The unit that is gathered is a block of ConvNeXt V2. It reads the weights of its layers itself, so no layer may
      be sharded on its own.
    - A checkpoint is one file with whole tensors, as without sharding.
    - Optimizer constructors see parameters in their own shapes. A shard is flat, and flat parameters get no weight
      decay.
    - Training can be resumed, and works without a GPU.

    Args:
        model_wrapper: More settings of ``MMFullyShardedDataParallel``, e.g.
            ``dict(sharding_strategy='SHARD_GRAD_OP')``.
        **kwargs: See MMEngine; ``state_dict_cfg`` is set here.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs: Any) -> None:
        on_gpu = torch.cuda.is_available()
        model_wrapper = dict(auto_wrap_policy=ModuleWrapPolicy({Block}), **(model_wrapper or {}))
        if not on_gpu:
            model_wrapper['device_id'] = 'cpu'  # MMEngine's default is a GPU
        # From a CPU to a CPU nothing is copied, and torch would free or overwrite what it returned.
        options = dict(rank0_only=True, offload_to_cpu=on_gpu)
        state_dict_cfg = dict(
            state_dict_type='FULL_STATE_DICT',
            state_dict_config=dict(type='FullStateDictConfig', **options),
            optim_state_dict_config=dict(type='FullOptimStateDictConfig', **options),
        )
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **kwargs)

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> BaseOptimWrapper:
        """See MMEngine. Gradients must not be clipped, see ``preflight``."""
        assert model is not None  # MMEngine passes it; the argument is optional in its signature only
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            return super().build_optim_wrapper(optim_wrapper, model)

    def save_checkpoint(self, filename: str, **kwargs: Any) -> None:
        """See MMEngine. The first process writes the file, whole or not at all; the others take part in gathering."""
        with written_whole(filename) if is_main_process() else nullcontext(filename) as path:
            super().save_checkpoint(str(path), **kwargs)

    def optim_state_dict(self) -> dict:
        """Return the whole optimizer state on the first process, with the settings MMEngine logs as ``base_lr``."""
        return dict(super().optim_state_dict(), base_param_settings=self.optim_wrapper.base_param_settings)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load what ``optim_state_dict`` returned (MMEngine calls torch with the arguments in an outdated order).

        The state of a training without shards is loaded, too: it has numbers instead of names.
        """
        base_param_settings = state_dict.pop('base_param_settings')
        optimizer = self.optim_wrapper.optimizer
        state_dict = FullyShardedDataParallel.rekey_optim_state_dict(
            state_dict, OptimStateKeyType.PARAM_NAME, self.model, optim=optimizer
        )
        sharded = FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        self.optim_wrapper.load_state_dict(dict(sharded, base_param_settings=base_param_settings))
