"""README and docs: links, paths, commands and Python on every page lead to something that exists."""

import ast
import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmcnv2.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
DOCS = sorted(ROOT.glob('docs/**/*.md'))
PAGES = [*(ROOT / f'{name}.md' for name in ('README', 'CONTRIBUTING', 'CHANGELOG')), *DOCS]
FOLDERS = ('configs', 'docs', 'mmcnv2', 'requirements', 'tests', 'tools')
TARGETS = re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)

every_page = pytest.mark.parametrize('page', PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def split(text):
    """Return the prose of a page, without code blocks, and the (language, code) of its blocks."""
    blocks = re.findall(r'^```([^`\n]*)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    text = re.sub(r'^```.*?^```$', '', text, flags=re.MULTILINE | re.DOTALL)
    indented = re.compile(r'(?<=\n\n)((?: {4}.*\n)+)')
    return indented.sub('', text), blocks + [('', code) for code in indented.findall(text)]


def spans(prose):
    """Return the contents of backticks; a line break within them is a blank."""
    return [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', prose)]


def anchors(page):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r'^#+ (.*)$', split(page.read_text())[0], re.MULTILINE)
    return [re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings]


def command_lines(text):
    """Return the words of each command in the code blocks and the backticks of a page; options in [] count."""
    prose, blocks = split(text)
    code = '\n'.join([*(code for language, code in blocks if not language), *spans(prose)])
    lines = re.sub(r'\\\n', ' ', code).splitlines()
    commands = (re.sub(r'[\[\]]', ' ', re.sub(r'(^|\s)#.*', '', line)).strip() for line in lines)
    return [words for command in commands if (words := words_of(command))]


def words_of(line):
    try:
        words = shlex.split(line)
    except ValueError:  # prose in a code block, with an apostrophe
        return []
    while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):  # variables
        del words[0]
    return words


def paths(word):
    """Return the paths that a word names: braces are alternatives."""
    found = re.fullmatch(r'(.*?)\{([^{}]*,[^{}]*)\}(.*)', word)
    return [p for part in found[2].split(',') for p in paths(found[1] + part + found[3])] if found else [word]


def missing(words, root=ROOT):
    """Return the paths in ``words`` that are not in a folder. They may be patterns; NAME is a placeholder."""
    files = (path for word in words if 'NAME' not in word for path in paths(word.rstrip(',;:')))
    return [path for path in files if not any(root.glob(path))]


@every_page
def test_links_resolve(page):
    prose, _ = split(page.read_text())
    broken = []
    for target in re.findall(r'\]\(([^)\s]+)\)', prose):
        if re.match(r'https?://', target):
            continue
        path, _, anchor = target.partition('#')
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize('page', [page for page in PAGES if page.name != 'CHANGELOG.md'], ids=lambda page: page.name)
def test_named_paths_exist(page):
    """In backticks and in commands. (The changelog names what is no longer there.)"""
    text = page.read_text()
    words = [span.split()[0] for span in spans(split(text)[0])]
    words += [word for command in command_lines(text) for word in command]
    named = [word for word in words if word.startswith(tuple(f'{folder}/' for folder in FOLDERS))]
    assert missing(named) == []
    tests = [word for word in words if re.match(r'test_\w+/', word)]
    assert missing(tests, ROOT / 'tests') == []


def test_pages_that_code_names_exist():
    files = [ROOT / 'Makefile', ROOT / 'setup.py']
    for folder in ('configs', 'mmcnv2', 'tests', 'tools'):
        files += [path for ending in ('py', 'yml', 'sh') for path in (ROOT / folder).rglob(f'*.{ending}')]
    named = {page for file in files for page in re.findall(r'\bdocs/[\w/]+\.md', file.read_text())}
    assert {'docs/how_to/weights.md', 'docs/how_to/data.md', 'docs/reference/recipes.md'} <= named
    assert missing(sorted(named)) == []


@every_page
def test_commands_exist(page):
    for words in command_lines(page.read_text()):
        program = Path(words[0]).name
        if program == 'make':
            assert [word for word in words[1:] if re.fullmatch('[a-z]+', word) and word not in TARGETS] == []
        elif program == 'mmcnv2' and len(words) > 1 and re.fullmatch('[a-z][a-z-]+', words[1]):
            assert words[1] in COMMANDS
            assert unknown_options(words[1], words[2:]) == []
        elif program == 'python' and len(words) > 1 and words[1].startswith('tools/'):
            script = (ROOT / words[1]).read_text()  # that it exists: above
            if command := re.search(r"run_command\('([\w-]+)'", script):
                assert unknown_options(command[1], words[2:]) == []


def unknown_options(command, arguments):
    """Return the --options among the arguments that the command does not have."""
    parser = ArgumentParser()
    import_module(f'mmcnv2.cli.{command.replace("-", "_")}').add_arguments(parser)
    given = [argument.split('=')[0] for argument in arguments if argument.startswith('--')]
    return [option for option in given if option not in parser._option_string_actions]


@every_page
def test_python_parses_and_its_imports_exist(page):
    for language, code in split(page.read_text())[1]:
        if language == 'python':
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith('mmcnv2'):
                    module = import_module(node.module)
                    assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_first_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """With the checkpoint that `make quickstart` leaves, here with random weights. It prints what its comment says."""
    code = next(code for language, code in split(README)[1] if language == 'python')
    assert len([line for line in code.splitlines() if line.strip()]) <= 6
    checkpoint = tmp_path / re.search(r"'(work_dirs/\S+)'", code)[1]
    cfg = Config.fromfile(ROOT / 'configs/toy/fcmae_convnextv2-atto_toy-scenes.py')
    assert checkpoint.name == f'epoch_{cfg.max_epochs}.pth'
    checkpoint.parent.mkdir(parents=True)
    model = MODELS.build(dict(cfg.model, _scope_='mmcnv2'))
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)

    monkeypatch.chdir(tmp_path)
    exec(code, {})

    printed = capsys.readouterr().out.splitlines()
    assert printed == re.findall(r'\(1(?:, \d+){3}\)', code.split('#')[-1])
    assert len(printed) == 4


