"""Run what is open on a GPU, part by part, and write report.json and report.md after every command.

python tools/gpu/report.py --out DIR [--parts NAME ...] [--seconds N] [--device cuda|cpu] [--small] [--data DIR]
python tools/gpu/report.py --list

The parts are the table in parts.py. Every command has a process group, a time limit and a log of its own: one that
fails or hangs costs only itself. What an earlier call has finished, by the report.json in --out, is not run again
unless its part is named. Exit code 1 if anything failed.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parts import PARTS, Command, Part

ROOT = Path(__file__).resolve().parents[2]
PASSED, FAILED, TOO_LONG = 'passed', 'failed', 'too long'
CUT, WAITS, NO_CPU, NO_DATA = 'cut off', 'not run yet', 'needs a GPU', 'needs --data'
FINISHED = (PASSED, FAILED, TOO_LONG)
LEAST = 10  # seconds: with less left nothing is begun, as the imports alone take that long
LAST_LINES = 15
STOPPED = threading.Event()

Record = dict[str, Any]


class Report:
    """What became of each command, in the order of the table, in ``report.json`` and ``report.md``.

    Args:
        folder: Where these two are; the first is read if it is there.
        parts: All there are.
    """

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self.folder, self.parts = folder, parts
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / 'report.json'
        earlier = json.loads(file.read_text()) if file.exists() else []
        self.records: dict[tuple[str, str], Record] = {(r['part'], r['command']): r for r in earlier}

    def state(self, part: Part, command: Command) -> str:
        return self.records.get((part.name, command.name), {}).get('state', WAITS)

    def add(self, part: Part, command: Command, state: str, **about: Any) -> None:
        """Note what became of a command and write the files."""
        self.records[part.name, command.name] = dict(part=part.name, command=command.name, state=state, **about)
        known = [(part.name, command.name) for part in self.parts for command in part.commands]
        self.records = {key: self.records[key] for key in known if key in self.records}
        _write_whole(self.folder / 'report.json', json.dumps([*self.records.values()], indent=1))
        _write_whole(self.folder / 'report.md', self.text())

    def text(self) -> str:
        """Return the report in Markdown: an overview, then what each command found."""
        lines = ['# What was measured', '', '| part | command | state | seconds |', '| --- | --- | --- | --- |']
        for part in self.parts:
            for command in part.commands:
                seconds = self.records.get((part.name, command.name), {}).get('seconds', '')
                lines.append(f'| {part.name} | {command.name} | {self.state(part, command)} | {seconds} |')
        for part in self.parts:
            records = [self.records.get((part.name, command.name), {}) for command in part.commands]
            if any('line' in record for record in records):
                lines += ['', f'## {part.title}']
            for record in records:
                if 'line' in record:
                    lines += _section(record)
        return '\n'.join(lines) + '\n'


def _section(record: Record) -> list[str]:
    lines = ['', f'### {record["command"]}: {record["state"]}', '', f'    {record["line"]}', '']
    result = record['result']
    if result is None or record['state'] != PASSED:
        lines += [f'    {line}' for line in record['last lines']] + ['']
    if isinstance(result, dict):
        lines += [f'- {key}: {value}' for key, value in result.items() if key != 'rows']
        lines += ['', *_table(result.get('rows', []))]
    return lines


def _table(rows: list[Record]) -> list[str]:
    if not rows:
        return []
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f'| {" | ".join(columns)} |', f'|{" --- |" * len(columns)}']
    return lines + [f'| {" | ".join(_cell(row.get(column, "")) for column in columns)} |' for row in rows]


def _cell(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _write_whole(file: Path, text: str) -> None:
    partial = file.with_suffix('.partial')
    partial.write_text(text)
    partial.replace(file)


def run(line: str, limit: float, log: Path) -> tuple[str, int | None]:
    """Run a command line from the root of the repository.

    Args:
        line: Without a shell; the word ``python`` is this Python.
        limit: Seconds after which its process group is killed.
        log: File for what it prints.

    Returns:
        State, and exit code (None: it was killed).

    Raises:
        SystemExit: If this process is stopped.
    """
    words = [sys.executable if word == 'python' else word for word in shlex.split(line)]
    # The repository comes first.
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    environment = {**os.environ, 'PYTHONPATH': paths, 'PYTHONUNBUFFERED': '1', 'PYTHON': sys.executable}
    with log.open('w') as file:
        try:
            process = subprocess.Popen(
                words, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
            )
        except OSError as error:  # a tool that is not there
            file.write(f'{error}\n')
            return FAILED, None
        end = time.monotonic() + limit
        while process.poll() is None and time.monotonic() < end and not STOPPED.is_set():
            STOPPED.wait(0.1)
        code = process.poll()
        # Also what the command has left running.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if STOPPED.is_set():
        sys.exit(128 + signal.SIGTERM)
    if code is None:
        return TOO_LONG, None
    return (FAILED if code else PASSED), code


def read_result(file: Path, earlier: float) -> Any:
    """Return what a command has written as JSON; None if that is nothing, or older than ``earlier``."""
    try:
        return json.loads(file.read_text()) if file.stat().st_mtime >= earlier else None
    except (OSError, ValueError):
        return None


def make(part: Part, command: Command, line: str, limit: float, is_cut: bool, report: Report, work: Path) -> None:
    """Run a command and note what became of it.

    Args:
        is_cut: Whether ``limit`` is less than the command's own, so that it may be run again later.
    """
    log, result = (work / part.name / f'{command.name}.{ending}' for ending in ('log', 'json'))
    print(f'{part.name} {command.name}: {line}', flush=True)
    start, wall = time.monotonic(), time.time()
    state, code = run(line, limit, log)
    if state == TOO_LONG and is_cut:
        state = CUT
    seconds = round(time.monotonic() - start, 1)
    about = dict(line=line, seconds=seconds, result=read_result(result, int(wall)))
    last = log.read_text(errors='replace').splitlines()[-LAST_LINES:]
    report.add(part, command, state, exit_code=code, **about, **{'last lines': last})
    print(f'{part.name} {command.name}: {state} after {seconds} s', flush=True)


def pack_logs(work: Path, folder: Path) -> None:
    """Put the logs and what the commands wrote as JSON into one file beside the report."""
    with tarfile.open(folder / 'logs.tar.gz', 'w:gz') as archive:
        for file in sorted([*work.glob('*/*.log'), *work.glob('*/*.json')]):
            archive.add(file, file.relative_to(work))


def read_arguments(arguments: Sequence[str] | None, parts: Sequence[Part]) -> argparse.Namespace:
    summary, _, rest = (__doc__ or '').partition('\n\n')
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in parts]
    parser.add_argument('--list', action='store_true', help='print the parts and stop')
    parser.add_argument('--out', type=Path, help='folder of the report')
    parser.add_argument('--parts', nargs='+', metavar='NAME', choices=names, help='only these, and again')
    parser.add_argument('--seconds', type=float, default=float('inf'), help='end after so many (default: no limit)')
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda', help='(default: cuda)')
    parser.add_argument('--small', action='store_true', help='the CPU path of each part, in seconds')
    parser.add_argument('--data', type=Path, help='folder of images, for the part evidence')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/gpu', help='logs (default: work_dirs/gpu)')
    args = parser.parse_args(arguments)
    if args.small != (args.device == 'cpu'):
        parser.error('--small and --device cpu belong together: the one is the path of the other')
    if not args.list and args.out is None:
        parser.error('--out DIR is needed')
    return args


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    """Run the parts. Returns the exit code: 1 if one failed, in this call or an earlier one."""
    args = read_arguments(arguments, parts)
    if args.list:
        for part in parts:
            print(f'{part.name:12} {sum(command.limit for command in part.commands):5} s  {part.title}')
        return 0
    end = time.monotonic() + args.seconds
    report = Report(args.out, parts)
    for part in parts:
        if args.parts and part.name not in args.parts:
            continue
        (args.work_dir / part.name).mkdir(parents=True, exist_ok=True)
        for command in part.commands:
            if report.state(part, command) in FINISHED and not args.parts:
                continue
            line = command.small if args.small else command.line
            if line is None:
                report.add(part, command, NO_CPU)
                continue
            if '{data}' in line and args.data is None:
                report.add(part, command, NO_DATA)
                continue
            left = end - time.monotonic()
            if left < LEAST:
                report.add(part, command, WAITS)
                continue
            places = dict(
                device=args.device,
                data=args.data,
                out=args.out.resolve(),
                work=(args.work_dir / part.name).resolve(),
                json=(args.work_dir / part.name / f'{command.name}.json').resolve(),
                seconds=int(min(left, command.limit)),
            )
            limit = min(left, command.limit)
            make(part, command, line.format(**places), limit, limit < command.limit, report, args.work_dir)
        pack_logs(args.work_dir, args.out)
    print((args.out / 'report.md').resolve())
    return int(any(record['state'] in (FAILED, TOO_LONG) for record in report.records.values()))


if __name__ == '__main__':
    # A stop from outside ends the command, too. An exception could come while it starts, before it can be ended.
    signal.signal(signal.SIGTERM, lambda *_: STOPPED.set())
    sys.exit(main())
