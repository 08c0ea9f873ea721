"""Builds a release: the sdist, and from it the wheel, in dist/; `make release` calls it, CONTRIBUTING.md describes it.

It refuses a tree with changes that are not committed, and a version that is not the newest in CHANGELOG.md. Then it
builds, has twine check both, installs the wheel with what it asks for into an empty virtual environment, and tries it
there, from an empty folder. Nothing is uploaded.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version as installed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Run by the interpreter of the empty environment, from an empty folder.
SMOKE = """
import mmcnv2
from mmcnv2.recipes import RECIPES, list_recipes

assert mmcnv2.__version__ == '{version}', mmcnv2.__version__
assert len(list_recipes()) == {recipes}, len(list_recipes())
print('mmcnv2', mmcnv2.__version__, 'in', RECIPES.parents[1], 'with', len(list_recipes()), 'recipes')
"""


def main() -> None:
    version = check_tree(ROOT)
    dist = ROOT / 'dist'
    shutil.rmtree(dist, ignore_errors=True)
    step('building the sdist, and from it the wheel')
    run(sys.executable, '-m', 'build', '--no-isolation', ROOT)
    sdist, wheel = dist / f'mmcnv2-{version}.tar.gz', dist / f'mmcnv2-{version}-py3-none-any.whl'
    step('twine check')
    run(sys.executable, '-m', 'twine', 'check', '--strict', sdist, wheel)
    step('the wheel in an empty environment (it downloads torch, some minutes)')
    with tempfile.TemporaryDirectory(prefix='mmcnv2-release-') as folder:
        try_wheel(wheel, version, Path(folder))
    print(f'{sdist}\n{wheel}')


def check_tree(root: Path) -> str:
    """Return the version that the tree is of.

    Raises:
        SystemExit: Something is not committed, or the newest heading of CHANGELOG.md is another version.
    """
    changed = subprocess.run(['git', 'status', '--porcelain'], cwd=root, capture_output=True, text=True, check=True)
    if changed.stdout:
        sys.exit(f'release stopped: commit or remove what git status lists first:\n{changed.stdout}')
    version = re.search(r"__version__ = '(.+)'", (root / 'mmcnv2/version.py').read_text())[1]
    newest = re.search(r'^## (.+)$', (root / 'CHANGELOG.md').read_text(), re.MULTILINE)[1]
    if newest.split()[0] != version:
        sys.exit(
            f'release stopped: the newest heading of CHANGELOG.md is {newest!r}, and mmcnv2/version.py says '
            f'{version}: give both the number of the release'
        )
    return version


def try_wheel(wheel: Path, version: str, folder: Path) -> None:
    """Install a wheel into an empty environment in a folder, and use it from there.

    Raises:
        SystemExit: A step fails.
    """
    run(sys.executable, '-m', 'venv', folder / 'venv')
    python = folder / 'venv/bin/python'
    # The extra has what `import mmcnv2` asks for and needs no compiler. The torch that was tested, without its build.
    torch = f'torch=={installed("torch").partition("+")[0]}'
    run(python, '-m', 'pip', 'install', '-q', f'{wheel}[onnxruntime]', torch)
    (folder / 'empty').mkdir()
    recipes = sum(path.parts[-2] != '_base_' for path in (ROOT / 'configs').glob('*/*.py'))
    run(python, '-c', SMOKE.format(version=version, recipes=recipes), cwd=folder / 'empty')
    command = folder / 'venv/bin/mmcnv2'
    run(command, '--help', cwd=folder / 'empty', stdout=subprocess.DEVNULL)
    run(command, 'configs', 'toy/', cwd=folder / 'empty')


def step(text: str) -> None:
    print(f'release: {text}', flush=True)


def run(*command: object, **options: object) -> None:
    words = [str(word) for word in command]
    if subprocess.run(words, **options).returncode:
        sys.exit(f'release stopped: {" ".join(words)} failed')


if __name__ == '__main__':
    main()
