import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def default_scope(monkeypatch):
    """A runner sets the default scope for good; other tests should not see it."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
