"""tools/evidence.py: which runs it makes, and what it makes of their scores."""

import importlib.util
import json
import re
import statistics
import sys

import pytest
from mmengine.config import Config, DictAction


@pytest.fixture(scope='module')
def evidence(root):
    spec = importlib.util.spec_from_file_location('evidence', root / 'tools/evidence.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['evidence'] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(evidence, tmp_path):
    """All starts did best with 3e-3; the first has all seeds of a share, the second has one."""
    results = evidence.Results(tmp_path / 'results.json')
    for start in evidence.STARTS:
        while runs := evidence.tuning_runs('upernet_nuclei', start, results):
            for run in runs:
                results.add(run, {'mIoU': {3e-4: 60.0, 1e-3: 70.0, 3e-3: 80.0, 1e-2: 75.0}[run.lr]})
    first, second, *_ = evidence.STARTS
    for run, value in zip(
        evidence.compared_runs('upernet_nuclei', first, '5 %', results), (80.0, 82.0, 84.0), strict=True
    ):
        results.add(run, {'mIoU': value})
    results.add(evidence.compared_runs('upernet_nuclei', second, '5 %', results)[0], {'mIoU': 71.0})
    return results


def test_tables_by_hand(evidence, results):
    """Mean and standard deviation of 80, 82 and 84 are 82 and 2."""
    tables = evidence.tables('upernet_nuclei', results).splitlines()
    assert tables[2] == '| ConvNeXt V2, FCMAE | 0.003 | 82.0 ± 2.0 (3) | open | open |'
    assert tables[3] == '| ConvNeXt V2, random | 0.003 | 71.0 (1) | open | open |'
    assert '| ResNet-18, random | 60.0 | 70.0 | 80.0 | 75.0 |' in tables
    assert not any('all labels' in line for line in tables)
    longer = evidence.longer_runs('upernet_nuclei', results)
    assert {(run.iterations, run.share) for run in longer} == {(600, '100 %'), (1200, '100 %')}
    assert {run.start for run in longer} == set(evidence.STARTS)
    results.add(longer[0], {'mIoU': 85.55})
    lines = evidence.tables('upernet_nuclei', results).splitlines()
    assert lines[-9] == '| mIoU, all labels, one seed: start | 300 iterations | 600 iterations | 1200 iterations |'
    assert lines[-7:-5] == [
        '| ConvNeXt V2, FCMAE | open | 85.5 | open |',
        '| ConvNeXt V2, random | open | open | open |',
    ]


def test_rates_are_tried_until_the_best_has_neighbours(evidence, tmp_path):
    """Of 3e-4, 1e-3 and 3e-3 the lowest is best: so 1e-4, which is the last there is."""
    results = evidence.Results(tmp_path / 'results.json')
    order = []
    while runs := evidence.tuning_runs('upernet_nuclei', 'ResNet-18, random', results):
        order.append([run.lr for run in runs])
        for run in runs:
            results.add(run, {'mIoU': 90 - 1e4 * run.lr})
    assert order == [[3e-4, 1e-3, 3e-3], [1e-4]]
    assert evidence.best_lr('upernet_nuclei', 'ResNet-18, random', results) == 1e-4


def test_plot_has_the_means(evidence, results):
    (axes,) = evidence.plot('upernet_nuclei', results).axes
    assert axes.lines[0].get_xydata().tolist() == [[23, 82.0]]
    assert [line.get_label() for line in axes.lines] == ['ConvNeXt V2, FCMAE', 'ConvNeXt V2, random']  # no others yet
    first = next(iter(evidence.STARTS))
    for iterations, value in {300: 81.0, 1200: 86.0}.items():
        results.add(
            evidence.Run('upernet_nuclei', first, '100 %', 3e-3, evidence.SEEDS[0], iterations), {'mIoU': value}
        )
    shares, lengths = evidence.plot('upernet_nuclei', results).axes
    assert shares.lines[0].get_xydata().tolist() == [[23, 82.0], [464, 81.0]]
    assert [line.get_xydata().tolist() for line in lengths.lines] == [[[300, 81.0], [1200, 86.0]]]


def test_what_is_there_is_not_made_again(evidence, results, tmp_path, capsys):
    again = evidence.Results(results.file)
    assert again.values == results.values
    evidence.train(list(again.values), again, tmp_path, tmp_path, lanes=1)
    assert capsys.readouterr().out == ''


def test_a_run_that_fails_is_named_and_others_go_on(evidence, results, tmp_path, monkeypatch):
    ok, fails = evidence.compared_runs('upernet_nuclei', 'ResNet-18, random', '20 %', results)[:2]
    scalars = tmp_path / ok.name / 'a/vis_data/scalars.json'
    code = f'import pathlib; path = pathlib.Path({str(scalars)!r}); path.parent.mkdir(parents=True); path.write_text'
    records = '\n'.join(
        map(json.dumps, [{'loss': 1.0, 'step': 1}, {'mIoU': 50.0, 'step': 0}, {'mIoU': 61.5, 'step': 0}])
    )
    commands = {ok: f'{code}({records!r})', fails: 'raise SystemExit("no")'}
    monkeypatch.setattr(evidence.Run, 'command', lambda run, *folders: [sys.executable, '-c', commands[run]])
    with pytest.raises(SystemExit, match=f'1 runs failed: .*{fails.name}.log'):
        evidence.train([fails, ok], results, tmp_path, tmp_path, lanes=1)
    assert evidence.Results(results.file).values[ok] == {'mIoU': 61.5}
    assert (tmp_path / f'{fails.name}.log').read_text() == 'no\n'


def test_metrics_are_in_percent(evidence, tmp_path):
    """mmdet logs fractions; those of the last validation count."""
    folder = tmp_path / 'a/vis_data'
    folder.mkdir(parents=True)
    records = [{'coco/segm_mAP': mask, 'coco/bbox_mAP': box, 'step': 0} for mask, box in ((0.1, 0.2), (0.25, 0.5))]
    (folder / 'scalars.json').write_text(
        '\n'.join(map(json.dumps, [records[0], {'loss': 1.0, 'step': 9}, records[1]]))
    )
    assert evidence.last_metrics('mask-rcnn_nuclei', tmp_path) == {'mask AP': 25.0, 'box AP': 50.0}


def with_options(command):
    """The config that a command of tools/train.py trains."""
    cfg = Config.fromfile(command[2])
    options = command[command.index('--cfg-options') + 1 :]
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in (o.split('=', 1) for o in options)})
    return cfg


