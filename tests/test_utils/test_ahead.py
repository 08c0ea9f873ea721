import threading

import pytest

from mmcnv2.utils.ahead import ahead


def test_order_and_errors():
    def numbers():
        yield from range(5)
        raise ValueError('six')

    received = []
    with pytest.raises(ValueError, match='six'):
        for number in ahead(numbers(), 2):
            received.append(number)
    assert received == [0, 1, 2, 3, 4]
    assert list(ahead([], 3)) == []


def test_no_more_than_so_many_are_computed_ahead():
    computed = []

    def numbers():
        for number in range(100):
            computed.append(number)
            yield number

    for number in ahead(numbers(), 3):
        assert len(computed) <= number + 4


def test_early_end_closes_the_source_and_leaves_no_thread():
    closed = []

    def numbers():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    before = threading.active_count()
    iterator = ahead(numbers(), 2)
    assert next(iterator) == 0
    iterator.close()
    assert closed == [True] and threading.active_count() == before
