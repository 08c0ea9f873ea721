"""The set-up script on a copy of the packaging files, with a stand-in for Python that only notes its calls."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Answers as an interpreter whose installations all succeed. FAKE_* variables change single answers.
FAKE_PYTHON = r"""#!/bin/bash
echo "$*" >>"$FAKE_CALLS"
case "$*" in
    -V) echo "Python ${FAKE_VERSION:-3.11.7}" ;;
    *'version_info < (3, 10)'*) [ "${FAKE_VERSION:-3.11.7}" != 3.8.18 ] ;;
    *'version_info[:2]'*) echo 3.11 ;;
    *'import ensurepip'*) [ -z "$FAKE_NO_VENV" ] ;;
    '-m venv '*)
        mkdir -p .venv/bin && cp "$0" .venv/bin/python && touch .venv/bin/activate ;;
    *sysconfig*) echo "$FAKE_INCLUDE" ;;
    *'m.version("onedl-mmcv")'*) [ -f .venv/mmcv ] ;;
    *'import cv2'*) [ -z "$FAKE_NO_LIBGL" ] ;;
    *opencv-python-headless==*m.version*) echo opencv-python-headless==4 ;;
    *'import mmcv.ops'*) [ -z "$FAKE_NO_OPS" ] || { echo "No module named 'mmcv._ext'"; exit 1; } ;;
    '-m pip download '*)
        [ -z "$FAKE_NO_WHEEL" ] && mkdir -p "${@: -1}" && touch "${@: -1}/onedl_mmcv-1-py3-none-any.whl" ;;
    '-m pip wheel '*)
        env >"$FAKE_CALLS.env"; mkdir -p "${@: -1}" && touch "${@: -1}/onedl_mmcv-1-py3-none-any.whl" ;;
    '-m pip install '*onedl_mmcv*) touch .venv/mmcv ;;
    '-m pip install -r requirements/torch.txt')
        [ -z "$FAKE_PIP_SAYS" ] || { printf '%s\n' 'a page of log' "$FAKE_PIP_SAYS"; exit 1; } ;;
    *'"torch==" + m.version("torch")'*) echo torch==2.0+here ;;
    *'m.version("torch")'*) [ -n "$FAKE_TORCH" ] ;;
