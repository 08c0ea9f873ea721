"""tools/gpu: what measures on a machine with a GPU, as far as a CPU can try it."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest


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


def later_test_every_script_and_test_of_a_part_is_there(report, root):
    places = dict.fromkeys(('device', 'data', 'out', 'work', 'json', 'seconds'), 'x')
    for part in report.PARTS:
        names = [command.name for command in part.commands]
        assert len(names) == len(set(names))
        for line in (line for command in part.commands for line in (command.line, command.small) if line):
            for word in line.format(**places).split():
                assert not word.endswith('.py') or (root / word).exists(), word
