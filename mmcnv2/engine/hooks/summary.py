from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


class SummaryHook(Hook):
    """A hook that logs what a training is about to do, and where its log is."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        loop = runner.train_loop
        lines = {
            'network': _network(model),
            'weights': _weights(runner, model),
            'training': f'{_images(loop.dataloader)}, {_batch_size(loop.dataloader)} an iteration and process; '
            f'{loop.max_iters} iterations, of which {loop.iter} are done',
            'validation': _images(runner.val_dataloader) if runner.val_loop is not None else 'none',
            'device': f'{next(model.parameters()).device.type}, {get_world_size()} process(es), seed {runner.seed}',
            'log': f'{runner.log_dir}/{runner.timestamp}.log, with config, environment, hooks, parameter groups',
        }
        runner.logger.info('\n'.join(['start', *(f'  {key + ":":<12}{line}' for key, line in lines.items())]))


def _network(model: nn.Module) -> str:
    parameters = [*model.parameters()]
    counts = (sum(p.numel() for p in some) / 1e6 for some in (parameters, [p for p in parameters if p.requires_grad]))
    backbone = f' on {type(model.backbone).__name__}' if hasattr(model, 'backbone') else ''
    return f'{type(model).__name__}{backbone}, {{:.1f}} million parameters, {{:.1f}} of them trained'.format(*counts)


def _weights(runner: Runner, model: nn.Module) -> str:
    if runner.cfg.get('load_from'):
        return f'{"all of" if runner.cfg.get("resume") else "from"} {runner.cfg.load_from}'
    starts = []
    for name, module in model.named_modules():
        init_cfgs = getattr(module, 'init_cfg', None) or []
        for init_cfg in [init_cfgs] if isinstance(init_cfgs, dict) else init_cfgs:
            if 'checkpoint' in init_cfg:
                starts.append(f'{name or "model"} from {init_cfg["checkpoint"]}')
    return ', '.join(starts) or 'random'


def _images(loader: DataLoader) -> str:
    return f'{len(loader.dataset)} images'  # type: ignore[arg-type]  # MMEngine's loaders need one with a length


def _batch_size(loader: DataLoader) -> int:
    return loader.batch_size or loader.batch_sampler.batch_size  # type: ignore[union-attr]  # one of the two is given
