"""Parts of tools/quickstart.py; the whole of it takes ten minutes and is `make quickstart`."""

import importlib.util
import json
import re
import sys

import pytest
from helpers.processes import run


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


def test_report_compares_the_last_values(quickstart, tmp_path):
    for start, (box, mask, miou) in {'scratch': (0.1, 0.2, 30.0), 'fcmae': (0.15, 0.25, 31.26)}.items():
        early = {'coco/bbox_mAP': 0.0, 'coco/segm_mAP': 0.0}
        write_scalars(
            tmp_path / f'mask-rcnn_{start}', early, {'coco/bbox_mAP': box, 'coco/segm_mAP': mask}, {'loss': 1}
        )
        write_scalars(tmp_path / f'upernet_{start}', {'mIoU': miou})
    steps = [quickstart.Step('fcmae', [], 0, seconds=90.4), quickstart.Step('upernet_fcmae', [], 0, seconds=29.6)]
    tables = quickstart.write_report(tmp_path, steps)
    assert '| mask-rcnn box AP | 10.0 | 15.0 |' in tables
    assert '| mask-rcnn mask AP | 20.0 | 25.0 |' in tables
    assert '| upernet mIoU | 30.0 | 31.3 |' in tables
    assert '| fcmae | 90 s |' in tables and '| all | 2.0 min |' in tables
    report = (tmp_path / 'report.md').read_text()
    assert tables in report and '(reconstruction.png)' in report


def test_a_failed_step_ends_with_its_log(quickstart, tmp_path):
    step = quickstart.Step('broken', [sys.executable, '-c', 'print("the reason"); raise SystemExit(3)'], 1)
    with pytest.raises(SystemExit, match=r'the reason\n\nerror: step broken failed; its whole log is .*broken\.log'):
        quickstart.run(step, 1, [step], tmp_path)


@pytest.mark.parametrize('bfloat16', [True, False])
def test_bfloat16_where_the_processor_multiplies_in_it(quickstart, tmp_path, monkeypatch, bfloat16):
    monkeypatch.setattr(quickstart, 'multiplies_bfloat16', lambda: bfloat16)
    monkeypatch.setattr(quickstart, 'METRICS', {})
    for task in quickstart.CONFIGS:
        assert ('--amp' in quickstart.training(task, task, tmp_path, 1).command) == (bfloat16 and task == 'fcmae')
    quickstart.write_report(tmp_path, [])
    precision = 'bfloat16' if bfloat16 else 'float32'
    expected = f'pre-training in {precision}, the rest in float32; {quickstart.describe_processor()}; torch '
    assert expected in (tmp_path / 'report.md').read_text()


def test_pretrained_steps_name_the_checkpoint(quickstart, tmp_path):
    command = quickstart.training('upernet_fcmae', 'upernet', tmp_path, 1, tmp_path / 'epoch_1.pth').command
    assert command[command.index('--cfg-options') + 1 :] == [
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={tmp_path}/epoch_1.pth',
        'model.backbone.init_cfg.prefix=backbone.',
    ]


DRAW = """
import sys
from pathlib import Path

import torch
from mmengine.config import Config

sys.path.insert(0, 'tools')
import quickstart

quickstart.DATA_ROOT, work_dir = map(Path, sys.argv[1:])
images = sorted((quickstart.DATA_ROOT / 'val').iterdir())[:2]
meta = dict(dataset_meta=dict(classes=('a', 'b'), palette=[[0, 0, 0], [9, 9, 9]]))
fcmae = quickstart.MODELS.build(Config.fromfile(quickstart.CONFIGS['fcmae']).model).state_dict()
for name, state_dict in {'fcmae': fcmae, 'mask-rcnn_fcmae': {}, 'upernet_fcmae': {}}.items():
    run_dir = work_dir / name
    run_dir.mkdir()
    torch.save(dict(state_dict=state_dict, meta=meta), run_dir / 'iter_1.pth')
    (run_dir / 'last_checkpoint').write_text(str(run_dir / 'iter_1.pth'))
print(quickstart.draw_detections({'fresh': work_dir / 'mask-rcnn_fcmae'}, images).shape)
print(quickstart.draw_segmentations({'fresh': work_dir / 'upernet_fcmae'}, images).shape)
print('overview', quickstart.draw_overview(work_dir, images).shape)
"""


def test_pictures_are_drawn_in_a_fresh_process(root, toy_scenes, tmp_path):
    """Where nothing has prepared torchvision, as in `make quickstart`: ground truth and one run, and the overview."""
    done = run(root, sys.executable, '-c', DRAW, toy_scenes, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    shapes = re.findall(r'^\((\d+), (\d+), 3\)$', done.stdout, re.MULTILINE)
    assert len(shapes) == 2 and shapes[0] == shapes[1]
    height, width = map(int, shapes[0])
    assert height > 2 * 192 and width >= 3 * 192  # 96 pixels, drawn twice as large
    columns = 6  # image, removed, reconstruction, detector, segmenter, ground truth; 4 pixels between them
    assert f'overview ({height}, {columns * 196 - 4}, 3)' in done.stdout
