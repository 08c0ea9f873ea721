"""The help of ``mmcnv2`` and of every command, as a user sees it."""

import argparse
import json
import shlex
import sys
from importlib import import_module

import pytest
from helpers.processes import run

from mmcnv2.cli import COMMANDS
from mmcnv2.version import __version__

# Prints, as JSON, the help of each command, and which of the heavy packages that has imported.
SHOW_HELP = """
import contextlib, io, json, sys
from mmcnv2.cli import COMMANDS, main

texts = {}
for command in COMMANDS:
    sys.argv = ['mmcnv2', command, '--help']
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    texts[command] = out.getvalue()
heavy = [name for name in ('torch', 'mmcv', 'mmdet', 'mmseg', 'cv2', 'matplotlib') if name in sys.modules]
print(json.dumps(dict(texts=texts, heavy=heavy)))
"""


def mmcnv2(root, *arguments):
    return run(root, sys.executable, '-m', 'mmcnv2', *arguments)


@pytest.fixture(scope='module')
def helps(root):
    """The help of all commands, shown by one fresh process."""
    done = run(root, sys.executable, '-c', SHOW_HELP, COLUMNS='120')
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def examples(command):
    """The arguments of the examples in the help of a command."""
    return import_module(f'mmcnv2.cli.{command.replace("-", "_")}').EXAMPLES


def test_help_imports_nothing_heavy(helps):
    assert helps['heavy'] == []


@pytest.mark.parametrize('command', COMMANDS)
def test_help_ends_with_two_examples(helps, command):
    text = helps['texts'][command]
    assert text.startswith(f'usage: mmcnv2 {command} ')
    *_, title, first, second = text.splitlines()
    assert title == 'examples:'
    assert [first, second] == [f'  mmcnv2 {command} {call}' for call in examples(command)]


@pytest.mark.parametrize('command', COMMANDS)
def test_examples_are_valid_arguments(command):
    module = import_module(f'mmcnv2.cli.{command.replace("-", "_")}')
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    for call in examples(command):
        given = shlex.split(call, comments=True)
        _, unknown = parser.parse_known_args(given)
        assert given and not unknown


def test_overview_names_every_command(root):
    done = mmcnv2(root, '--help')
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith('  ')]
    assert set(COMMANDS) < set(listed)
    assert mmcnv2(root).stdout == done.stdout  # without arguments, too


def test_unknown_command(root):
    done = mmcnv2(root, 'benchmark-pretraining')
    assert done.returncode == 2 and done.stdout == ''
    message = "no command 'benchmark-pretraining'; did you mean benchmark-pretrain? (mmcnv2 --help lists them)"
    assert message in done.stderr


def test_version(root):
    assert mmcnv2(root, '--version').stdout == f'mmcnv2 {__version__}\n'
