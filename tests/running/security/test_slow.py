"""Clients that hold connections by being slow, as the program slowhttptest does it."""

import subprocess

import pytest

from tests.running.load import nothing_lost, session_at, usual_requests
from tests.running.processes import Stack
from tests.running.projects import require
from tests.running.wire import unharmed

pytestmark = pytest.mark.full

# Longer than the balancer waits for a header or a piece of a body.
SECONDS = "20"
ATTACKS = {
    "headers that never end": "-H -i 3 -u {url}/",
    "bodies that never end": "-B -i 3 -s 8192 -t POST -u {url}/account",
    "answers that are hardly read": "-X -n 3 -z 8 -w 10 -y 20 -k 3 -u {url}/static/style.css",
}


def test_slow_clients_do_not_delay_others(stack: Stack) -> None:
    """With all three attacks at once, hundreds of each, other clients are served as usual."""
    connections = f"{stack.project.most_in_flight + 100}"
    command = [require("slowhttptest"), "-c", connections, "-r", "100", "-l", SECONDS]
    requests = usual_requests(session_at(stack))
    with unharmed(stack), nothing_lost(stack.url, requests, rate=50):
        attacks = {
            name: subprocess.Popen(
                [*command, *options.format(url=stack.url).split()], stdout=subprocess.PIPE
            )
            for name, options in ATTACKS.items()
        }
        for name, attack in attacks.items():
            said, _ = attack.communicate(timeout=60)
            assert attack.returncode == 0, (name, said)
