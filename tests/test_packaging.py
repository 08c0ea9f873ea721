"""The wheel and the sdist, built as for a release; the wheel installed into an empty folder and trained from there."""

import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from mmcnv2.recipes import RECIPES, list_recipes

CONFIG = """
_base_ = 'mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py'
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""


def run(*command, cwd, **env):
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env or None, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope='module')
def archives(root, tmp_path_factory):
    """The sdist and the wheel, of a copy of the repository; the wheel is built from the sdist."""
    copy = tmp_path_factory.mktemp('build') / 'mmcnv2'
    files = run('git', 'ls-files', '--cached', '--others', '--exclude-standard', cwd=root).splitlines()
    for file in files:
        if (root / file).is_symlink() or (root / file).is_file():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / file, copy / file, follow_symlinks=False)
    run(sys.executable, '-m', 'build', '--no-isolation', '.', cwd=copy)
    (sdist,), (wheel,) = (list((copy / 'dist').glob(pattern)) for pattern in ('*.tar.gz', '*.whl'))
    return sdist, wheel


@pytest.mark.slow
def test_recipes_are_inside(archives):
    sdist, wheel = archives
    inside = set(zipfile.ZipFile(wheel).namelist())
    recipes = {f'mmcnv2/.mim/configs/{name}' for name in list_recipes()}
    assert len(recipes) > 50 and recipes <= inside
    metafiles = {f'mmcnv2/.mim/configs/{path.relative_to(RECIPES)}' for path in RECIPES.glob('*/metafile.yml')}
    assert metafiles and metafiles | {'mmcnv2/.mim/model-index.yml', 'mmcnv2/py.typed'} <= inside
    assert not any(name.startswith(('tests/', 'tools/', 'configs/')) for name in inside)
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert recipes | {'setup.py', 'requirements/runtime.txt', 'README.md', 'LICENSE'} <= names


@pytest.mark.slow
def test_the_installed_wheel_trains(archives, toy_scenes, tmp_path):
    """From an empty folder, by the console command, with a recipe of the package as base."""
    target, folder = tmp_path / 'site', tmp_path / 'empty'
    folder.mkdir()
    run(sys.executable, '-m', 'pip', 'install', '--no-deps', '--target', target, archives[1], cwd=folder)
    environment = dict(PYTHONPATH=str(target), PATH='/usr/bin:/bin', HOME=str(tmp_path), OMP_NUM_THREADS='1')

    def mmcnv2(*arguments):
        return run(sys.executable, target / 'bin/mmcnv2', *arguments, cwd=folder, **environment)

    paths = mmcnv2('configs', 'toy/fcmae_convnextv2-atto_toy', '--path').splitlines()
    assert paths == [str(target / 'mmcnv2/.mim/configs/toy/fcmae_convnextv2-atto_toy-scenes.py')]
    (folder / 'mine.py').write_text(CONFIG.format(data=toy_scenes / 'unlabelled'))
    mmcnv2('train', 'mine.py', '--work-dir', 'out')
    assert (folder / 'out/epoch_1.pth').is_file()  # two iterations
    assert 'Epoch(train) [1][2/2]' in next((folder / 'out').glob('*/*.log')).read_text()