def test_inference_of_the_readme_runs_in_a_fresh_process(tmp_path):
    """Where nothing has prepared torchvision. Then an array and again the path, with the same model."""
    code = next(code for language, code in split(README)[1] if 'inference_detector' in code)
    config = ROOT / 'configs/toy/mask-rcnn_convnextv2-atto_toy-scenes.py'
    (tmp_path / 'your_config.py').write_text(f"_base_ = '{config}'")
    with DefaultScope.overwrite_default_scope('mmdet'):
        state_dict = MODELS.build(Config.fromfile(config).model).state_dict()
    torch.save(dict(state_dict=state_dict, meta={}), tmp_path / 'checkpoint.pth')
    cv2.imwrite(str(tmp_path / 'photo.jpg'), np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    code += """
import cv2
for image in (cv2.imread('photo.jpg'), 'photo.jpg'):
    assert inference_detector(model, image).pred_instances.scores.equal(instances.scores)
"""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    boxes, scores, masks = (
        tuple(map(int, size.split(', '))) for size in re.findall(r'\[([\d, ]+)\]', done.stdout)[:3]
    )
    assert boxes == (*scores, 4) and masks == (*scores, 64, 96)
    assert (tmp_path / 'pictures/vis/photo.jpg').is_file()


def test_python_that_repeats_a_batch_runs(tmp_path, monkeypatch):
    """With a file as ``NonFiniteHook`` writes it."""
    page = (ROOT / 'docs/reference/reliability.md').read_text()
    code = next(code for language, code in split(page)[1] if language == 'python')
    cfg = Config.fromfile(ROOT / 'configs/toy/fcmae_convnextv2-atto_toy-scenes.py')
    config, batch = (tmp_path / path for path in re.findall(r"'(work_dirs/\S+)'", code))
    batch.parent.mkdir(parents=True)
    cfg.dump(config)
    state_dict = MODELS.build(dict(cfg.model, _scope_='mmcnv2')).state_dict()
    inputs = [torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8) for _ in range(2)]
    torch.save(dict(state_dict=state_dict, key=(0, 0, 8, 0), inputs=inputs, files=[]), batch)
    monkeypatch.chdir(tmp_path)
    variables = {}
    exec(code, variables)
    assert variables['losses']['loss'].isfinite()


def test_readme_shows_a_picture_of_moderate_size_first():
    body = README.split('\n', 1)[1]
    picture = re.search(r'!\[[^\]]+\]\(([^)]+)\)', body)
    assert picture.start() < body.index('```')
    assert (ROOT / picture[1]).stat().st_size < 500_000


@pytest.mark.parametrize('name', ['README.md', 'docs/README.md'])
def test_every_page_is_listed_once(name):
    index = ROOT / name
    listed = re.findall(r'^\| \[[^\]]+\]\((\S+\.md)\)', index.read_text(), re.MULTILINE)  # first in its row
    pages = sorted((index.parent / target).resolve() for target in listed)
    indices = [ROOT / 'docs/README.md', ROOT / 'docs/index.md']  # of the repository, of the site
    pages = [page for page in pages if page.is_relative_to(ROOT / 'docs') and page not in indices]
    assert pages == [page for page in DOCS if page not in indices]


def test_figures_of_the_quickstart_are_the_same_on_both_pages():
    rows = re.compile(r'^\| (?:Mask R-CNN|UperNet) .*\d\.\d.*$', re.MULTILINE)
    figures = rows.findall(README)
    assert len(figures) == 3
    assert figures == rows.findall((ROOT / 'docs/start/quickstart.md').read_text())
