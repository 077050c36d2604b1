"""OpenAPI: the document that describes the API, and a page that shows it.

Paths, summaries and errors are read from the views and their docstrings, the schemas of the functions from the models
that check their arguments. No library (apiflask, spectree): each wants the views written in a way of its own.
"""

import json
import re
import shlex
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, render_template, request
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from launchpad.functions.catalog import Function
from launchpad.functions.forms import as_text
from launchpad.queue.logs import LEVELS
from launchpad.queue.manager import PER_PAGE
from launchpad.queue.states import STATES
from launchpad.web import api
from launchpad.web.api import MAX_LINES, MAX_PAGE, MAX_PER_PAGE
from launchpad.web.blueprint import OPEN_ENDPOINTS, bp
from launchpad.web.security import SAFE_METHODS
from launchpad.web.state import state

Schema = dict[str, Any]


def _object(description: str, /, **properties: Schema) -> Schema:
    """Describe an object that always has exactly these properties."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, description: str, /, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


TEXT, INTEGER, NUMBER, OBJECT = ({"type": name} for name in ("string", "integer", "number", "object"))
TIME = {"type": "string", "format": "date-time"}
LATER = TIME | {"description": "When it is to run, if not now."}
OK = {"const": "ok"}

FUNCTION = _object(
    "A function; `parameters` is a JSON Schema, `timeout` is in seconds.",
    **dict.fromkeys(("name", "title", "description"), TEXT),
    parameters=OBJECT,
    timeout=INTEGER,
    retries=INTEGER,
)
BAR = {
    **dict.fromkeys(("message", "unit"), TEXT),
    **dict.fromkeys(("done", "elapsed"), NUMBER),
    **dict.fromkeys(("total", "percent", "rate", "eta"), _or_null(NUMBER)),
}
PROGRESS = _object(
    "How far it is; `rate` is per second, `elapsed` and `eta` are in seconds.",
    **BAR,
    inner=_list(_object("A bar within it.", **BAR)),
)
STORED = _object(
    "A file, to be downloaded from `url`.", **dict.fromkeys(("name", "media_type", "url"), TEXT), size=INTEGER
)


def _result(description: str, /, **parts: Schema) -> Schema:
    """Describe one kind of result; each may have a label, and others behind it."""
    result = _object(description, **parts)
    more = _list(_ref("Result")) | {"description": "The other results, none of which has `more`."}
    label = TEXT | {"description": "Its key in the dict that was returned."}
    return result | {"properties": {**parts, "label": label, "more": more}}


RESULT = {
    "description": "What a function returned.",
    "anyOf": [
        _result("JSON.", type={"const": "json"}, value={}),
        _result("A text.", type={"const": "text"}, value=TEXT),
        _result(
            "JSON or a text above 1 MB: how it begins, and all of it.",
            type={"enum": ["json", "text"]},
            value={"type": "null"},
            preview=TEXT,
            file=STORED,
        ),
        _result(
            "A table, with all of its rows in a CSV file.",
            type={"const": "table"},
            columns=_list(TEXT),
            rows=_list(_list({})) | {"description": "The first ones; in a list of jobs, none."},
            count=INTEGER | {"description": "How many there are."},
            file=STORED,
        ),
        _result("A picture, or another file.", type={"enum": ["image", "file"]}, file=STORED),
    ],
}
FAULT = _object("Where a fault is, and what it is.", loc=_list({"type": ["string", "integer"]}), msg=TEXT)

SCHEMAS: dict[str, Schema] = {
    "Functions": _object("The functions that can be launched.", functions=_list(FUNCTION)),
    "Job": _object(
        "A queued or finished run of a function. `position` counts from 1 while it is queued; times are UTC.",
        id=TEXT,
        function=TEXT,
        arguments=OBJECT,
        state={"enum": list(STATES)},
        progress=_or_null(PROGRESS),
        position=_or_null(INTEGER),
        result=_or_null(_ref("Result")),
        error=_or_null(_object("Why it failed: one line for a person, and the traceback.", cause=TEXT, traceback=TEXT)),
        attempt=INTEGER,
        worker=_or_null(TEXT),
        queue=TEXT,
        created_at=TIME,
        starts_at=_or_null(TIME) | {"description": "While it is queued: when it will start, an estimate."},
        **dict.fromkeys(("scheduled_at", "started_at", "ended_at", "expires_at"), _or_null(TIME)),
    ),
    "Result": RESULT,
    "Listing": _object(
        "Some jobs; long texts among their arguments are cut.",
        jobs=_list(_ref("Job")),
        counts=_object("The number of all jobs in each state.", **dict.fromkeys(STATES, INTEGER)),
        **dict.fromkeys(("page", "pages", "total"), INTEGER),
        workers=_object("How many there are, and how many of them run a job.", total=INTEGER, busy=INTEGER),
    ),
    "Log": _object(
        "Lines of a log, and how to ask for the next.",
        lines=_list(_object("A line.", time=TIME, level={"enum": sorted(set(LEVELS))}, text=TEXT)),
        next=INTEGER,
        complete={"type": "boolean"},
    ),
    "Health": _object("The server serves.", server=OK),
    "Readiness": _object("Redis answers, and so many workers run.", redis=OK, workers=INTEGER),
    "Problem": {
        "type": "object",
        "description": "What went wrong, as in RFC 9457; `errors` tells which arguments are wrong, and why.",
        "properties": {"type": TEXT, "title": TEXT, "status": INTEGER, "detail": TEXT, "errors": _list(FAULT)},
        "required": ["type", "title", "status", "detail"],
    },
}

# The schema of what each view answers when all is well; of what is not JSON, the media type.
ANSWERS: dict[str, dict[int, str]] = {
    "list_functions": {200: "Functions"},
    "launch_job": {202: "Job", 200: "Job"},
    "list_jobs": {200: "Listing"},
    "get_job": {200: "Job"},
    "get_log": {200: "Log"},
    "get_file": {200: "*/*"},
    "delete_job": {204: ""},
    "stop_job": {202: "Job"},
    "retry_job": {202: "Job"},
    "health": {200: "Health"},
    "ready": {200: "Readiness"},
    "metrics": {200: "text/plain"},
}
KEY = "The same key again answers the same job, and launches no other."
PARAMETERS: dict[str, list[Schema]] = {
    "get_log": [_query("after", "How many lines were read already.", **INTEGER, minimum=0, maximum=MAX_LINES)],
    "launch_job": [{"name": "Idempotency-Key", "in": "header", "description": KEY, "schema": TEXT}],
    "list_jobs": [
        _query("id", "Only these jobs; unknown ids are left out.", **_list(TEXT), maxItems=MAX_PER_PAGE),
        _query("state", "Only jobs in this state.", enum=["", *STATES]),
        _query("function", "Only jobs of this function.", **TEXT),
        _query("q", "Only jobs whose arguments have all these words, or whose id begins with it.", **TEXT),
        _query("page", "Which page.", **INTEGER, minimum=1, maximum=MAX_PAGE, default=1),
        _query("per_page", "Jobs on a page.", **INTEGER, minimum=1, maximum=MAX_PER_PAGE, default=PER_PAGE),
    ],
}
RETRY = {"Retry-After": {"required": True, "description": "In seconds.", "schema": INTEGER}}
LOCATION = {"Location": {"required": True, "description": "The job.", "schema": TEXT}}
HEADERS = {401: {"WWW-Authenticate": {"required": True, "schema": TEXT}}, 429: RETRY, 503: RETRY}


@bp.get("/api/openapi.json")
def show_document() -> Response:
    """Answer the document."""
    return Response(json.dumps(document(current_app), indent=2), mimetype="application/json")


@bp.get("/api/docs")
def show_page() -> str:
    """Show the document to a person."""
    functions = state().functions
    return render_template(
        "launchpad/docs.html",
        api=document(current_app),
        schemas=SCHEMAS,
        functions=functions,
        shell=shell,
        form_parts=form_parts,
    )


def shell(value: Any) -> str:
    """Write a JSON value as one word of a command."""
    return shlex.quote(json.dumps(value, ensure_ascii=False))


def form_parts(function: Function, schemas: Mapping[str, Schema]) -> str:
    """Write as options of curl what a function with a file is launched with."""
    arguments, parts = schemas[function.name], [f"function={function.name}"]
    for field in (field for field in function.fields if field.name in arguments["required"]):
        example = _example(arguments["properties"][field.name], schemas)
        ending = field.attributes.get("accept", "").partition(",")[0]
        file = f"@your{ending if ending.startswith('.') else '.file'}"
        values = example if isinstance(example, list) else [example]
        parts += [f"{field.name}={file if field.kind == 'file' else as_text(value)}" for value in values]
    return " ".join(f"-F {shlex.quote(part)}" for part in parts)


def document(app: Flask) -> Schema:
    """Describe the API of this application, with its functions and its login."""
    functions: Mapping[str, Function] = app.extensions["launchpad"].functions
    login = bool(app.extensions["launchpad"].settings.login_username)
    schemas = _schemas(functions)
    paths: dict[str, Schema] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if view.__module__ == api.__name__:
            method = ((rule.methods or set()) - {"HEAD", "OPTIONS"}).pop()
            path = paths.setdefault(
                re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix(app.extensions["launchpad"].url_prefix)), {}
            )
            path[method.lower()] = _operation(rule, method, view.__doc__ or "", login)
    paths["/api/jobs"]["post"]["requestBody"] = _body(functions, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Launchpad", "version": "1"},
        **_servers(f"{request.script_root}{app.extensions['launchpad'].url_prefix}"),
        "security": [{"login": []}] if login else [],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"login": {"type": "http", "scheme": "basic"}}},
    }


def _servers(prefix: str) -> Schema:
    """Say below which path the API is, as the proxy or the app has it; without one, nothing needs to be said."""
    return {"servers": [{"url": prefix}]} if prefix else {}


def _operation(rule: Rule, method: str, docstring: str, login: bool) -> Schema:
    """Describe a view, whose docstring says what it does and ends like "Errors: 404 no such job, 413."."""
    view = rule.endpoint.removeprefix(f"{bp.name}.")
    about, _, errors = docstring.partition("Errors: ")
    about = " ".join(about.partition("\n\n")[0].split())
    reasons = {int(status): reason for status, reason in re.findall(r"(\d{3}) ?([^,.]*)", errors)}
    if login and rule.endpoint not in OPEN_ENDPOINTS:
        reasons[401] = "no login, or a wrong one"
    if method not in SAFE_METHODS:
        reasons[403] = "the request came from another site"
    ids = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in sorted(rule.arguments)]
    operation = {
        "operationId": view,
        "summary": re.split("[.:]", about)[0],
        "description": about,
        "parameters": ids + PARAMETERS.get(view, []),
        "responses": {str(status): _answer(view, status, schema) for status, schema in ANSWERS[view].items()}
        | {str(status): _problem(status, reasons[status]) for status in sorted(reasons)},
    }
    return operation | ({"security": []} if rule.endpoint in OPEN_ENDPOINTS else {})


def _answer(view: str, status: int, schema: str) -> Schema:
    answer: Schema = {"description": HTTPStatus(status).phrase}
    if schema:
        answer["content"] = {schema: {}} if "/" in schema else {"application/json": {"schema": _ref(schema)}}
    if view == "launch_job":
        answer["headers"] = LOCATION
    return answer


def _problem(status: int, reason: str) -> Schema:
    return {
        "description": reason or HTTPStatus(status).phrase,
        "headers": HEADERS.get(status, {}),
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }


def _schemas(functions: Mapping[str, Function]) -> dict[str, Schema]:
    """Collect the schemas of the API and of the arguments of each function, the latter under its name."""
    _, definitions = models_json_schema(
        [(function.model, "validation") for function in functions.values()],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Schema] = definitions.get("$defs", {})
    return schemas | SCHEMAS


def _body(functions: Mapping[str, Function], schemas: Mapping[str, Schema]) -> Schema:
    """Describe what launches each function: as JSON, and as a form that has a part for each argument."""
    bodies, forms, examples = [], [], {}
    for name, function in functions.items():
        arguments, chosen = schemas[name], {"const": name}
        properties, needed = arguments.get("properties", {}), arguments.get("required", [])
        parts = {key: _part(schema, key in needed) for key, schema in properties.items()}
        form = {"properties": {"function": chosen, "scheduled_at": LATER} | parts, "required": ["function", *needed]}
        forms.append(arguments | form)
        files = {field.name for field in function.fields if field.kind == "file"}
        if files.isdisjoint(needed):  # JSON cannot carry a file
            without = {key: schema for key, schema in properties.items() if key not in files}
            given = arguments | {"properties": without} if files else _ref(name)
            body = _object(function.description, function=chosen, arguments=given, scheduled_at=_or_null(LATER))
            bodies.append(body | {"title": name, "required": ["function", *(["arguments"] if needed else [])]})
            values = {key: _example(schema, schemas) for key, schema in without.items()}
            examples[name] = {"summary": function.title, "value": {"function": name, "arguments": values}}
    as_json = {"application/json": {"schema": {"oneOf": bodies}, "examples": examples}} if bodies else {}
    return {"required": True, "content": as_json | {"multipart/form-data": {"schema": {"oneOf": forms}}}}


def _part(schema: Schema, required: bool) -> Schema:
    """Describe an argument as a part of a form, where nothing is null, and what is empty counts as left out."""
    alone = schema.get("anyOf", [{}])[0]  # the others are null and, for a Decimal, a string
    part: Schema = {key: value for key, value in schema.items() if key != "anyOf" and value is not None} | alone
    least = {"string": "minLength", "array": "minItems"}.get(part.get("type", ""))
    least = None if part.get("format") == "binary" else least  # a file may be empty
    return {least: 1} | part if required and least else part


def _example(schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    """Think of a value; the author of a function knows better ones: `Field(examples=[...])`."""
    match schema:
        case {"examples": [value, *_]} | {"default": value} | {"enum": [value, *_]} | {"const": value}:
            return value
        case {"$ref": str(ref)}:
            return _example(schemas[ref.rpartition("/")[2]], schemas)
        case {"anyOf": [option, *_]}:
            return _example(option, schemas)
        case {"type": "array", "items": items}:
            return [_example(items, schemas)]
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
