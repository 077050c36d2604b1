"""The part of the OpenAPI document that says how functions are launched: each as JSON, and as a form."""

from collections.abc import Iterable, Mapping
from typing import Any

from launchpad.functions.catalog import Function

Schema = dict[str, Any]
LATER = {"type": "string", "format": "date-time", "description": "When it is to run, if not now."}


def resolve(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    """Follow a reference to a named schema."""
    return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def launch_body(functions: Iterable[Function], refs: Mapping[str, Schema], schemas: Mapping[str, Schema]) -> Schema:
    """Describe what launches each function.

    Args:
        functions: all of them.
        refs: for each function's name, where the schema of its arguments is.
        schemas: the named schemas of the document.
    """
    bodies, forms, examples = [], [], {}
    for function in functions:
        arguments = resolve(refs[function.name], schemas)
        forms.append(_form(function, arguments))
        if (given := _without_files(function, arguments)) is not None:
            bodies.append(_json_body(function, given, refs[function.name]))
            values = {name: example(schema, schemas) for name, schema in given.get("properties", {}).items()}
            value = {"function": function.name, "arguments": values}
            examples[function.name] = {"summary": function.title, "value": value}
    as_json = {"application/json": {"schema": {"oneOf": bodies}, "examples": examples}} if bodies else {}
    return {"required": True, "content": as_json | {"multipart/form-data": {"schema": {"oneOf": forms}}}}


def _without_files(function: Function, arguments: Schema) -> Schema | None:
    """Leave out the files, which JSON cannot carry; return None where a file must be given."""
    files = {field.name for field in function.fields if field.kind == "file"}
    if not files:
        return arguments
    properties = {name: schema for name, schema in arguments["properties"].items() if name not in files}
    return arguments | {"properties": properties} if files.isdisjoint(arguments.get("required", [])) else None


def _json_body(function: Function, given: Schema, ref: Schema) -> Schema:
    takes_files = any(field.kind == "file" for field in function.fields)
    return {
        "type": "object",
        "title": function.name,
        "description": function.description,
        "properties": {
            "function": {"const": function.name},
            "arguments": given if takes_files else ref,
            "scheduled_at": {"anyOf": [LATER, {"type": "null"}]},
        },
        "required": ["function", "arguments"] if given.get("required") else ["function"],
        "additionalProperties": False,
    }


def _form(function: Function, arguments: Schema) -> Schema:
    required = arguments.get("required", [])
    parts = {name: _part(schema, name in required) for name, schema in arguments.get("properties", {}).items()}
    return arguments | {
        "properties": {"function": {"const": function.name}, "scheduled_at": LATER} | parts,
        "required": ["function", *required],
    }


def _part(schema: Schema, required: bool) -> Schema:
    """Describe an argument as a part of a form, where nothing is null, and what is empty counts as left out."""
    alone = schema.get("anyOf", [{}])[0]  # the others are null and, for a Decimal, a string
    part: Schema = {key: value for key, value in schema.items() if key != "anyOf" and value is not None} | alone
    least = {"string": "minLength", "array": "minItems"}.get(part.get("type", ""))
    least = None if part.get("format") == "binary" else least  # a file may be empty
    return {least: 1} | part if required and least else part


def example(schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    """Think of a value; the author of a function knows better ones: `Field(examples=[...])`."""
    match schema:
        case {"examples": [value, *_]} | {"default": value} | {"enum": [value, *_]} | {"const": value}:
            return value
        case {"$ref": _}:
            return example(resolve(schema, schemas), schemas)
        case {"anyOf": [option, *_]}:
            return example(option, schemas)
        case {"type": "array", "items": items}:
            return [example(items, schemas)]
        case {"minimum": limit} | {"maximum": limit}:
            return limit
        case {"exclusiveMinimum": limit}:
            return limit + 1
        case {"type": "integer" | "number"}:
            return 0
        case {"type": "boolean"}:
            return True
        case {"format": "date"}:
            return "2026-12-31"
        case {"format": "date-time"}:
            return "2026-12-31T12:00:00Z"
    return "some text"
