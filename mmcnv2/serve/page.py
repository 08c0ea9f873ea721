"""``/docs``: the API as a page without scripts, so that nothing is loaded from another host."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { border: 1px solid #bbb; padding: .2rem .6rem; text-align: left }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f3f3f3 } pre { padding: .6rem }
"""


def page(api: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    title = escape(api['info']['title'])
    parts = [f'<h1>{title}</h1>', f'<p>{escape(api["info"]["description"])}</p>', _example(), _link()]
    for path, operations in api['paths'].items():
        for method, operation in operations.items():
            parts += _operation(f'{method.upper()} {path}', operation)
    parts.append('<h2>Schemas</h2>')
    for name, schema in api['components']['schemas'].items():
        parts += _schema(name, schema)
    return f'<!doctype html><html lang="en"><title>{title}</title><style>{_STYLE}</style>{"".join(parts)}</html>'


def _example() -> str:
    lines = (
        'curl -F image=@photo.jpg "URL/predict?score_threshold=0.5"',
        'curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" "URL/predict?format=picture" -o found.png',
    )
    return f'<pre>{escape(chr(10).join(lines))}</pre>'


def _link() -> str:
    return '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>'


def _operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<h2>{escape(name)}</h2><p>{escape(operation.get("description", operation["summary"]))}</p>'
    if 'requestBody' in operation:
        yield f'<p>Body: {_codes(operation["requestBody"]["content"])}</p>'
    if parameters := operation.get('parameters'):
        rows = [(one['name'], _kind(one['schema']), one.get('description', '')) for one in parameters]
        yield _table(('parameter', 'values', ''), rows)
    rows = []
    for status, answer in operation['responses'].items():
        kinds = [
            f'{media_type} {_kind(content.get("schema", {}))}'.strip()
            for media_type, content in answer.get('content', {}).items()
        ]
        rows.append((status, ', '.join(kinds), answer['description']))
    yield _table(('status', 'answer', ''), rows)


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
    properties = schema.get('properties', {})
    yield _table(
        ('key', 'value', ''), [(key, _kind(one), one.get('description', '')) for key, one in properties.items()]
    )


def _kind(schema: dict[str, Any]) -> str:
    """Return what a schema allows in a few words."""
    if 'anyOf' in schema:
        return ' or '.join(_kind(one) for one in schema['anyOf'] if one.get('type') != 'null')
    if '$ref' in schema:
        return schema['$ref'].rpartition('/')[2]
    if 'enum' in schema:
        return ', '.join(map(str, schema['enum']))
    if schema.get('type') == 'array':
        return f'list of {_kind(schema["items"])}'
    if 'minimum' in schema:
        return f'{schema["type"]} from {schema["minimum"]:g} to {schema["maximum"]:g}'
    return str(schema.get('const', schema.get('type', '')))


def _codes(values: Any) -> str:
    return ', '.join(f'<code>{escape(value)}</code>' for value in values)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ''.join(f'<tr>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>' for row in rows)
    return f'<table><tr>{"".join(f"<th>{cell}</th>" for cell in header)}</tr>{lines}</table>'
