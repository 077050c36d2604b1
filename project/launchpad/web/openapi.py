"""OpenAPI: the document that describes the API, and a page that shows it.

Paths, summaries and errors are read from the views and their docstrings; what they answer, from the models that they
answer; the arguments of each function, from the model that checks them. No library (apiflask, spectree): each wants
the views written in a way of its own.
"""

import json
import re
import shlex
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from flask import Flask, Response, current_app, render_template, request
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from pydantic_core import core_schema
from werkzeug.routing import Rule

from launchpad.functions.catalog import Function
from launchpad.functions.forms import as_text
from launchpad.queue.manager import PER_PAGE
from launchpad.queue.schemas import Job, Listing, Log
from launchpad.queue.states import STATES
from launchpad.web import api
from launchpad.web.api import MAX_LINES, MAX_PAGE, MAX_PER_PAGE
from launchpad.web.blueprint import OPEN_ENDPOINTS, bp
from launchpad.web.openapi_launch import Schema, example, launch_body, resolve
from launchpad.web.schemas import Functions, Health, Problem, Readiness
from launchpad.web.security import SAFE_METHODS
from launchpad.web.state import state

TEXT, INTEGER = {"type": "string"}, {"type": "integer"}
BYTES = {"schema": {"type": "string", "format": "binary"}}

# What each view answers when all is well: a model, or what is not JSON as OpenAPI describes it, or nothing.
ANSWERS: dict[str, dict[int, type[BaseModel] | Schema]] = {
    "list_functions": {200: Functions},
    "launch_job": {202: Job, 200: Job},
    "list_jobs": {200: Listing},
    "get_job": {200: Job},
    "get_log": {200: Log},
    # Programs that write clients know the first of these; a file is of any type.
    "get_file": {200: {"application/octet-stream": BYTES, "*/*": {}}},
    "delete_job": {204: {}},
    "stop_job": {202: Job},
    "retry_job": {202: Job},
    "health": {200: Health},
    "ready": {200: Readiness},
    "metrics": {200: {"text/plain": {"schema": TEXT}}},
}