@pytest.mark.parametrize('task', ['upernet_nuclei', 'upernet_coco-coarse', 'mask-rcnn_nuclei', 'dense-linear_nuclei'])
def test_starts_differ_in_backbone_and_weights_only(evidence, task, tmp_path):
    starts = [evidence.STARTS[start] for start in evidence.TASKS[task].starts]
    for backbone in [backbone for backbone, pretrained in starts if pretrained]:
        folder = tmp_path / f'fcmae_{backbone}_{evidence.TASKS[task].pretraining}'
        folder.mkdir()
        (folder / 'last_checkpoint').write_text(f'/somewhere/{backbone}/epoch_300.pth')
    runs = {
        start: evidence.Run(task, start, '20 %', 3e-3, seed=1, iterations=50) for start in evidence.TASKS[task].starts
    }
    configs = {start: with_options(run.command(tmp_path, tmp_path)) for start, run in runs.items()}
    (fcmae, random), others = list(configs.values())[:2], list(configs.values())[2:]
    assert fcmae.model.backbone.init_cfg == dict(
        type='Pretrained', prefix='backbone.', checkpoint='/somewhere/convnextv2-atto/epoch_300.pth'
    )
    del fcmae.model.backbone['init_cfg']
    assert fcmae.to_dict() == random.to_dict()
    assert len(fcmae.train_dataloader.dataset.indices) == evidence.TASKS[task].shares['20 %']
    for other in others:
        backbone, first = other.model.backbone, fcmae.model.backbone
        assert (backbone.type, backbone.get('arch')) != (first.type, first.arch)
        for key in (
            'train_dataloader',
            'optim_wrapper',
            'train_cfg',
            'param_scheduler',
            'randomness',
            'val_dataloader',
        ):
            assert fcmae[key] == other[key], key
    next_seed = with_options(
        evidence.Run(task, 'ConvNeXt V2, random', '20 %', 3e-3, seed=2, iterations=50).command(tmp_path, tmp_path)
    )
    assert next_seed.train_dataloader.dataset.indices != random.train_dataloader.dataset.indices


def test_coarse_classes_of_coco(root):
    """Each of the 133 labels is in one coarse class; things by COCO's own order of categories."""
    from mmdet.datasets import CocoPanopticDataset

    cfg = Config.fromfile(root / 'configs/evidence/upernet_convnextv2-atto_coco-coarse.py')
    classes = cfg.train_dataloader.dataset.metainfo.classes
    label_map = cfg.test_pipeline[2].label_map
    names = CocoPanopticDataset.METAINFO['classes']
    assert sorted(label_map) == list(range(len(names))) and set(label_map.values()) == set(range(len(classes)))
    coarse = {name: classes[label_map[label]] for label, name in enumerate(names)}
    expected = {
        'boat': 'vehicle', 'traffic light': 'street_furniture', 'giraffe': 'animal', 'backpack': 'carried',
        'tennis racket': 'carried', 'bowl': 'tableware', 'cake': 'food', 'potted plant': 'plant', 'bed': 'seat_or_bed',
        'dining table': 'table_or_cabinet', 'refrigerator': 'device', 'toothbrush': 'small_object', 'sea': 'water',
        'rug-merged': 'textile', 'road': 'road_or_pavement', 'tree-merged': 'plant', 'sky-other-merged': 'sky',
        'building-other-merged': 'building', 'snow': 'ground', 'ceiling-merged': 'wall_or_ceiling', 'stairs': 'floor',
    }  # fmt: skip
    assert {name: coarse[name] for name in expected} == expected


# ---- docs/measurements/evidence.md ----

