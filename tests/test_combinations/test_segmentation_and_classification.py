"""Features that hold alone hold together: UperNet and a classifier. See helpers/combinations.py."""

import pytest
from helpers.combination_runs import check_combination
from helpers.combinations import combinations

COMBINATIONS = [one for one in combinations() if one.task in ('upernet', 'classifier')]


@pytest.mark.slow
@pytest.mark.parametrize('combination', COMBINATIONS, ids=range(len(COMBINATIONS)))
def test_combination(root, data, tmp_path, combination):
    check_combination(root, data, tmp_path, combination)
