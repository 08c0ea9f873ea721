"""``import mmcnv2`` where OpenMMLab packages are missing or of another version. Stand-ins come first on PYTHONPATH."""

import os
import subprocess
import sys
from pathlib import Path

import packaging
import pytest

import mmcnv2
from mmcnv2.utils.dependencies import REQUIREMENTS, installed_version

ROOT = Path(__file__).parents[2]


def import_mmcnv2(folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'PYTHONPATH': f'{folder}{os.pathsep}{ROOT}'}
    return subprocess.run(
        [sys.executable, '-c', 'import mmcnv2'], env=environment, capture_output=True, text=True, cwd=folder
    )


def stand_in(folder: Path, module: str, version: str, file: str = 'version.py') -> None:
    (folder / module).mkdir(exist_ok=True)
    (folder / module / '__init__.py').touch()
    (folder / module / file).write_text(f"__version__ = '{version}'\n")


def test_this_environment_fits():
    assert mmcnv2.__version__ == '0.1.0'
    assert mmcnv2.registry.MODELS.scope == 'mmcnv2'


def test_import_does_not_load_torch():
    check = "import sys, mmcnv2; sys.exit('torch' in sys.modules or 'mmcv' in sys.modules)"
    subprocess.run([sys.executable, '-c', check], cwd=ROOT, check=True)


@pytest.mark.parametrize('module', [requirement.module for requirement in REQUIREMENTS])
def test_the_version_is_what_the_module_says(module):
    assert installed_version(module) == __import__(module).__version__


def test_a_package_that_is_too_old(tmp_path):
    stand_in(tmp_path, 'mmdet', '2.28.2')
    error = import_mmcnv2(tmp_path).stderr
    assert 'ImportError' in error
    assert 'mmdet 2.28.2 does not fit (needed: >=3.3.0, <4.0.0)' in error
    assert "pip install 'onedl-mmdetection>=3.3.0,<4.0.0'" in error
    assert 'mmcv' not in error.split('ImportError')[1]


def test_all_problems_are_in_one_message(tmp_path):
    stand_in(tmp_path, 'mmcv', '1.7.2')
    stand_in(tmp_path, 'mmengine', '1.0.0')
    stand_in(tmp_path, 'mmseg', '0.30.0', file='__init__.py')  # no version.py
    error = import_mmcnv2(tmp_path).stderr
    assert 'mmengine 1.0.0 does not fit' in error
    assert 'mmseg 0.30.0 does not fit' in error
    assert 'mmcv 1.7.2 does not fit' in error
    assert 'pip install --no-build-isolation' in error


def test_a_missing_package(tmp_path):
    # No site-packages (-S): nothing is installed but the standard library, and packaging, which pip brings.
    (tmp_path / 'packaging').symlink_to(Path(packaging.__file__).parent)
    result = subprocess.run(
        [sys.executable, '-S', '-c', 'import mmcnv2'],
        env={'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    for requirement in REQUIREMENTS:
        assert f'{requirement.module} is missing (needed: ' in result.stderr
        assert f"'{requirement.distribution}>={requirement.minimum},<{requirement.below}'" in result.stderr


def test_versions_of_the_originals_fit(tmp_path):
    for module, version in dict(mmcv='2.1.0', mmdet='3.3.0', mmseg='1.2.2').items():
        stand_in(tmp_path, module, version)
    assert import_mmcnv2(tmp_path).returncode == 0


def test_a_prerelease_with_letters_is_read_as_its_release(tmp_path):
    stand_in(tmp_path, 'mmcv', '2.1.0rc2+cpu')
    assert import_mmcnv2(tmp_path).returncode == 0
