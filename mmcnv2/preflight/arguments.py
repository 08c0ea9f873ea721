"""Which keyword arguments a class takes, including those that it passes on to its bases with ``**kwargs``."""

import ast
import inspect
import textwrap
from collections.abc import Callable


def accepted_arguments(cls: Callable) -> tuple[dict[str, bool], bool]:
    """Return the arguments of a class or function.

    Returns:
        Their names, with whether they are required; and whether it may take others, which cannot be known: it has
        ``**kwargs`` and uses it other than in ``super().__init__(..., **kwargs)``.
    """
    if not inspect.isclass(cls):
        names, rest = _parameters(cls)
        return names, rest is not None
    accepted: dict[str, bool] = {}
    for base in inspect.getmro(cls):
        init = base.__dict__.get('__init__')
        if init is None or base is object:
            continue
        names, rest = _parameters(init)
        accepted = names | accepted
        accepted.pop('self', None)
        if rest is None:
            return accepted, False
        if not _only_passed_on(init, rest, base.__name__):
            return accepted, True
    return accepted, False


def _parameters(function: Callable) -> tuple[dict[str, bool], str | None]:
    """Return the named parameters, and the name of ``**kwargs`` if there is one."""
    parameters = inspect.signature(function).parameters.values()
    rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
    named = (p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return {p.name: p.default is p.empty for p in named}, rest


def _only_passed_on(init: Callable, rest: str, name: str) -> bool:
    """Return whether the one use of ``**kwargs`` in class ``name`` is ``super().__init__(..., **kwargs)``."""
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
