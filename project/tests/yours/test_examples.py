"""The examples that are a few lines: a function is called as any other, without Redis and without Flask."""

import pytest

import jobs


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_who_waits_is_told_how_long_it_was() -> None:
    assert jobs.wait(2) == 2


def test_words_are_counted() -> None:
    assert jobs.count_words("One two,\ntwo!") == {"two": 2, "one": 1}


def test_it_fails_by_chance() -> None:
    assert jobs.flaky(0.0) == "It went well."
    with pytest.raises(ConnectionError, match="Bad luck"):
        jobs.flaky(1.0)
