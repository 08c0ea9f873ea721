import csv
import json
import re

import pytest
from helpers.commands import call, refusal

from mmcnv2.report import write_report
from mmcnv2.utils.errors import InputError, MissingFileError


def make_run(folder, lr, losses):
    path = folder / '20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    records = [dict(loss=loss, lr=lr, images_per_s=10.0, iter=10 * i) for i, loss in enumerate(losses, start=1)]
    path.write_text('\n'.join(map(json.dumps, [*records, {'mIoU': 40.0}, dict(records[-1], iter=99), {'mIoU': 30.0}])))
    (folder / 'my_config.py').write_text(f"work_dir = {str(folder)!r}\noptimizer = dict(type='AdamW', lr={lr})\n")
    (folder / '20260101_000000/a.log').write_text(
        'x\nSystem environment:\n    Python: 3.11 <b>\n\nRuntime environment:\n    y\n' + '-' * 60 + '\nmore'
    )
    return folder


def table(path):
    with path.open() as file:
        return list(csv.reader(file))


def test_one_training(tmp_path, capsys):
    run = make_run(tmp_path / 'run', 0.1, [3.0, 2.0])
    call('report', run)
    page = run / 'report/report.html'
    assert capsys.readouterr().out.strip() == str(page)
    files = ['curves.csv', 'curves.png', 'report.html', 'summary.csv']
    assert sorted(path.name for path in page.parent.iterdir()) == files
    header, row = table(page.parent / 'summary.csv')
    assert header == ['training', 'iterations', 'last loss', 'images/s', 'mIoU', 'mIoU, best']
    assert row == ['run', '99', '2.0', '10.0', '30.0', '40.0']
    losses = [[iteration, loss] for _, name, iteration, loss in table(page.parent / 'curves.csv') if name == 'loss']
    assert losses == [['10', '3.0'], ['20', '2.0'], ['99', '2.0']]
    text = page.read_text()
    assert 'Python: 3.11 &lt;b&gt;' in text and 'Runtime environment' in text and 'more' not in text
    assert 'lr=0.1' in text
    assert set(re.findall(r'(?:src|href)="([^"]{0,22})', text)) == {'data:image/png;base64,'}  # nothing is fetched


def test_trainings_are_compared(tmp_path):
    runs = [make_run(tmp_path / name / 'run', lr, [3.0]) for name, lr in (('a', 0.1), ('b', 0.2))]
    write_report(runs, tmp_path / 'out')
    assert table(tmp_path / 'out/settings.csv') == [['setting', 'a/run', 'b/run'], ['optimizer.lr', '0.1', '0.2']]
    assert [row[0] for row in table(tmp_path / 'out/summary.csv')] == ['training', 'a/run', 'b/run']


def test_refusals(tmp_path):
    run = make_run(tmp_path / 'run', 0.1, [3.0])
    assert 'no such folder' in refusal('report', tmp_path / 'nowhere')
    assert 'several work dirs need --out' in refusal('report', run, run)
    assert 'given twice' in refusal('report', run, run, '--out', tmp_path / 'out')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(MissingFileError, match='no run has logged anything'):
        write_report([tmp_path / 'empty'], tmp_path / 'out')
    (run / 'my_config.py').write_text('a = (')
    with pytest.raises(InputError, match=r'my_config\.py cannot be read'):
        write_report([run], tmp_path / 'out')
    (run / 'my_config.py').unlink()
    with pytest.raises(MissingFileError, match=r'has no config \(\*\.py\)'):
        write_report([run], tmp_path / 'out')
