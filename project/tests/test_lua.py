"""The Lua scripts, the loader, and the check that `make lint` makes of them."""

import os
import shutil
from pathlib import Path
from shutil import which

import pytest
from redis import Redis

import lint_lua
from launchpad.queue import scripts
from launchpad.queue.constants import QUEUE
from launchpad.queue.scripts import LuaScript
from lint_lua import GLOBALS, Check, arguments_used, head_problems, problems_in, with_luacheck, with_parser

NAMES = sorted(path.stem for path in scripts.FOLDER.glob("*.lua"))
needs_luacheck = pytest.mark.skipif(not (which("luacheck") or os.environ.get("CI")), reason="luacheck is not installed")
CHECKS = [with_parser, pytest.param(with_luacheck, marks=needs_luacheck)]

# What is wrong, and what each way of checking says of it.
MISTAKES = {
    "a syntax error": ("if then end", "expected|syntax error"),
    "a text that ends too early": ("for i = 1, 2 do", "expected|syntax error"),
    "an undeclared global": ("return queue_lenght", "undefined variable|undeclared name queue_lenght"),
    "one in a function": ("local function f() return lenght end\nf()", "undefined variable|undeclared name lenght"),
    "one in a condition": ("repeat local a = 1 until a == b", "undefined variable|undeclared name b"),
    "one as an index": ("local a = {}\nreturn a[key]", "undefined variable|undeclared name key"),
    "one of a block that has ended": ("do local a = 1; now(a) end\nreturn a", "undefined variable|undeclared name a"),
    "a library of Lua that Redis lacks": ("return io.open('x')", "undefined variable|undeclared name io"),
    "a global assignment": ("count = 1", "global"),
    "one by accident in a function": ("local function f() count = 1 end\nf()", "global"),
    "a global function": ("function count() end", "global"),
    "an overwritten global": ("redis = 1", "global"),
}

FLAWLESS = """
local object, key = {name = 1, ['other'] = now()}, 'key'
function object.first(text, ...) return text, select('#', ...) end
function object:second() return self[key] or self.name end
local function again(n) return n > 0 and again(n - 1) or object.first('text', n) end
for i = 3, 1, -1 do again(i) end
for name, value in pairs(object) do object[name] = {value} end
repeat local last = object:second() until last
while true do
    local done = pcall(function(reason) return error(reason) end, key)
    if not done then break elseif key then key = nil else return -#{...} end
end
"""


@pytest.mark.parametrize("name", NAMES)
def test_redis_takes_each_script(redis: Redis, name: str) -> None:
    redis.script_load(LuaScript(name).text)


def test_redis_has_all_that_a_script_may_use(redis: Redis) -> None:
    assert [name for name in GLOBALS if redis.eval(f"return type({name})", 0) == b"nil"] == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_no_script_has_a_problem(name: str, check: Check) -> None:
    assert problems_in(name, check) == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_in_the_line_where_it_is(mistake: str, check: Check) -> None:
    code, message = MISTAKES[mistake]
    text = LuaScript("index_job").text  # it has a library, and constants
    [(line, said)] = check(f"{text}{code}\n", True)
    assert 0 < line - text.count("\n") <= code.count("\n") + 2, "the one after the last, if the text ends too early"
    assert any(part in said for part in message.split("|")), said


def test_what_only_newer_versions_of_lua_have_is_a_mistake() -> None:
    assert with_parser("return 7 // 2", False) == [(1, "FloorDivOp is not in Lua 5.1")]


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_declared_is_no_mistake(check: Check) -> None:
    assert check(LuaScript("index").text + FLAWLESS, True) == []


