"""How tests call the commands without a process of their own."""

import pytest

from mmcnv2.cli import run_command


def call(command, *arguments):
    """Runs a command in this process."""
    run_command(command, [str(argument) for argument in arguments])


def refusal(command, *arguments):
    """Returns the line with which a command ends the process because of bad input; its exit code is 1 then."""
    with pytest.raises(SystemExit) as stop:
        call(command, *arguments)
    assert isinstance(stop.value.code, str) and '\n' not in stop.value.code  # Python prints it and exits with 1
    return stop.value.code
