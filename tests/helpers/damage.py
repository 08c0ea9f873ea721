"""Damage to files, for hypothesis."""

from hypothesis import strategies


def flipped_bits(data):
    """Strategy: ``data`` with 1 to 20 bits flipped."""
    bits = strategies.integers(0, 8 * len(data) - 1)
    return strategies.sets(bits, min_size=1, max_size=20).map(lambda flipped: _flip(data, flipped))


def _flip(data, bits):
    damaged = bytearray(data)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
