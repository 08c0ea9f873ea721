"""Parts of tools/quickstart.py; the whole of it takes ten minutes and is `make quickstart`."""

import importlib.util
import json
import os
import re
import sys
from functools import reduce

import pytest
from helpers.processes import run
from mmengine.config import Config


@pytest.fixture(scope='module')
def quickstart(root):
    spec = importlib.util.spec_from_file_location('quickstart', root / 'tools/quickstart.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['quickstart'] = module
    spec.loader.exec_module(module)
    return module


def write_scalars(run_dir, *records):
    folder = run_dir / '20260101_000000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))


@pytest.fixture
def finished(tmp_path):
    """What the trainings of a job have logged."""
    write_scalars(tmp_path / 'fcmae', {'loss': 1.0, 'iter': 10}, {'loss': 0.6, 'iter': 20})
    for start, (box, mask, miou) in {'scratch': (0.1, 0.2, 30.0), 'fcmae': (0.15, 0.25, 31.26)}.items():
        early = {'coco/bbox_mAP': 0.05, 'coco/segm_mAP': 0.0, 'step': 0}  # the step of a validation is its epoch
        late = {'coco/bbox_mAP': box, 'coco/segm_mAP': mask, 'step': 0}
        training = [{'loss': 1.0, 'iter': iteration} for iteration in (4, 8, 9)]
        write_scalars(tmp_path / f'mask-rcnn_{start}', training[0], early, training[1], late, training[2])
        write_scalars(tmp_path / f'upernet_{start}', {'loss': 1.0, 'iter': 8}, {'mIoU': miou, 'step': 0})
    return tmp_path


def test_report_compares_the_last_values(quickstart, finished):
    steps = [quickstart.Step('fcmae', [], 0, seconds=90.4), quickstart.Step('upernet_fcmae', [], 0, seconds=29.6)]
    tables = quickstart.write_report(finished, quickstart.whole_plan(), steps, minutes=1.55)
    assert '| Mask R-CNN box AP | 10.0 | 15.0 |' in tables
    assert '| Mask R-CNN mask AP | 20.0 | 25.0 |' in tables
    assert '| UperNet mIoU | 30.0 | 31.3 |' in tables
    assert '| fcmae | 90 s |' in tables and 'cores | 1.6 min |' in tables
    report = (finished / 'report.md').read_text()
    assert tables in report and all(f'({name})' in report for name in quickstart.PICTURES)


def test_curves_are_those_of_the_logs(quickstart, finished):
    loss, box, mask, miou = quickstart.plot_curves(finished, quickstart.STARTS).axes
    assert loss.lines[0].get_xydata().tolist() == [[10, 1.0], [20, 0.6]]
    assert [line.get_xydata().tolist() for line in box.lines] == [[[4, 5], [8, 10]], [[4, 5], [8, 15]]]
    assert [line.get_label() for line in box.lines] == ['from scratch', 'from FCMAE']
    assert mask.get_title() == 'Mask R-CNN: mask AP'
    assert miou.lines[1].get_xydata().tolist() == [[8, 31.26]]


def python(code):
    return [sys.executable, '-c', code]


def test_a_step_waits_for_those_it_needs(quickstart, tmp_path):
    """Two at a time: b starts only after a, though a lane is free; c runs beside a, which waits for it."""
    file, other = tmp_path / 'made', tmp_path / 'other'
    wait = f'import time, pathlib\nwhile not pathlib.Path({str(other)!r}).exists(): time.sleep(0.01)\n'
    steps = [
        quickstart.Step('a', python(wait + f'open({str(file)!r}, "w").write("of a")'), 2),
        quickstart.Step('c', python(f'open({str(other)!r}, "w")'), 1),
        quickstart.Step('b', python(f'print(open({str(file)!r}).read())'), 1, after=('a',)),
    ]
    quickstart.Job(steps, tmp_path, lanes=2).run()
    assert (tmp_path / 'b.log').read_text() == 'of a\n'
    assert all(step.seconds > 0 for step in steps)


def test_expected_time(quickstart):
    """a, then b and c side by side, then d in the lane that is free first, waiting for c."""
    steps = [
        quickstart.Step('a', [], 10),
        quickstart.Step('b', [], 20, after=('a',)),
        quickstart.Step('c', [], 50, after=('a',)),
        quickstart.Step('d', [], 5, after=('c',)),
    ]
    assert quickstart.expected_seconds(steps, lanes=2) == 65
    assert quickstart.expected_seconds(steps, lanes=1) == 85


def test_a_failed_step_ends_with_its_log_and_stops_the_others(quickstart, tmp_path):
    pid = tmp_path / 'pid'
    sleep = f'import os, time\nopen({str(pid)!r}, "w").write(str(os.getpid()))\ntime.sleep(600)'
    fail = (
        f'import pathlib, time\nwhile not (p := pathlib.Path({str(pid)!r})).exists() or not p.read_text():\n'
        ' time.sleep(0.01)\nprint("the reason"); raise SystemExit(3)'
    )
    steps = [
        quickstart.Step('long', python(sleep), 1),
        quickstart.Step('broken', python(fail), 1),
        quickstart.Step('later', python(f'open({str(tmp_path / "late")!r}, "w")'), 1, after=('long',)),
    ]
    with pytest.raises(SystemExit, match=r'the reason\n\nerror: step broken failed; its whole log is .*broken\.log'):
        quickstart.Job(steps, tmp_path, lanes=2).run()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not (tmp_path / 'late').exists()


@pytest.mark.parametrize('bfloat16', [True, False])
def test_bfloat16_where_the_processor_multiplies_in_it(quickstart, tmp_path, monkeypatch, bfloat16):
    monkeypatch.setattr(quickstart, 'multiplies_bfloat16', lambda: bfloat16)
    monkeypatch.setattr(quickstart, 'METRICS', {})
    for task in quickstart.CONFIGS:
        step = quickstart.training(task, 'scratch', quickstart.whole_plan(), tmp_path)
        assert ('--amp' in step.command) == (bfloat16 and task == 'fcmae')
    quickstart.write_report(tmp_path, quickstart.whole_plan(), [], minutes=0)
    precision = 'bfloat16' if bfloat16 else 'float32'
    expected = f'pre-training in {precision}, the rest in float32; {quickstart.describe_processor()}; torch '
    assert expected in (tmp_path / 'report.md').read_text()


def options(step):
    command = step.command
    return dict(option.split('=', 1) for option in command[command.index('--cfg-options') + 1 :])


def test_trainings_from_fcmae_name_the_checkpoint(quickstart, tmp_path):
    plan = quickstart.whole_plan()
    plan.seed = 3
    steps = {step.name: step for step in quickstart.all_steps(plan, tmp_path)}
    assert list(steps) == [
        *('toy_scenes', 'fcmae', 'mask-rcnn_scratch', 'upernet_scratch', 'mask-rcnn_fcmae', 'upernet_fcmae')
    ]
    assert steps['fcmae'].after == steps['upernet_scratch'].after == ('toy_scenes',)
    assert steps['upernet_fcmae'].after == ('fcmae',)
    scratch, pretrained = options(steps['upernet_scratch']), options(steps['upernet_fcmae'])
    data = {f'{split}_dataloader.dataset.data_root': f'{plan.data_root}/' for split in ('train', 'val', 'test')}
    assert scratch == {'randomness.seed': '3', **data}
    assert options(steps['fcmae'])['randomness.seed'] == '3'
    assert {key: value for key, value in pretrained.items() if key not in scratch} == {
        'model.backbone.init_cfg.type': 'Pretrained',
        'model.backbone.init_cfg.checkpoint': f'{tmp_path}/fcmae/epoch_{plan.lengths["fcmae"]}.pth',
        'model.backbone.init_cfg.prefix': 'backbone.',
        'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': '0.3',
    }


def test_a_checkpoint_is_one_more_start(quickstart, finished, tmp_path):
    """Its trainings wait for the scenes alone, and have the options of those from FCMAE. Tables and curves have it."""
    plan = quickstart.whole_plan()
    plan.checkpoint = '/weights/epoch_90.pth'
    steps = {step.name: step for step in quickstart.all_steps(plan, tmp_path)}
    assert list(steps)[-2:] == ['mask-rcnn_checkpoint', 'upernet_checkpoint']
    for task in quickstart.METRICS:
        given, pretrained = steps[f'{task}_checkpoint'], steps[f'{task}_fcmae']
        assert given.after == ('toy_scenes',)
        checkpoint = {'model.backbone.init_cfg.checkpoint': '/weights/epoch_90.pth'}
        assert options(given) == options(pretrained) | checkpoint
    write_scalars(finished / 'upernet_checkpoint', {'loss': 1.0, 'iter': 8}, {'mIoU': 40.0, 'step': 0})
    late = {'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.4, 'step': 0}
    write_scalars(finished / 'mask-rcnn_checkpoint', {'loss': 1.0, 'iter': 8}, late)
    tables = quickstart.write_report(finished, plan, [], minutes=1)
    assert '| | from scratch | from FCMAE | from --checkpoint |\n| --- | --- | --- | --- |' in tables
    assert '| UperNet mIoU | 30.0 | 31.3 | 40.0 |' in tables
    assert '/weights/epoch_90.pth' in (finished / 'report.md').read_text()
    *_, miou = quickstart.plot_curves(finished, plan.starts).axes
    assert [line.get_xydata().tolist() for line in miou.lines] == [[[8, 30]], [[8, 31.26]], [[8, 40]]]


def test_a_checkpoint_that_is_not_there(root, tmp_path):
    """It is refused before anything runs."""
    work_dir = tmp_path / 'job'
    arguments = ('--checkpoint', 'none.pth', '--work-dir', work_dir)
    done = run(root, sys.executable, 'tools/quickstart.py', *arguments)
    assert done.returncode == 2 and done.stderr.endswith('error: --checkpoint none.pth does not exist\n')
    assert not work_dir.exists()


def test_quick_shortens_everything(quickstart, tmp_path):
    """Its options exist in the configs, and each ends, validates and saves at its shorter length."""
    plan = quickstart.quick_plan()
    for step in quickstart.all_steps(plan, tmp_path)[1:]:
        task = step.name.split('_')[0]
        cfg = Config.fromfile(quickstart.CONFIGS[task])
        for key in options(step):
            if not key.startswith(('model.', 'optim_wrapper.')):
                reduce(lambda node, part: node[int(part) if part.isdigit() else part], key.split('.'), cfg)
        cfg.merge_from_dict({key: int(value) for key, value in options(step).items() if value.isdigit()})
        length = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
        assert length == plan.lengths[task] < quickstart.length(task)
        assert length % cfg.default_hooks.checkpoint.interval == 0
        assert length % (cfg.custom_hooks[1].interval if task == 'fcmae' else cfg.train_cfg.val_interval) == 0


DRAW = """
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

sys.path.insert(0, 'tools')
import quickstart

data_root, work_dir = map(Path, sys.argv[1:])
images = sorted((data_root / 'val').iterdir())[:2]
meta = {}
for name in ('fcmae', 'mask-rcnn_fcmae', 'upernet_fcmae'):
    cfg = Config.fromfile(quickstart.CONFIGS[name.removesuffix('_fcmae')])
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmcnv2')):
        state_dict = MODELS.build(cfg.model).state_dict()
    run_dir = work_dir / name
    run_dir.mkdir()
    torch.save(dict(state_dict=state_dict, meta=meta), run_dir / 'iter_1.pth')
    (run_dir / 'last_checkpoint').write_text(str(run_dir / 'iter_1.pth'))
print(quickstart.draw_detections({'fresh': work_dir / 'mask-rcnn_fcmae'}, data_root, images).shape)
print(quickstart.draw_segmentations({'fresh': work_dir / 'upernet_fcmae'}, data_root, images).shape)
print('overview', quickstart.draw_overview(work_dir, data_root, images).shape)
"""


def test_pictures_are_drawn_in_a_fresh_process(root, toy_scenes, tmp_path):
    """Where nothing has prepared torchvision, as in `make quickstart`: ground truth and one run, and the overview."""
    done = run(root, sys.executable, '-c', DRAW, toy_scenes, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    shapes = re.findall(r'^\((\d+), (\d+), 3\)$', done.stdout, re.MULTILINE)
    assert len(shapes) == 2 and shapes[0] == shapes[1]
    height, width = map(int, shapes[0])
    assert height > 2 * 256 and width >= 3 * 256  # 128 pixels, drawn twice as large
    columns = 6  # image, removed, reconstruction, detector, segmenter, ground truth; 4 pixels between them
    assert f'overview ({height}, {columns * 260 - 4}, 3)' in done.stdout
