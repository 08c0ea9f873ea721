"""Which keyword arguments a class takes, those of its bases included that it passes on with ``**kwargs``."""

import ast
import inspect
import textwrap
from collections.abc import Callable


def accepted_arguments(cls: Callable) -> dict[str, bool] | None:
    """The names of the arguments of a class or function, and whether they must be given.

    Returns:
        None if that cannot be known: it takes ``**kwargs`` and does something else with it than
        ``super().__init__(..., **kwargs)``.
    """
    if not inspect.isclass(cls):
        names, rest = _parameters(cls)
        return None if rest else names
    accepted: dict[str, bool] = {}
    for base in inspect.getmro(cls):
        init = base.__dict__.get('__init__')
        if init is None:
            continue
        if base is object:
            return accepted
        names, rest = _parameters(init)
        accepted = names | accepted
        accepted.pop('self', None)
        if rest is None:
            return accepted
        if not _only_passed_on(init, rest, base.__name__):
            return None
    return accepted


def _parameters(function: Callable) -> tuple[dict[str, bool], str | None]:
    """Named parameters, and the name of ``**kwargs`` if there is one."""
    parameters = inspect.signature(function).parameters.values()
    rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
    named = (p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return {p.name: p.default is p.empty for p in named}, rest


def _only_passed_on(init: Callable, rest: str, name: str) -> bool:
    """Whether the one use of ``**kwargs`` in class ``name`` is ``super().__init__(..., **kwargs)``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = sum(isinstance(node, ast.Name) and node.id == rest for node in ast.walk(tree))
    passed_on = any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func) in ('super().__init__', f'super({name}, self).__init__')
        and any(keyword.arg is None and ast.unparse(keyword.value) == rest for keyword in node.keywords)
        for node in ast.walk(tree)
    )
    return passed_on and uses == 1