def _query(name: str, description: str, /, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


KEY = "The same key again answers the same job, and launches no other."
PARAMETERS: dict[str, list[Schema]] = {
    "get_log": [_query("after", "How many lines were read already.", **INTEGER, minimum=0, maximum=MAX_LINES)],
    "launch_job": [{"name": "Idempotency-Key", "in": "header", "description": KEY, "schema": TEXT}],
    "list_jobs": [
        _query("id", "Only these jobs; unknown ids are left out.", type="array", items=TEXT, maxItems=MAX_PER_PAGE),
        _query("state", "Only jobs in this state.", **TEXT, enum=["", *STATES]),
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
    functions, found = state().functions, _schemas(state().functions)
    return render_template(
        "launchpad/docs.html",
        api=document(current_app),
        functions=functions,
        arguments={name: resolve(ref, found.named) for name, ref in found.arguments.items()},
        answers=found.answers,
        shell=shell,
        form_parts=form_parts,
    )


def shell(value: Any) -> str:
    """Write a JSON value as one word of a command."""
    return shlex.quote(json.dumps(value, ensure_ascii=False))


def form_parts(function: Function, arguments: Schema, schemas: Mapping[str, Schema]) -> str:
    """Write as options of curl what a function with a file is launched with."""
    parts = [f"function={function.name}"]
    for field in (field for field in function.fields if field.name in arguments["required"]):
        value = example(arguments["properties"][field.name], schemas)
        ending = field.attributes.get("accept", "").partition(",")[0]
        file = f"@your{ending if ending.startswith('.') else '.file'}"
        values = value if isinstance(value, list) else [value]
        parts += [f"{field.name}={file if field.kind == 'file' else as_text(value)}" for value in values]
    return " ".join(f"-F {shlex.quote(part)}" for part in parts)


def document(app: Flask) -> Schema:
    """Describe the API of this application, with its functions and its login, at the address of this request."""
    launchpad = app.extensions["launchpad"]
    login = bool(launchpad.settings.login_username)
    schemas = _schemas(launchpad.functions)
    paths: dict[str, Schema] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if view.__module__ == api.__name__ and rule.endpoint.startswith(f"{bp.name}."):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix(launchpad.url_prefix))
            method = ((rule.methods or set()) - {"HEAD", "OPTIONS"}).pop()
            paths.setdefault(path, {})[method.lower()] = _operation(rule, method, view.__doc__ or "", login, schemas)
    paths["/api/jobs"]["post"]["requestBody"] = launch_body(
        launchpad.functions.values(), schemas.arguments, schemas.named
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": launchpad.settings.title, "version": "1"},
        "servers": [{"url": f"{request.script_root}{launchpad.url_prefix}" or "/"}],
        "security": [{"login": []}] if login else [],
        "paths": paths,
        "components": {"schemas": schemas.named, "securitySchemes": {"login": {"type": "http", "scheme": "basic"}}},
    }


def _operation(rule: Rule, method: str, docstring: str, login: bool, schemas: "Schemas") -> Schema:
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
        "responses": {str(status): _answer(view, status, kind, schemas) for status, kind in ANSWERS[view].items()}
        | {str(status): _problem(status, reasons[status], schemas) for status in sorted(reasons)},
    }
    return operation | ({"security": []} if rule.endpoint in OPEN_ENDPOINTS else {})


def _answer(view: str, status: int, kind: type[BaseModel] | Schema, schemas: "Schemas") -> Schema:
    answer: Schema = {"description": HTTPStatus(status).phrase}
    if content := kind if isinstance(kind, dict) else {"application/json": {"schema": schemas.of_models[kind]}}:
        answer["content"] = content
    if view == "launch_job":
        answer["headers"] = LOCATION
    return answer


def _problem(status: int, reason: str, schemas: "Schemas") -> Schema:
    return {
        "description": reason or HTTPStatus(status).phrase,
        "headers": HEADERS.get(status, {}),
        "content": {"application/problem+json": {"schema": schemas.of_models[Problem]}},
    }


class Schemas(NamedTuple):
    """The named schemas of the document, and where in it what is."""

    named: dict[str, Schema]
    arguments: dict[str, Schema]  # for each function, a reference
    of_models: dict[type[BaseModel], Schema]  # references
    answers: dict[str, Schema]  # those of the named ones that describe what is answered


class SchemaGenerator(GenerateJsonSchema):
    """Describes what is answered without titles, which would say the names once more, and without defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Tell whether a field is to have its name as a title, as the parameters of a function have it."""
        return self.mode == "validation" and super().field_title_should_be_set(schema)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        """Describe a field that has a default."""
        return super().default_schema(schema) if self.mode == "validation" else self.generate_inner(schema["schema"])


def _schemas(functions: Mapping[str, Function]) -> Schemas:
    """Make the schemas of the arguments of each function, and of all models that are answered.

    A class of an author that has the name of one of ours is told from it by the name of its module.
    """
    kinds = (kind for answers in ANSWERS.values() for kind in answers.values())
    models = {Problem: None} | {kind: None for kind in kinds if isinstance(kind, type)}
    pairs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (function.model, "validation") for function in functions.values()
    ]
    pairs += [(model, "serialization") for model in models]
    refs, definitions = models_json_schema(
        pairs, ref_template="#/components/schemas/{model}", schema_generator=SchemaGenerator
    )
    named: dict[str, Schema] = definitions.get("$defs", {})
    of_models = {model: refs[model, "serialization"] for model in models}
    return Schemas(
        named=named,
        arguments={name: refs[function.model, "validation"] for name, function in functions.items()},
        of_models=of_models,
        answers={name: named[name] for name in sorted(_reachable([*of_models.values()], named))},
    )


def _reachable(schema: Any, named: Mapping[str, Schema], found: frozenset[str] = frozenset()) -> frozenset[str]:
    """Collect the names of the schemas that a schema refers to, and those that these refer to."""
    if isinstance(schema, dict) and "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return found if name in found else _reachable(named[name], named, found | {name})
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        found = _reachable(part, named, found)
    return found
