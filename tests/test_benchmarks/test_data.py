"""mmcnv2 benchmark-data on a few images."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import call, refusal
from helpers.processes import run_forked

COLUMNS = ['pipeline', 'read (ms)', 'decode (ms)', 'crop, resize, flip (ms)', 'pack (ms)', 'images/s']


def cells(line):
    return [cell.strip() for cell in line.strip('|\n').split('|')]


@pytest.mark.slow
def test_images_that_it_makes(root, tmp_path):
    made = ('--make', 200, 120, '--num-images', 2, '--repeats', 1, '--crop-size', 32)
    done = run_forked(root, 'tools/analysis_tools/benchmark_data.py', *made, '--json', tmp_path / 'data.json')
    assert done.returncode == 0, done.stderr
    assert 'images: 2, on average 200 x 120 pixels' in done.stdout
    header, _, *rows = [cells(line) for line in done.stdout.splitlines() if line.startswith('|')]
    assert header == [*COLUMNS, 'mmcnv2 is faster by']
    assert [row[0] for row in rows] == ['plain', 'mmcnv2']

    report = json.loads((tmp_path / 'data.json').read_text())
    assert set(report) == {'environment', 'images', 'crops', 'rows'}
    for row, written in zip(report['rows'], rows, strict=True):
        assert list(row) == header and row['pipeline'] == written[0]
        milliseconds = sum(row[column] for column in COLUMNS[1:-1])
        assert 1000 / milliseconds == pytest.approx(row['images/s'])
    plain, ours = report['rows']
    assert ours['mmcnv2 is faster by'] == 1
    assert plain['mmcnv2 is faster by'] == pytest.approx(ours['images/s'] / plain['images/s'])


def test_folder_of_the_user(tmp_path, capfd):
    # Crops of 0.2 to 1 of 320 x 320 pixels, aspect ratio 3/4 to 4/3, are 123 to 320 pixels high and wide.
    (tmp_path / 'a').mkdir()
    for name in ('a/1.jpg', 'a/2.jpg', '3.jpg'):
        cv2.imwrite(str(tmp_path / name), np.full((320, 320, 3), 99, np.uint8))
    few = ('--num-images', 2, '--repeats', 1, '--crop-size', 20)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    call('benchmark-data', '--data-root', tmp_path, *few, '--shards', '--cold')
    assert (torch.get_num_threads(), cv2.getNumThreads()) == threads
    output = capfd.readouterr().out
    assert 'images: 2, on average 320 x 320 pixels' in output
    rows = [cells(line) for line in output.splitlines() if line.startswith('|')][2:]
    assert [row[0] for row in rows] == ['plain', 'mmcnv2', 'shards'] and all(float(row[-2]) > 0 for row in rows)
    line = next(line for line in output.splitlines() if line.startswith('crops: '))
    assert "'1/4'" in line or "'1/8'" in line
    assert "'1/1'" not in line and 'mean difference 0.00, 0.00' in line  # a plain picture is the same at all sizes


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--data-root', 'absent'), "No folder 'absent"),
        (('--num-images', 0), '--num-images must be positive, got 0'),
        (('--make', 0, 3), '--make must be positive, got [0, 3]'),
    ],
)
def test_bad_arguments(arguments, message):
    assert message in refusal('benchmark-data', *arguments)
