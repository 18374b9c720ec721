"""The cookie secret is rotated on a running stack, and every user stays signed in."""

import re

import httpx
import pytest

from tests.running.load import Request, nothing_lost
from tests.running.processes import Stack

pytestmark = pytest.mark.full


def test_a_rotation_under_rolls_signs_no_user_out(stack: Stack) -> None:
    """After three steps, each with a roll under load, users are signed in; the old secret fails."""
    cookies = stack.sign_in(*stack.add_user())
    name = stack.project.session_cookie
    old = f"{name}={cookies[name]}"
    rotate = (stack.project.program(stack.project.slug), "secret", "rotate")
    secret = secrets_of(stack)
    with stack.client(cookies=cookies) as browser:
        for step, options in enumerate([(), (), ("--drop-now",)], 1):
            said = stack.project.must(*rotate, *options)
            assert f"Step {step} of 3" in said
            # Until the last step the old cookie counts too, in the middle of a roll as well.
            requests = [Request("GET", "/", 200)]
            if step < 3:
                requests.append(Request("GET", "/api/me", 200, cookies=old))
            with nothing_lost(stack.url, requests, rate=50):
                stack.project.must("make", "roll")
            for _ in stack.worker_ports:
                assert browser.get("/account").status_code == 200, said
                assert browser.get("/api/me").status_code == 200, said
    assert not set(secret) & set(secrets_of(stack))
    for url in [stack.url, *stack.worker_urls]:
        answer = httpx.get(f"{url}/api/me", headers={"Cookie": old}, trust_env=False)
        assert answer.status_code == 401, url


def secrets_of(stack: Stack) -> list[str]:
    """The cookie secrets that the stack's settings hold."""
    (line,) = re.findall(
        "^COOKIE_SECRET=(.+)$", (stack.project.folder / ".env").read_text(), re.MULTILINE
    )
    return [entry.partition(":")[2] for entry in line.split(",")]
