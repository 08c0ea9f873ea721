"""The one comparison of two state dicts: what is missing, what has another shape, what is deeper than the model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

MISSING = 'is missing'


@dataclass
class Match:
    """The result of comparing a given state dict with a model's own.

    Attributes:
        tensors: Given tensors by key of the model, in the model's shapes.
        fresh: Keys of the model that the given state dict lacks and may lack.
        misfits: Keys of the model whose tensor is missing or does not fit, and why.
        deeper: Parts that only the given state dict has, in lists of modules that the model has as well.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    misfits: dict[str, str] = field(default_factory=dict)
    deeper: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """One line for each misfit, and for each deeper part, since loading would silently leave it out."""
        lines = [f'{key} {reason}' for key, reason in self.misfits.items()]
        return lines + [f'{part} is in the checkpoint, and the model has no such part' for part in self.deeper]


def match_state_dicts(
    given: Mapping[str, Any],
    own: Mapping[str, Tensor],
    name: Callable[[str], str] = lambda key: key,
    read: Callable[[Tensor, Tensor], Tensor | None] | None = None,
    is_optional: Callable[[str], bool] = lambda key: False,
) -> Match:
    """Compare a given state dict with that of a model.

    Args:
        given: State dict from anywhere; its tensors may be on the meta device.
        own: State dict of the model.
        name: Maps a key of the model to its name in ``given``.
        read: Maps a given tensor and the model's to the given one in the model's shape, or to None if it does not fit,
            or raises a ValueError that says why. By default, shapes must be equal except for dimensions of size 1.
        is_optional: Whether ``given`` may lack a key of the model.

    Returns:
        The match; what does not fit is collected, not raised.
    """
    match = Match()
    read = read or _same_values
    for key, tensor in own.items():
        theirs = name(key)
        if theirs not in given:
            if is_optional(key):
                match.fresh.append(key)
            else:
                match.misfits[key] = MISSING
            continue
        value = given[theirs]
        if not isinstance(value, Tensor):
            match.misfits[key] = f'is a {type(value).__name__}, no tensor'
            continue
        try:
            converted = read(value, tensor)
        except ValueError as error:
            match.misfits[key] = f'does not fit: {error}'
            continue
        if converted is None:
            match.misfits[key] = f'is {tuple(value.shape)}, expected {tuple(tensor.shape)}'
        else:
            match.tensors[key] = converted
    # Loading would silently leave out blocks that the model does not have.
    match.deeper = [*dict.fromkeys(block for block, key in _next_blocks(own) if name(key) in given)]
    return match


def _same_values(given: Tensor, own: Tensor) -> Tensor | None:
    return given.reshape(own.shape) if given.squeeze().shape == own.squeeze().shape else None


def _next_blocks(own: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield name and keys of the block that would follow the last one of each list of modules."""
    last: dict[str, int] = {}
    inside: dict[str, set[str]] = {}
    for key in own:
        parts = key.split('.')
        for i, part in enumerate(parts):
            if part.isdecimal():
                parent = '.'.join(parts[:i])
                last[parent] = max(last.get(parent, 0), int(part))
                inside.setdefault(parent, set()).add('.'.join(parts[i + 1 :]))
    for parent, index in last.items():
        block = f'{parent}.{index + 1}'.lstrip('.')
        for rest in inside[parent]:
            yield block, f'{block}.{rest}'
