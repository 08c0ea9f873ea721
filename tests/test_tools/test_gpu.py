"""tools/gpu: what measures on a machine with a GPU, as far as a CPU can try it."""

import argparse
import copy
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from helpers.models import ARCH
from helpers.processes import run
from mmengine.config import Config

from mmcnv2.models.sparse.backends import torch as plain_torch


@pytest.fixture(scope='module')
def load(root):
    """A script of tools/gpu as a module; the scripts import each other as when they are started."""
    sys.path.insert(0, str(root / 'tools/gpu'))

    def load(name):
        spec = importlib.util.spec_from_file_location(f'gpu_{name}', root / f'tools/gpu/{name}.py')
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    yield load
    sys.path.remove(str(root / 'tools/gpu'))


@pytest.fixture(scope='module')
def report(load):
    return load('report')


def python(code):
    return f'python -c "{code}"'


def made_up(report, folder):
    """Parts: one succeeds and writes figures, one fails, one hangs with a child of its own, one has no CPU path."""
    ok = python("import json; json.dump(dict(step='s', rows=[dict(a=1, b=0.123456)]), open('{json}', 'w'))")
    fails = python("print('what went wrong'); raise SystemExit(3)")
    child = f"import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); open('{folder}/pid', 'w').write"
    hangs = python(f'{child}(str(p.pid)); time.sleep(60)')
    command = report.Command
    return (
        report.Part('good', 'A good one', (command('one', 20, 'false', ok),)),
        report.Part('bad', 'A bad one', (command('fails', 20, 'false', fails), command('after', 20, 'false', ok))),
        report.Part('hanging', 'It hangs', (command('hangs', 1, 'false', hangs),)),
        report.Part('gpu', 'A GPU is needed', (command('only', 1, 'false', None),)),
        report.Part('data', 'Data are needed', (command('images', 20, 'false', 'test -d {data}'),)),
    )


TWO_PARTS = """
PARTS = (
    Part('one', 'One', (Command('quick', 60, 'true', None),)),
    Part('two', 'Two', (Command('sleeps', 60, 'bash -c "echo $$; sleep 60"', None),)),
)
"""


