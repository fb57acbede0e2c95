"""Typed parameters of a notebook, read from the source of its `parameters` cell: nothing is executed to know or to check them."""

import ast
import io
import json
import math
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from qtkit.core.model import PolicyError
from qtkit.core.names import suggestion

SCALARS = {"bool": bool, "int": int, "float": float, "str": str, "Decimal": Decimal}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One line of the cell: ``name: annotation = default  # help``. A Decimal is written as text in quotes, and stays exact text."""

    name: str
    annotation: str
    kind: Any
    default: Any
    help: str


def parameters_of(notebook: Path) -> tuple[Parameter, ...]:
    """Parameters of a notebook. Raises `PolicyError` unless exactly one cell has the tag and holds annotated literals only."""
    try:
        cells = json.loads(notebook.read_text())["cells"]
    except FileNotFoundError:
        raise PolicyError(f"{notebook}: no such notebook") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise PolicyError(f"{notebook}: not a notebook (version 4 JSON)") from None
    tagged = [c for c in cells if c["cell_type"] == "code" and "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise PolicyError(f"{notebook}: {len(tagged)} code cells have the tag 'parameters'; exactly one is needed")
    return _parse("".join(tagged[0]["source"]), notebook.name)


def resolve(parameters: tuple[Parameter, ...], given: Mapping[str, object]) -> dict[str, Any]:
    """The full set: what was given, by the annotated types, and the defaults. Raises `PolicyError` at unknown names and wrong types."""
    known = {p.name: p for p in parameters}
    for name in given:
        if name not in known:
            raise PolicyError(f"no parameter {name!r}; {suggestion(name, known)}")
    return {p.name: coerce(given[p.name], p.kind, p) if p.name in given else p.default for p in parameters}


def _parse(source: str, where: str) -> tuple[Parameter, ...]:
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise PolicyError(f"{where}: line {error.lineno} of the parameters cell does not parse: {error.msg}") from None
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return tuple(_parameter(node, comments.get(node.end_lineno or node.lineno, ""), where) for node in statements)


def _parameter(node: ast.stmt, comment: str, where: str) -> Parameter:
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None):
        raise PolicyError(f"{where}: line {node.lineno} of the parameters cell is not of the form `name: type = literal  # help`")
    name, annotation = node.target.id, ast.unparse(node.annotation).strip("'\"")
    try:
        kind = _kind(ast.parse(annotation, mode="eval").body)
        default = ast.literal_eval(node.value)
    except (ValueError, SyntaxError, KeyError, TypeError):
        raise PolicyError(
            f"{where}: parameter {name}: {annotation} = {ast.unparse(node.value)}; a literal is needed, and as its type one of"
            " bool, int, float, str, Decimal, Literal, list[...], dict[str, ...], or one of them | None"
        ) from None
    parameter = Parameter(name=name, annotation=annotation, kind=kind, default=default, help=comment)
    if coerce(default, kind, parameter) != default:
        raise PolicyError(f"{where}: the default of parameter {name} is {default!r}, its type is {annotation}{_hint(default, kind)}")
    return parameter


def _kind(node: ast.expr) -> Any:
    """Type of an annotation, from the few that JSON can carry. KeyError or ValueError at any other."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name):
            return SCALARS[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right) if None in (_kind(left), _kind(right)):
            return _kind(left) | _kind(right) if _kind(left) is not None else _kind(right) | None
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_kind(item)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), item])):
            return dict[str, _kind(item)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=options):
            return Literal[ast.literal_eval(options)]
        case _:
            raise ValueError(ast.dump(node))


def coerce(value: object, kind: Any, parameter: Parameter) -> Any:
    """The value as JSON carries it. Text is parsed by the type (`false` is False), other values must already be of it."""
    origin, inner = get_origin(kind), get_args(kind)
    try:
        if origin is UnionType:
            return _optional(value, inner, parameter)
        if origin is Literal:
            return _option(value, inner)
        if origin is list:
            return [coerce(item, inner[0], parameter) for item in _items(value)]
        if origin is dict:
            return {str(key): coerce(item, inner[1], parameter) for key, item in _table(value).items()}
        return _text(value, kind) if isinstance(value, str) else _scalar(value, kind)
    except (ValueError, InvalidOperation):
        raise PolicyError(f"parameter {parameter.name} is {parameter.annotation}, got {value!r}{_hint(value, kind)}") from None


def _hint(value: object, kind: Any) -> str:
    return " (an exact decimal is written in quotes)" if kind is Decimal and isinstance(value, int | float) else ""


def _optional(value: object, inner: tuple[Any, ...], parameter: Parameter) -> Any:
    (kind,) = (item for item in inner if item is not NoneType)
    empty = value is None or (kind is not str and isinstance(value, str) and value.lower() == "none")
    return None if empty else coerce(value, kind, parameter)


def _option(value: object, options: tuple[Any, ...]) -> Any:
    for option in options:
        if (value == option and type(value) is type(option)) or (isinstance(value, str) and value == str(option)):
            return option
    raise ValueError(value)


def _items(value: object) -> list[Any]:
    if isinstance(value, str):
        return list(json.loads(value)) if value.lstrip().startswith("[") else [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple):
        return list(value)
    raise ValueError(value)


def _table(value: object) -> Mapping[Any, Any]:
    table = json.loads(value) if isinstance(value, str) else value
    if isinstance(table, Mapping) and all(isinstance(key, str) for key in table):
        return table
    raise ValueError(value)


def _text(value: str, kind: Any) -> Any:
    if kind is str:
        return value
    if kind is bool:
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ValueError(value)
    return _scalar(kind(value), kind, value)


def _scalar(value: object, kind: Any, text: str | None = None) -> Any:
    if kind is Decimal and type(value) in (int, Decimal):
        if Decimal(value).is_finite():  # type: ignore[arg-type]
            return str(value) if text is None else text.strip()
    elif kind is float and type(value) in (int, float, Decimal):
        if math.isfinite(value):  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
    elif type(value) is kind:
        return value
    raise ValueError(value)
