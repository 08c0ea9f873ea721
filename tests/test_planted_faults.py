"""The list of ``planted_faults.py`` fits the package: each text stands once in its file, and the tests exist."""

import pytest
from planted_faults import FAULTS


@pytest.mark.parametrize('name', FAULTS)
def test_text_and_tests_exist(name, root):
    fault = FAULTS[name]
    assert (root / 'mmcnv2' / fault.file).read_text(encoding='utf-8').count(fault.right) == 1
    for path in fault.tests.split(' -k ')[0].split():
        assert (root / 'tests' / path.split('::')[0]).exists()