def is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')')[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_a_part_that_fails_or_hangs_costs_only_itself(report, tmp_path):
    arguments = ['--out', str(tmp_path / 'out'), '--work-dir', str(tmp_path / 'work'), '--device', 'cpu', '--small']
    parts = made_up(report, tmp_path)
    assert report.main(arguments, parts) == 1
    records = json.loads((tmp_path / 'out/report.json').read_text())
    assert [(r['part'], r['command'], r['state'], r.get('exit_code')) for r in records] == [
        ('good', 'one', 'passed', 0),
        ('bad', 'fails', 'failed', 3),
        ('bad', 'after', 'passed', 0),
        ('hanging', 'hangs', 'too long', None),
        ('gpu', 'only', 'needs a GPU', None),
        ('data', 'images', 'needs --data', None),
    ]
    assert records[0]['result'] == dict(step='s', rows=[dict(a=1, b=0.123456)])
    assert records[1]['last lines'] == ['what went wrong']
    assert not is_alive((tmp_path / 'pid').read_text())
    text = (tmp_path / 'out/report.md').read_text()
    assert '| bad | fails | failed |' in text and '    what went wrong' in text
    assert '## A good one' in text and '| 1 | 0.1235 |' in text
    with tarfile.open(tmp_path / 'out/logs.tar.gz') as archive:
        assert {'good/one.json', 'bad/fails.log'} <= set(archive.getnames())

    # A second call has only what could not be run, or is named; the first's figures stay.
    assert report.main([*arguments, '--data', str(tmp_path)], parts) == 1
    again = json.loads((tmp_path / 'out/report.json').read_text())
    assert again[:5] == records[:5] and again[5]['state'] == 'passed'
    (tmp_path / 'work/good/one.json').unlink()
    assert report.main([*arguments, '--parts', 'good'], parts) == 1
    assert (tmp_path / 'work/good/one.json').exists()
    assert not (tmp_path / 'work/gpu').is_file()


def test_the_time_of_a_call(report, tmp_path, monkeypatch):
    """What is cut off by --seconds is run again, what was not begun is run; nothing is begun at the end."""
    command = report.Command
    slow = command('slow', 60, python("import os, time; time.sleep(0 if os.path.exists('{data}/go') else 60)"), None)
    parts = (
        report.Part('first', 'First', (slow,)),
        report.Part('second', 'Second', (command('quick', 60, 'true', None),)),
    )
    arguments = ['--out', str(tmp_path), '--work-dir', str(tmp_path / 'work'), '--data', str(tmp_path)]

    def states():
        return [record['state'] for record in json.loads((tmp_path / 'report.json').read_text())]

    monkeypatch.setattr(report, 'LEAST', 0.5)
    assert report.main([*arguments, '--seconds', '1'], parts) == 0
    assert states() == ['cut off', 'not run yet']
    (tmp_path / 'go').touch()
    assert report.main(arguments, parts) == 0
    assert states() == ['passed', 'passed']


def test_a_stop_from_outside_ends_the_command(root, tmp_path):
    """SIGTERM, as `timeout` sends it: no process is left, and the report says what came before."""
    tools = tmp_path / 'tools/gpu'
    tools.mkdir(parents=True)
    shutil.copy(root / 'tools/gpu/report.py', tools)
    parts = (root / 'tools/gpu/parts.py').read_text()
    (tools / 'parts.py').write_text(parts.split('PARTS = (')[0] + TWO_PARTS)
    command = [sys.executable, str(tools / 'report.py'), '--out', str(tmp_path)]
    process = subprocess.Popen(command)
    log = tmp_path / 'work_dirs/gpu/two/sleeps.log'
    while not (log.exists() and log.read_text()):
        time.sleep(0.02)
    process.terminate()
    assert process.wait() == 128 + 15
    assert not is_alive(log.read_text().strip())
    assert [r['command'] for r in json.loads((tmp_path / 'report.json').read_text())] == ['quick']


def test_parts_by_name_and_order(report, capsys):
    assert report.main(['--list']) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        *('environment', 'backends', 'kernels', 'sanitizer', 'pretraining', 'bandwidth', 'profile', 'dense'),
        *('operators', 'recipes', 'resume', 'nccl', 'scaling', 'evidence'),
    ]
    with pytest.raises(SystemExit):
        report.main(['--out', 'x', '--small'])


def test_every_script_and_test_of_a_part_is_there(report, root):
    places = dict.fromkeys(('device', 'data', 'out', 'work', 'json', 'seconds'), 'x')
    for part in report.PARTS:
        names = [command.name for command in part.commands]
        assert len(names) == len(set(names))
        for line in (line for command in part.commands for line in (command.line, command.small) if line):
            for word in line.format(**places).split():
                assert not word.endswith('.py') or (root / word).exists(), word


FAKE_PIP = """#!{python}
import os, pathlib, sys
sys.argv.remove('-m'), sys.argv.remove('pip')
kind, *options = sys.argv[1:]
requirement = options[[i for i, word in enumerate(options) if '==' in word][0]]
name, version = requirement.replace('-', '_').split('==')
folder = pathlib.Path(options[options.index('-d' if kind == 'download' else '-w') + 1])
with open(os.environ['CALLS'], 'a') as calls:
    print(kind, *options, file=calls)
if kind == 'download' and '--no-binary' in options:
    end = '.tar.gz'
elif kind == 'wheel':
    end = os.environ.get('MADE', '-py3-none-any.whl')
elif name == 'onedl_mmdetection':  # it comes as source
    sys.exit('no matching distribution')
else:
    end = '-cp312-cp312-manylinux_2_28_x86_64.whl'
folder.mkdir(parents=True, exist_ok=True)
(folder / (name + '-' + version + end)).write_bytes(bytes(100_000))
"""


@pytest.fixture
def pack(root, tmp_path):
    """Calls pack.sh with a stand-in for pip, which notes its calls; (finished process, folder, calls)."""
    (tmp_path / 'python').write_text(FAKE_PIP.format(python=sys.executable))
    (tmp_path / 'python').chmod(0o755)

    def pack(**environment):
        done = run(
            root,
            *('bash', 'tools/gpu/pack.sh', tmp_path / 'packed'),
            **dict(PYTHON=str(tmp_path / 'python'), CALLS=str(tmp_path / 'calls'), **environment),
        )
        return done, tmp_path / 'packed', (tmp_path / 'calls').read_text().splitlines()

    return pack


