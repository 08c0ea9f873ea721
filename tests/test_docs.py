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
from typing import NamedTuple

import cv2
import matplotlib.pyplot
import numpy as np
import pytest
import torch
from helpers import foreign_data
from helpers.commands import call
from helpers.launching import launch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from mmengine.visualization import Visualizer

from mmcnv2.apis import get_config
from mmcnv2.cli import COMMANDS
from mmcnv2.preflight.settings import check_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
DOCS = sorted(ROOT.glob('docs/**/*.md'))
PAGES = [*(ROOT / f'{name}.md' for name in ('README', 'CONTRIBUTING', 'CHANGELOG')), *DOCS]
# A pre-training on few images, for one epoch.
SHORT = ['--cfg-options', 'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
SHORT += ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=2', 'default_hooks.checkpoint.interval=1']
SETTINGS = ('model', 'train_dataloader', 'custom_hooks', 'load_from')  # that pages show without a base
FOLDERS = ('configs', 'docs', 'mmcnv2', 'requirements', 'tests', 'tools')
TARGETS = re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)

every_page = pytest.mark.parametrize('page', PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def split(text):
    """Return the prose of a page, without code blocks, and the (language, code) of its blocks."""
    blocks = re.findall(r'^```([^`\n]*)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    text = re.sub(r'^```.*?^```$', '', text, flags=re.MULTILINE | re.DOTALL)
    indented = re.compile(r'(?<=\n\n)((?: {4}.*\n)+)')
    return indented.sub('', text), blocks + [('', code) for code in indented.findall(text)]


BLOCK = re.compile(
    r'(?:^ *<!-- ((?:not )?run: [^>]*?) -->\n+)?(?:^```([^`\n]*)\n(.*?)^```$|(?<=\n\n)((?: {4}[^\n]*\n)+))',
    re.MULTILINE | re.DOTALL,
)
PROGRAMS = ('.', 'export', 'for', 'make', 'mmcnv2', 'pip', 'pre-commit', 'python', 'python3')


class Block(NamedTuple):
    """Python or commands on a page, what comes before it, and its mark: who runs it, or why nobody does."""

    mark: str
    python: bool
    code: str
    before: str

    def commands(self):
        lines = (line.split(' #')[0] for line in self.code.replace('\\\n', ' ').splitlines())
        return [words for line in lines if (words := words_of(line)) and is_command(words)]


def is_command(words):
    return not words[0].endswith('/') and (words[0].startswith('tools/') or Path(words[0]).name in PROGRAMS)


def blocks_that_run(page):
    """Return the blocks of a page that are Python or commands, in order. Cells of notebooks are run as a whole."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        mark, language, fenced, indented = match.groups(default='')
        block = Block(' '.join(mark.split()), language == 'python', fenced or indented, text[: match.start()])
        if block.python or (not language and block.commands()):
            found.append(block)
    return found


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


@every_page
def test_blocks_that_others_run_are_run_there(page):
    """The mark names test files, which name the commands; or it says why nothing runs the block."""
    for block in blocks_that_run(page):
        kind, _, text = block.mark.partition(': ')
        if kind != 'run':
            assert text or not kind
            continue
        tests = '\n'.join((ROOT / file).read_text() for file in text.split())
        for words in block.commands():
            script = next((Path(word).stem for word in words[:2] if word.startswith('tools/')), None)
            name = words[1] if words[0] == 'mmcnv2' else script
            assert name is None or re.search(re.sub('[-_]', '[-_]', name), tests), name


@pytest.fixture
def small_data(tmp_path, monkeypatch):
    """A folder with small data under the names that pages use; the commands find it as their working directory."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    monkeypatch.chdir(tmp_path)
    cfg = get_config('toy/fcmae_convnextv2-atto_toy-scenes')
    model = MODELS.build(dict(cfg.model, _scope_='mmcnv2'))
    for path in ('epoch_800.pth', 'V2.pth', 'work_dirs/quickstart/fcmae/epoch_9.pth'):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    for folder in ('data/train', 'data/val'):
        foreign_data.class_folders(tmp_path / folder, number=2)
    for i in range(4):
        foreign_data.picture(tmp_path / f'all_images/{i}.png', i)
    foreign_data.coco_folder(tmp_path / 'labelled_part')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    'page',
    [page for page in PAGES if any(not block.mark for block in blocks_that_run(page))],
    ids=lambda page: page.stem,
)
def test_the_other_blocks_run(page, small_data):
    """Those without a mark, one after the other, on small data."""
    variables = dict(images=torch.zeros(1, 3, 64, 64))
    for block in blocks_that_run(page):
        if block.mark:
            continue
        if not block.python:
            for program, command, *arguments in block.commands():
                assert program == 'mmcnv2'
                call(command, *arguments, *(SHORT if command == 'train' else ()))
                # Small data are seen in other numbers of epochs.
                for checkpoint in Path('work_dirs').glob('*/epoch_1.pth'):
                    checkpoint.rename(checkpoint.with_name('epoch_300.pth'))
        elif '_base_' in block.code:
            file = re.findall(r'`(\w+\.py)`', block.before)[-1]
            Path(file).write_text(block.code)
            check_settings(Config.fromfile(file))
        else:
            before = set(variables)
            exec(block.code, variables)
            check_fragment({name: variables[name] for name in variables.keys() - before})


def check_fragment(settings):
    """Put settings that a page shows alone into the toy recipe that they suit, and check names and arguments."""
    if 'backbone' in settings and isinstance(settings['backbone'], dict):
        settings = dict(model=dict(backbone=settings['backbone']))
    elif 'dataset' in settings:
        settings = dict(train_dataloader=dict(dataset=settings['dataset']))
    settings = {key: value for key, value in settings.items() if key in SETTINGS}
    heads = dict(roi_head='mask-rcnn', decode_head='upernet')
    method = next((heads[key] for key in settings.get('model', {}) if key in heads), 'fcmae')
    cfg = get_config(f'toy/{method}_convnextv2-atto_toy-scenes')
    cfg.merge_from_dict(settings)
    check_settings(cfg)


@pytest.mark.slow
@pytest.mark.parametrize('page', sorted((ROOT / 'docs/notebooks').glob('*.md')), ids=lambda page: page.stem)
def test_notebooks_run(page, tmp_path, monkeypatch):
    """Their cells as one program, without a kernel, which would import torch once more for each page."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    for kind in (Visualizer, *Visualizer.__subclasses__()):  # one that is there already logs to its old folder
        monkeypatch.setattr(kind, '_instance_dict', type(kind._instance_dict)())
    monkeypatch.chdir(tmp_path)
    cells = re.findall(r'^```\{code-cell\} python\n(.*?)^```$', page.read_text(), re.MULTILINE | re.DOTALL)
    code = re.sub(r'^:tags: .*$', '', '\n'.join(cells), flags=re.MULTILINE)
    assert len(cells) >= 4
    with matplotlib.rc_context(dict(backend='agg')):
        exec(code, {})
        matplotlib.pyplot.close('all')


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_asks_no_other_host(tmp_path):
    """As `make docs` builds it, but for the notebooks. It has every command and every registered component."""
    pytest.importorskip('sphinx', reason='Sphinx has no release for this Python')
    options = ['-q', '-W', '--keep-going', '-d', tmp_path / 'doctrees', '-D', 'nb_execution_mode=off']
    # In a process of its own: autodoc changes the signatures of the functions that it documents.
    launch(ROOT, sys.executable, '-m', 'sphinx', *options, ROOT / 'docs', tmp_path / 'site')

    pages = {path.relative_to(tmp_path / 'site').as_posix(): path for path in (tmp_path / 'site').rglob('*.html')}
    loaded = re.compile(r'<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')
    assert [found for path in pages.values() for found in loaded.findall(path.read_text())] == []
    for style in (tmp_path / 'site/_static').rglob('*.css'):
        assert not re.search(r'(?:@import|url\()\s*["\']?(?:https?:)?//', style.read_text()), style
    assert (tmp_path / 'site/searchindex.js').stat().st_size > 50_000

    commands = pages['reference/commands.html'].read_text()
    assert [command for command in COMMANDS if f'<section id="mmcnv2-{command}">' not in commands] == []
    components = pages['reference/components.html'].read_text()
    sources = [path.read_text() for path in (ROOT / 'mmcnv2').rglob('*.py')]
    registered = re.findall(r'^@\w+\.register_module\(\)\nclass (\w+)', '\n'.join(sources), re.MULTILINE)
    assert len(registered) > 30
    assert [name for name in registered if f'.{name}">' not in components] == []


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
