"""Forms: which input a parameter gets, from the JSON Schema of its type, and what the strings of a form mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

LONG_TEXT = 200  # from this length on, a text gets a box of several lines


class NoForm(TypeError):
    """There is no input for values of this type."""


@dataclass(frozen=True)
class Field:
    """One parameter as an input of a form.

    `kind` is number, text, textarea, checkbox, date, datetime-local, file, select, choices (several of a few) or lines
    (several, one per line); `default` is what the input shows at first, several values on a line each.
    """

    name: str
    label: str
    help: str
    kind: str
    required: bool
    nullable: bool
    default: str
    attributes: dict[str, Any]
    choices: tuple[Any, ...]

    def read(self, given: list[Any]) -> Any:
        """Tell which JSON value the strings of this input mean; None for an empty input."""
        if files := [item for item in given if not isinstance(item, str)]:
            return files if self.attributes.get("multiple") else files[-1]
        match self.kind:
            case "lines":
                return [line for line in "\n".join(given).splitlines() if line.strip()]
            case "choices":
                return [self._choice(text) for text in given if text]
            case "select":
                return self._choice(given[-1]) if given[-1] else None
        # A browser sends a checkbox that is off as nothing, so the page sends "false" before each; the last one counts.
        return given[-1].replace("\r\n", "\n") or None

    def _choice(self, text: str) -> Any:
        return next((choice for choice in self.choices if as_text(choice) == text), text)


def field_of(name: str, schema: Mapping[str, Any], required: bool, default: Any) -> Field:
    """Choose the input of a parameter from its JSON Schema.

    Raises:
        NoForm: there is none.
    """
    definitions = schema.get("$defs", {})
    inner, nullable = _without_null(schema)
    kind, attributes, choices = _input(inner, definitions)
    if kind == "checkbox" and nullable:
        kind, choices = "select", (True, False)
    if kind == "file" and "accept" in schema:
        attributes["accept"] = schema["accept"]
    return Field(
        name=name,
        label=name.replace("_", " ").capitalize(),
        help=schema.get("description", ""),
        kind=kind,
        required=required and not nullable and kind != "checkbox",
        nullable=nullable,
        default="\n".join(map(as_text, default)) if isinstance(default, list) else as_text(default),
        attributes=attributes,
        choices=choices,
    )


def read(fields: list[Field], form: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Turn a form into arguments; what is not in the form, or was left empty, takes its default."""
    names = {field.name for field in fields}
    arguments: dict[str, Any] = {name: given[-1] for name, given in form.items() if name not in names}
    for field in fields:
        if given := form.get(field.name):
            value = field.read(given)
            if value is None and not field.nullable and not field.required and field.kind in ("text", "textarea"):
                value = ""  # somebody cleared it
            if value is not None or field.nullable:
                arguments[field.name] = value
    return arguments


def as_text(value: Any) -> str:
    """Write a JSON value as an input shows it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_null(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Tell the schema of X and whether None is allowed too, for X and for X | None."""
    options = schema.get("anyOf", [schema])
    inner = [option for option in options if option.get("type") != "null"]
    # This is how pydantic describes a Decimal; any other union has no form.
    if [option.get("type") for option in inner] == ["number", "string"]:
        inner.pop()
    if len(inner) != 1:
        raise NoForm
    return inner[0], {"type": "null"} in options


def _input(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, dict[str, Any], tuple[Any, ...]]:
    """Choose the kind of the input, its HTML attributes, and its choices."""
    schema = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
    if "enum" in schema or "const" in schema:
        return "select", {}, tuple(schema.get("enum", [schema.get("const")]))
    match schema:
        case {"type": "integer"}:
            return "number", {"step": schema.get("multipleOf", 1)} | _limits(schema, 1), ()
        case {"type": "number"}:
            return "number", {"step": schema.get("multipleOf", "any")} | _limits(schema, 0), ()
        case {"type": "boolean"}:
            return "checkbox", {}, ()
        case {"type": "string", "format": "date"}:
            return "date", {}, ()
        case {"type": "string", "format": "date-time"}:
            return "datetime-local", {"step": 1}, ()
        case {"type": "string", "contentMediaType": _}:  # bytes have the format, too, but no form
            return "file", {"accept": schema["accept"]} if "accept" in schema else {}, ()
        case {"type": "string"} if "format" not in schema:
            lengths = {"minlength": schema.get("minLength"), "maxlength": schema.get("maxLength")}
            kind = "textarea" if (lengths["maxlength"] or LONG_TEXT) >= LONG_TEXT else "text"
            return kind, {key: value for key, value in lengths.items() if value is not None}, ()
        case {"type": "array", "items": dict(items)}:
            inner, _ = _without_null(items)
            kind, attributes, choices = _input(inner, definitions)
            if kind == "file":
                return "file", attributes | {"multiple": True}, ()
            if kind not in ("lines", "choices"):  # a list of lists has no form
                return ("choices" if choices else "lines"), {}, choices
    raise NoForm


def _limits(schema: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Tell min and max; `step` is what an excluded limit is moved by."""
    limits = {
        "min": schema.get("minimum", schema.get("exclusiveMinimum", None)),
        "max": schema.get("maximum", schema.get("exclusiveMaximum", None)),
    }
    if "exclusiveMinimum" in schema:
        limits["min"] += step
    if "exclusiveMaximum" in schema:
        limits["max"] -= step
    return {key: value for key, value in limits.items() if value is not None}


def type_name(annotation: Any) -> str:
    """Write a type as its author did."""
    annotation = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