SECTIONS = {
    'UperNet on nuclei': 'upernet_nuclei',
    'Mask R-CNN on nuclei': 'mask-rcnn_nuclei',
    'Dense linear probe on nuclei': 'dense-linear_nuclei',
    'UperNet on 20 classes of COCO': 'upernet_coco-coarse',
}
# By the first cell of a row, the folders of the runs of its last cells; '.' has those of the recipe.
SWEEPS = {
    'Mask ratio': {'40 %': ['mask-ratio-0.4'], '60 %': ['.'], '75 %': ['mask-ratio-0.75']},
    'Epochs': {'50': ['epoch-50'], '100': ['epoch-100'], '150, the last': ['.']},
    'Decoder width': {
        '50': ['epoch-50', 'decoder-512_epoch-50'],
        '100': ['epoch-100', 'decoder-512_epoch-100'],
        '150, the last': ['.', 'decoder-512'],
    },
}


def tables_of(text):
    """Each table as its header and rows, without bold type."""
    for table in re.findall(r'(?:^\|.*\n)+', text.replace('**', ''), flags=re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines())
        yield header, rows


def is_said(cell, values):
    """Whether a cell has the mean and deviation of three seeds; 'open' of fewer."""
    if len(values) < 3:
        return cell == 'open'
    return cell == f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


@pytest.mark.parametrize('heading', SECTIONS)
def test_the_page_says_what_the_runs_gave(evidence, root, heading):
    """Every table of a task: seeds, learning rates, iterations; Mask R-CNN has one for each AP, or both in a cell."""
    task = SECTIONS[heading]
    folder = root / 'docs/measurements/evidence'
    results = evidence.Results(folder / f'{task}.json')
    metrics, shares = evidence.TASKS[task].metrics, evidence.TASKS[task].shares
    page = (root / 'docs/measurements/evidence.md').read_text()
    section = re.split(r'^#{2,3} ', page.split(f'\n## {heading}\n')[1], flags=re.MULTILINE)[0]
    found = []
    for header, rows in tables_of(section):
        assert header[0] == 'start'
        starts = {row[0].replace(' (V1)', ''): row[1:] for row in rows}
        begun = evidence.begun(task, results)
        assert set(starts) <= set(begun) if header[1].isdigit() else list(starts) == begun
        if header[1] == 'lr':
            kind = 'seeds'
            of_share = {f'{number} images': share for share, number in shares.items()}
            assert {float(cells[0]) for cells in starts.values()} <= set(evidence.RATES)
            assert all(float(cells[0]) == evidence.best_lr(task, start, results) for start, cells in starts.items())
            assert any(
                all(
                    is_said(cell, evidence.scores(task, metric, start, of_share[column], results))
                    for start, cells in starts.items()
                    for column, cell in zip(header[2:], cells[1:], strict=True)
                )
                for metric in metrics
            ), header
        else:
            kind = 'iterations' if header[1].isdigit() else 'rates'
            for start, cells in starts.items():
                for column, cell in zip(header[1:], cells, strict=True):
                    if kind == 'iterations':
                        run, missing = evidence.runs_by_length(task, start, results)[int(column)], 'open'
                    else:
                        run, missing = evidence.tuning_run(task, start, float(column)), '-'
                    scores = results.values.get(run)
                    expected = (
                        ' / '.join(f'{scores[metric]:.1f}' for metric in reversed(metrics)) if scores else missing
                    )
                    assert cell == expected, (start, column)
        found.append(kind)
    assert found.count('seeds') == len(metrics) and found.count('rates') == 1


def test_the_summary_and_the_sweeps_say_what_the_runs_gave(evidence, root):
    page = (root / 'docs/measurements/evidence.md').read_text()
    (header, rows), *_ = tables_of(page.split('\n## In short\n')[1])
    starts = [title.replace('V2', 'ConvNeXt V2').replace('V1', 'ConvNeXt') for title in header[1:]]
    results = {task: evidence.Results(root / f'docs/measurements/evidence/{task}.json') for task in SECTIONS.values()}
    for (title, *cells), task in zip(rows, SECTIONS.values(), strict=True):
        metric, share = title.rpartition(', ')[2], '100 %' if 'COCO' in title else '20 %'
        for start, cell in zip(starts, cells, strict=True):
            known = start in evidence.begun(task, results[task])
            values = evidence.scores(task, metric, start, share, results[task]) if known else []
            assert cell == (f'{statistics.mean(values):.1f}' if values else '-'), (title, start)
    task = 'dense-linear_nuclei'

    def probed(folder):
        runs = evidence.Results(root / f'docs/measurements/evidence/{folder}/{task}.json')
        found = [
            evidence.Run(task, 'ConvNeXt V2, FCMAE', '20 %', 3e-2, seed, iterations=300) for seed in evidence.SEEDS
        ]
        return [runs.values[run]['mIoU'] for run in found]

    for heading, sweeps in SWEEPS.items():
        (_, rows), *_ = tables_of(page.split(f'\n### {heading}\n')[1])
        assert [row[0] for row in rows] == list(sweeps)
        for row, folders in zip(rows, sweeps.values(), strict=True):
            for cell, folder in zip(row[-len(folders) :], folders, strict=True):
                assert is_said(cell, probed(folder)), row
