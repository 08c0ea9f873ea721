"""make release: what it refuses. What it builds is in tests/test_packaging.py."""

import subprocess
import sys

import pytest


@pytest.fixture
def tree(root, tmp_path):
    """A small repository whose version, 1.2.0, is the newest in its changelog."""
    for folder in ('mmcnv2', 'tools/release'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'mmcnv2/version.py').write_text("__version__ = '1.2.0'\n")
    (tmp_path / 'CHANGELOG.md').write_text('# Changelog\n\n## 1.2.0 (2026-12-01)\n\n- A\n\n## 1.1.0\n')
    (tmp_path / 'tools/release/release.py').write_bytes((root / 'tools/release/release.py').read_bytes())
    git(tmp_path, 'init', '-q')
    commit(tmp_path)
    return tmp_path


def git(tree, *arguments):
    who = ['-c', 'user.name=Tests', '-c', 'user.email=tests@example.org']
    subprocess.run(['git', *who, *arguments], cwd=tree, check=True, capture_output=True)


def commit(tree):
    git(tree, 'add', '-A')
    git(tree, 'commit', '-qm', 'All')


def release(tree):
    code = 'import release; print(release.check_tree(release.ROOT))'
    return subprocess.run(
        [sys.executable, '-B', '-c', code], cwd=tree / 'tools/release', capture_output=True, text=True
    )


def test_a_tree_that_may_be_released(tree):
    done = release(tree)
    assert (done.returncode, done.stdout) == (0, '1.2.0\n')


@pytest.mark.parametrize('name', ['new.py', 'CHANGELOG.md'])
def test_what_is_not_committed_is_refused(tree, name):
    with (tree / name).open('a') as file:
        file.write('more\n')
    done = release(tree)
    assert done.returncode == 1 and 'commit or remove what git status lists first' in done.stderr
    assert name in done.stderr


@pytest.mark.parametrize('heading', ['Unreleased', '1.3.0', '1.2.0rc1', '1.1.0'])
def test_another_version_in_the_changelog_is_refused(tree, heading):
    (tree / 'CHANGELOG.md').write_text(f'# Changelog\n\n## {heading}\n\n## 1.2.0\n')
    commit(tree)
    done = release(tree)
    assert done.returncode == 1
    assert f"the newest heading of CHANGELOG.md is '{heading}', and mmcnv2/version.py says 1.2.0" in done.stderr


def test_make_release_calls_it(root):
    # The tests may be started by make themselves, whose flags are in the environment.
    done = subprocess.run(['make', '-n', 'release'], cwd=root, capture_output=True, text=True)
    assert '.venv/bin/python tools/release/release.py' in done.stdout.splitlines()
