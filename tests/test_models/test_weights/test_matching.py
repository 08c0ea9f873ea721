"""The comparison of two state dicts, by hand."""

import pytest
import torch

from mmcnv2.models.weights.matching import match_state_dicts

OWN = {
    'stem.weight': torch.zeros(4, 3),
    'stages.0.0.weight': torch.zeros(2),
    'stages.0.1.weight': torch.zeros(2),
    'norm.weight': torch.zeros(2),
}


def given(**changes):
    weights = {key: torch.full_like(value, i) for i, (key, value) in enumerate(OWN.items())}
    return {key: value for key, value in (weights | changes).items() if value is not None}


def test_what_fits():
    match = match_state_dicts(given(), OWN)
    assert match.problems == match.fresh == []
    assert {key: float(value.flatten()[0]) for key, value in match.tensors.items()} == dict(
        zip(OWN, range(4), strict=True)
    )


@pytest.mark.parametrize(
    ('changes', 'problems'),
    [
        ({'stem.weight': None}, ['stem.weight is missing']),
        ({'stem.weight': torch.zeros(3, 4)}, ['stem.weight is (3, 4), expected (4, 3)']),
        ({'stem.weight': 'text'}, ['stem.weight is a str, no tensor']),
        ({'stages.0.2.weight': torch.zeros(2)}, ['stages.0.2 is in the checkpoint, and the model has no such part']),
        ({'stages.1.0.weight': torch.zeros(2)}, ['stages.1 is in the checkpoint, and the model has no such part']),
        ({'decoder.weight': torch.zeros(2)}, []),
        ({'stem.weight': torch.zeros(4, 3, 1, 1)}, []),
    ],
)
def test_problems(changes, problems):
    assert match_state_dicts(given(**changes), OWN).problems == problems


def test_dimensions_of_size_1_are_those_of_the_model():
    match = match_state_dicts(given(**{'stem.weight': torch.zeros(1, 4, 3, 1)}), OWN)
    assert match.tensors['stem.weight'].shape == (4, 3)


def test_optional_keys_are_fresh():
    match = match_state_dicts(given(**{'norm.weight': None}), OWN, is_optional=lambda key: key == 'norm.weight')
    assert match.problems == [] and match.fresh == ['norm.weight'] and 'norm.weight' not in match.tensors


def test_other_names_and_a_reader_of_ones_own():
    theirs = {f'x.{key}': value for key, value in given().items()}

    def read(value, own):
        if own.ndim == 2:
            raise ValueError('two dimensions')
        return value + 10 if value.max() < 3 else None

    match = match_state_dicts(theirs, OWN, name=lambda key: f'x.{key}', read=read)
    assert match.problems == ['stem.weight does not fit: two dimensions', 'norm.weight is (2,), expected (2,)']
    assert match.tensors['stages.0.1.weight'].tolist() == [12, 12]