def test_what_travels(pack, root):
    """The versions of requirements/, wheels for the other Python, mmcv without operators and as source."""
    done, folder, calls = pack()
    assert done.returncode == 0, done.stderr
    names = {file.name for file in folder.iterdir()}
    version = re.search(r'onedl-mmengine==(\S+)', (root / 'requirements/openmmlab.txt').read_text())[1]
    assert f'onedl_mmengine-{version}-cp312-cp312-manylinux_2_28_x86_64.whl' in names
    assert any(re.fullmatch(r'onedl_mmdetection-.*-py3-none-any.whl', name) for name in names)
    assert any(re.fullmatch(r'onedl_mmpretrain-.*-cp312-.*.whl', name) for name in names)
    assert {name.split('-', 2)[-1] for name in names if 'mmcv' in name} == {'py3-none-any.whl', '2.3.6.tar.gz'}
    assert not any(name.startswith(('numpy', 'torch', 'nvidia')) for name in names)
    for call in calls:
        assert '--no-deps' in call and '-url' not in call and '--find-links' not in call
        assert '--no-binary' in call or call.startswith('wheel') or '--python-version 3.12' in call
    assert re.search(r'packed: \d+ files, \d+ MB; the repository \d+ MB', done.stdout)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(MAX_MB='3'), 'are more than MAX_MB=3; largest: '),
        (dict(MADE='-cp311-cp311-linux_x86_64.whl'), 'onedl-mmdetection==3.5.1 has no wheel for Python 3.12'),
    ],
)
def test_what_cannot_travel(pack, settings, message):
    done, folder, _ = pack(**settings)
    assert done.returncode == 1 and message in done.stderr
    assert not folder.exists()


def start(monkeypatch, module, *arguments):
    """Calls a script's main; its exit code and JSON."""
    file = arguments[arguments.index('--json') + 1]
    monkeypatch.setattr(sys, 'argv', ['script', *map(str, arguments)])
    try:
        code = module.main()
    except SystemExit as end:
        code = end.code
    return code or 0, json.loads(Path(file).read_text())


def test_backends_are_compared_with_dense(load, monkeypatch, tmp_path):
    """On a CPU. A backend that forgets the bias of odd channels, or gives NaN, is found."""
    backends = load('backends')
    arguments = ('--device', 'cpu', '--cases', 'odd', '--image-size', 64, '--json', tmp_path / 'rows.json')
    code, found = start(monkeypatch, backends, *arguments, '--dtypes', 'fp32', 'bf16')
    assert code == 0 and found['auto'] == 'torch'
    rows = [row for row in found['rows'] if row['case'] == 'odd']
    assert [(row['dtype'], row['backend']) for row in rows] == [
        *(('fp32', 'spconv'), ('fp32', 'torch')),
        *(('bf16', 'spconv'), ('bf16', 'torch')),
    ]
    assert all(row['passed'] and row['maps'] < backends.TOLERANCE[row['dtype']] for row in rows)

    conv = plain_torch.depthwise_conv
    for broken in (
        lambda x, weight, bias, layout: conv(x, weight, bias * 0.99, layout),
        lambda x, weight, bias, layout: conv(x, weight + 0.01 * (weight - weight.detach()), bias, layout),
        lambda x, weight, bias, layout: conv(x, weight, bias, layout) * float('nan'),
    ):
        monkeypatch.setattr(plain_torch, 'depthwise_conv', broken)
        options = (*arguments, '--dtypes', 'fp32', '--backends', 'torch')
        code, found = start(monkeypatch, backends, *options)
        assert code == 'some are beyond the tolerance'
        assert not found['rows'][0]['passed']


def test_the_share_of_the_bandwidth(load, monkeypatch, tmp_path):
    """With a pass of 2 ms and a copy of 1 ms, which move as many bytes, every share is a half."""
    bandwidth = load('bandwidth')
    monkeypatch.setattr(
        bandwidth, 'seconds_per_step', lambda steps, *_: {name: 1e-3 if name == 'copy' else 2e-3 for name in steps}
    )
    small = ('--arch', 'atto', '--batch-size', 2, '--image-size', 64, '--dtype', 'fp32')
    code, found = start(monkeypatch, bandwidth, '--device', 'cpu', *small, '--json', tmp_path / 'rows.json')
    assert code == 0 and len(found['rows']) == 4 * 3
    for row in found['rows']:
        assert row['of copy'] == pytest.approx(0.5) and not row['reached']
    # One of four patches is visible in each image: 2 x 8 x 8 tokens of 40 channels at the first stage.
    first = found['rows'][0]
    assert (first['tokens'], first['channels']) == (2 * 64, 40)
    assert first['GB/s'] == pytest.approx(2 * 128 * 40 * 4 / 2e-3 / 1e9)