esac
"""
COMMANDS = ['awk', 'bash', 'cat', 'cp', 'dirname', 'env', 'flock', 'grep', 'mkdir', 'mv', 'nproc', 'rm']
COMMANDS += ['sha256sum', 'tail', 'touch']


class Checkout:
    """A folder with the packaging files, and a PATH with the stand-in, a compiler and the everyday commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.bin = folder / 'repo', folder / 'calls', folder / 'bin'
        for name in ['requirements', 'setup.py', 'pyproject.toml', 'mmcnv2/version.py', 'tools/setup/install.sh']:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
        self.bin.mkdir()
        for command in COMMANDS:
            if path := shutil.which(command):
                (self.bin / command).symlink_to(path)
        self.command('python3', FAKE_PYTHON)
        self.command('df', '#!/bin/bash\nprintf "header\\ndisk 1 1 ${FAKE_FREE:-99999} 1%% /\\n"\n')
        self.command('gcc')
        self.command('g++')
        (self.bin / 'Python.h').touch()

    def command(self, name: str, text: str = '#!/bin/bash\n') -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, **variables: str) -> subprocess.CompletedProcess:
        self.calls.write_text('')
        environment = {'PATH': str(self.bin), 'FAKE_CALLS': str(self.calls), 'FAKE_INCLUDE': str(self.bin)}
        return subprocess.run(
            ['bash', str(self.folder / 'tools/setup/install.sh')],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def pip_calls(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith('-m pip')]

    def stops_with(self, *expected: str, **variables: str) -> None:
        """Run; it must fail with a single line on stderr that contains all of ``expected``."""
        result = self.run(**variables)
        assert result.returncode == 1
        assert result.stderr.startswith('set-up stopped: ')
        assert result.stderr.count('\n') == 1
        for text in expected:
            assert text in result.stderr


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_torch_comes_before_mmcv_and_no_compiler_is_needed_with_a_wheel(checkout):
    (checkout.bin / 'g++').unlink()
    result = checkout.run()
    assert result.returncode == 0, result.stderr
    calls = [call for call in checkout.pip_calls() if 'install' in call]
    assert calls[0] == '-m pip install -r requirements/torch.txt'
    assert 'onedl_mmcv-1-py3-none-any.whl' in calls[2]
    assert calls[3] == '-m pip install --no-deps --no-build-isolation -e .'
    assert not any('-m pip wheel' in call for call in checkout.pip_calls())


def test_without_a_wheel_mmcv_is_compiled_with_torch_in_sight(checkout):
    assert checkout.run(FAKE_NO_WHEEL='1').returncode == 0
    (call,) = [call for call in checkout.pip_calls() if '-m pip wheel' in call]
    for option in ['--no-build-isolation', '--no-cache-dir', '--no-binary onedl-mmcv']:
        assert option in call
    environment = Path(f'{checkout.calls}.env').read_text()
    assert 'CFLAGS=-g0 -O2\n' in environment
    assert f'PATH={checkout.folder}/.venv/bin:' in environment  # for ninja


def test_the_second_run_calls_no_pip(checkout):
    assert checkout.run().returncode == 0
    assert checkout.run().returncode == 0
    assert checkout.pip_calls() == []


def test_changed_requirements_are_installed(checkout):
    checkout.run()
    with open(checkout.folder / 'requirements/dev.txt', 'a') as file:
        file.write('another\n')
    checkout.run()
    assert any('requirements/dev.txt' in call for call in checkout.pip_calls())


def test_an_interrupted_installation_is_finished_and_a_compiled_mmcv_kept(checkout):
    checkout.run(FAKE_NO_WHEEL='1')
    shutil.rmtree(checkout.folder / '.venv')
    (checkout.folder / '.venv/bin').mkdir(parents=True)  # half made
    assert checkout.run(FAKE_NO_WHEEL='1').returncode == 0
    assert any('-m venv .venv' in call for call in checkout.calls.read_text().splitlines())
    assert not any('-m pip wheel' in call for call in checkout.pip_calls())


def test_a_torch_that_is_there_stays(checkout):
    assert checkout.run(FAKE_TORCH='1').returncode == 0
    assert not any('requirements/torch.txt' in call for call in checkout.pip_calls())
    # What is installed later must fit it.
    (call,) = [call for call in checkout.pip_calls() if 'requirements/dev.txt' in call]
    assert '-c .cache/setup/constraints.txt' in call
    assert (checkout.folder / '.cache/setup/constraints.txt').read_text() == 'torch==2.0+here\n'


def test_opencv_without_libgl(checkout):
    assert checkout.run(FAKE_NO_LIBGL='1').returncode == 0
    assert '-m pip install --no-deps --force-reinstall opencv-python-headless==4' in checkout.pip_calls()


def test_old_python(checkout):
    checkout.stops_with("Python 3.10 or newer is needed, 'python3' is Python 3.8.18", FAKE_VERSION='3.8.18')


def test_no_python(checkout):
    checkout.stops_with("'python3.99' does not run", PYTHON='python3.99')


def test_python_without_venv(checkout):
    checkout.stops_with("'python3' lacks the venv module", 'python3-venv', FAKE_NO_VENV='1')


def test_no_compiler(checkout):
    (checkout.bin / 'g++').unlink()
    checkout.stops_with('no compiler (g++)', 'PIP_FIND_LINKS', FAKE_NO_WHEEL='1')
    assert not any('install' in call for call in checkout.pip_calls())  # said before the large downloads


def test_no_python_headers(checkout):
    (checkout.bin / 'Python.h').unlink()
    checkout.stops_with('Python.h', 'python3-dev', FAKE_NO_WHEEL='1')


def test_too_little_room_on_the_disk(checkout):
    checkout.stops_with('.venv needs about 4000 MB', 'has 300 MB free', FAKE_FREE='300')


@pytest.mark.parametrize(
    'said, reason',
    [
        ("ERROR: Could not install: [Errno 28] No space left on device: 'x'", 'the disk is full'),
        ('WARNING: Retrying (Retry(total=4)) after connection broken', 'the package index cannot be reached'),
        ('ERROR: No matching distribution found for torch', 'ERROR: No matching distribution found for torch'),
    ],
)
def test_pip_failures(checkout, said, reason):
    checkout.stops_with(f'installing torch: {reason} (log: .cache/setup/torch.log)', FAKE_PIP_SAYS=said)
    assert 'a page of log' in (checkout.folder / '.cache/setup/torch.log').read_text()


def test_a_wheel_without_operators_is_replaced_by_one_compilation(checkout):
    checkout.run(FAKE_NO_OPS='1')
    assert sum('-m pip wheel' in call for call in checkout.pip_calls()) == 1


def test_missing_operators(checkout):
    checkout.stops_with("operators do not load: No module named 'mmcv._ext'", 'make clean setup', FAKE_NO_OPS='1')
