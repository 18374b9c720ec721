"""Which processes supervisord's watchdog ends; tests/running has it on a server's supervisord."""

import runpy
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PID, PATIENCE = 7, 3


@pytest.fixture
def program(bake: Callable[..., Path]) -> dict[str, Any]:
    """The names of the program; it waits for an answer no longer than a moment."""
    project = bake(process_manager="supervisord")
    names = runpy.run_path(str(project / "deploy/supervisor/watchdog"))
    names["look"].__globals__["ANSWER_SECONDS"] = 0.05
    return names


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which a program listens that takes no connection, as one that is stuck."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def ends(
    program: dict[str, Any], port: int, known: dict[int, int], *, age: int = 10, **state: str
) -> list[str]:
    """The signals that a process gets in five ticks, if it does not end from them."""
    sent: list[str] = []
    process = {"name": f"my-service-{port}", "group": "my-service", "statename": "RUNNING"}
    process |= {"pid": PID, "start": 1000, "now": 1000 + age} | state
    supervisor = SimpleNamespace(
        getAllProcessInfo=lambda: [process],
        signalProcess=lambda name, signal: sent.append(f"{name} {signal}"),
    )
    for _ in range(PATIENCE + 2):
        known = program["look"](supervisor, known, PATIENCE)
    return sent


def test_a_silent_process_is_ended(program: dict[str, Any], silent_port: int) -> None:
    """What has answered once and then does not gets SIGABRT after the time, then SIGKILL."""
    name = f"my-service:my-service-{silent_port}"
    assert ends(program, silent_port, {PID: 0}) == [
        f"{name} {word}" for word in ("ABRT", "KILL", "KILL")
    ]


def test_a_process_that_starts_is_left_alone(program: dict[str, Any], silent_port: int) -> None:
    """What has never answered has longer; then it is stuck too."""
    assert not ends(program, silent_port, {})
    assert ends(program, silent_port, {}, age=1000)


def test_a_process_that_refuses_is_left_alone(program: dict[str, Any], silent_port: int) -> None:
    """One that drains, or has not begun to listen, refuses; one that stops is supervisord's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert not ends(program, closed, {PID: PATIENCE - 1}, age=1000)
    assert not ends(program, silent_port, {PID: 0}, statename="STOPPING")
    assert not ends(program, silent_port, {PID: 0}, group="another")