def test_utilisation_and_overhead_by_hand(load, monkeypatch, tmp_path):
    """Steps of 10 ms and 2 ms an image: an overhead of 10 ms."""
    scaling = load('scaling')

    def benchmark(sizes, backends, workloads, repeats, warmup, json_file):
        rows = [dict(backend='auto', batch=n, **{'images/s': n / (0.01 + 0.002 * n)}) for _, n in sizes]
        Path(json_file).write_text(json.dumps(dict(rows=rows)))

    monkeypatch.setattr(scaling.pretrain, 'benchmark', benchmark)
    monkeypatch.setattr(scaling.pretrain, '_macs', lambda *_: 10**9)
    monkeypatch.setitem(scaling.ARCHITECTURES, 'atto', ARCH)
    arguments = ('--arch', 'atto', '--image-size', 64, '--tflops', 10, '--json', tmp_path / 'rows.json')
    code, found = start(monkeypatch, scaling, '--device', 'cpu', *arguments)
    (row,) = found['rows']
    assert code == 0 and row['--overhead-ms'] == pytest.approx(10)
    assert row['--utilisation'] == pytest.approx(2 * 10**9 / 0.002 / 10e12)


@pytest.fixture
def recipe(load, monkeypatch, tmp_path):
    """recipe.py with data that are names only; the recipe as it is, and adapted."""
    module = load('recipe')
    (tmp_path / 'classes').mkdir()
    for i in range(7):
        (tmp_path / f'classes/{i}').mkdir()

    def recipe(name, **options):
        cfg = Config.fromfile(module.ROOT / 'configs' / module.RECIPES[name].format(size='base', epochs=100))
        adapted = copy.deepcopy(cfg)
        settings = dict(small=False, exact=False, compile=False, device='cuda') | options
        module.adapt(adapted, name, tmp_path, argparse.Namespace(**settings))
        return cfg, adapted

    return recipe


@pytest.mark.parametrize('name', ['fcmae', 'mask-rcnn', 'upernet', 'finetune'])
def test_recipes_keep_what_is_measured(recipe, name):
    """Precision, batch, size of the images and network are those of the recipe; no weights are asked for."""
    cfg, adapted = recipe(name)
    assert adapted.optim_wrapper == cfg.optim_wrapper and adapted.optim_wrapper.type == 'AmpOptimWrapper'
    for key in ('batch_size', 'num_workers', 'sampler'):
        assert adapted.train_dataloader[key] == cfg.train_dataloader[key]
    assert adapted.train_dataloader.dataset.pipeline == cfg.train_dataloader.dataset.pipeline
    assert adapted.model.get('data_preprocessor', {}).get('batch_augments') == cfg.model.get(
        'data_preprocessor', {}
    ).get('batch_augments')
    assert not (adapted.model.backbone.get('init_cfg') or {}).get('checkpoint')
    for config in (cfg, adapted):
        config.model.backbone.pop('init_cfg', None)
    assert adapted.model.backbone == cfg.model.backbone


def test_recipes_on_a_cpu_and_with_deterministic_settings(recipe):
    _, small = recipe('mask-rcnn', small=True, device='cpu')
    assert small.optim_wrapper.type == 'OptimWrapper' and small.train_dataloader.batch_size == 2
    assert small.model.data_preprocessor.batch_augments[0].size == (128, 128)
    assert small.model.roi_head.bbox_head.num_classes == small.model.roi_head.mask_head.num_classes == 6
    _, exact = recipe('fcmae', exact=True)
    assert exact.randomness == dict(seed=0, deterministic=True) and not exact.env_cfg.cudnn_benchmark
    _, compiled = recipe('fcmae', compile=True)
    assert compiled.compile is True
    _, classes = recipe('finetune')
    assert classes.model.head.num_classes == classes.model.data_preprocessor.num_classes == 7