@pytest.mark.parametrize("check", CHECKS)
def test_the_check_tells_file_line_and_problem(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lua"
    shutil.copytree(scripts.FOLDER, folder)
    monkeypatch.setattr(scripts, "FOLDER", folder)
    monkeypatch.setattr(lint_lua, "default_check", lambda: check)
    script = folder / "catch_up.lua"
    lines = script.read_text().splitlines()
    script.write_text("\n".join([*lines, "drop_expird()", ""]))
    scripts.read.cache_clear()
    try:
        assert lint_lua.main() == 1
    finally:
        scripts.read.cache_clear()
    problem, total = capsys.readouterr().out.splitlines()
    assert problem.startswith(f"{script}:{len(lines) + 1}: ")
    assert "drop_expird" in problem
    assert "1 problems" in total


def test_the_head_names_what_the_script_uses_and_no_more() -> None:
    head = "-- Do it.\n-- constants:  QUEUE\n-- KEYS[1]     the queue\n-- ARGV[1]     id\n-- ARGV[2..]   the rest\n"
    answer = "-- answer      nil\n\n"
    body = "f(KEYS[1], ARGV[1], QUEUE, unpack(ARGV, 2))\n"
    assert list(head_problems(head + answer + body)) == []
    assert list(head_problems(head + "\n" + body)) == ["the head does not tell the answer"]
    assert list(head_problems(head + answer + body + "f(ARGV[3])")) == ["the head does not tell of ARGV[3]"]
    assert list(head_problems(head + answer + "f(ARGV[1], QUEUE, unpack(ARGV, 2))")) == ["KEYS[1] is not used"]
    assert list(head_problems(head + answer + body.replace("QUEUE", "x"))) == ["the constant QUEUE is not used"]
    assert list(head_problems("-- Do it.\n" + answer)) == [
        "the head does not say that it has no KEYS",
        "the head does not say that it has no ARGV",
    ]


def test_each_way_to_use_an_argument_is_seen() -> None:
    assert arguments_used("f(ARGV[1], KEYS[2]) -- not ARGV[3]") == {"ARGV[1]", "KEYS[2]"}
    assert arguments_used("for i = 4, #ARGV, 2 do f(ARGV[i], #ARGV[i + 1]) end") == {"ARGV[4..]"}
    assert arguments_used("f(unpack(ARGV, 2))") == {"ARGV[2..]"}
    assert arguments_used("f(ARGV[n])") == {"ARGV[n])"}, "what cannot be followed is never in the head"
    assert arguments_used("f(unpack(ARGV))") == {"ARGV))"}


def test_a_script_has_the_constants_of_python(redis: Redis) -> None:
    text = LuaScript("start_job").text
    first = text.partition("\n")[0]
    names = first.removeprefix("local ").partition(" =")[0].split(", ")
    assert set(names) == {"CHANGES", "ENDED", "LOG_PREFIX", "MAX_ATTEMPTS", "PREFIX", "QUEUE"}
    for name in names:
        value = redis.eval(f"{first}\nreturn {name}", 0)
        expected = scripts.CONSTANTS[name]
        assert value == (
            [item.encode() for item in expected] if isinstance(expected, tuple) else expected_bytes(expected)
        )
    assert redis.eval(f"{first}\nreturn QUEUE", 0) == QUEUE.encode()


def expected_bytes(value: str | int) -> bytes | int:
    return value.encode() if isinstance(value, str) else value


def test_a_script_is_sent_once_and_whole_where_redis_does_not_know_it_or_in_a_transaction(redis: Redis) -> None:
    save_meta = LuaScript("save_meta")
    redis.hset("rq:job:one", "status", "queued")
    redis.script_flush()
    redis.config_resetstat()
    for text in ("1", "2"):
        save_meta(redis, args=["rq:job:one", text])
    with redis.pipeline() as pipe:
        pipe.hset("rq:job:one", "status", "started")
        save_meta(pipe, args=["rq:job:one", "3"])
        pipe.execute()
    assert redis.hgetall("rq:job:one") == {b"status": b"started", b"meta": b"3"}
    calls = {name: stats["calls"] for name, stats in redis.info("commandstats").items()}
    assert calls["cmdstat_script|load"] == 1
    assert calls["cmdstat_evalsha"] == 3, "unknown, loaded, known"
    assert calls["cmdstat_eval"] == 1
