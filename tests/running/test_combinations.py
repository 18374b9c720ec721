"""Projects of other answers than those that all other tests run, and two at the same time."""

from pathlib import Path

import httpx
import pytest

from tests.bake import covering
from tests.environment import environment
from tests.running.load import nothing_lost, session_at, usual_requests
from tests.running.processes import Stack, processes_in
from tests.running.projects import Project, require
from tests.running.websockets import Crowd

pytestmark = pytest.mark.full


# What checks each change runs nowhere here: tests/rendered/test_checks.py shows that. For single
# sign-on test_single_sign_on.py has a stack of its own.
@pytest.mark.parametrize(
    "answers",
    covering(leaving_out=("ci", "sign_in")),
    ids=lambda answers: "-".join(answers.values()),
)
def test_each_pair_of_choices_works(
    answers: dict[str, str], workshop: Path, request: pytest.FixtureRequest
) -> None:
    """The stack serves pages, files, metrics and a user, through a roll, and stops."""
    require(answers["load_balancer"])
    folder = workshop / "-".join(answers.values())
    project = Project.render(folder, process_count="2", **answers)
    if answers["database"] == "postgresql":
        url = request.getfixturevalue("postgresql").new_url()
        with (project.folder / ".env").open("a") as env:
            env.write(f"DATABASE_URL={url}\n")
    project.set_up(packages=environment(project.folder).parent)
    with Stack(project) as stack:
        session = session_at(stack)
        assert httpx.get(f"{stack.url}/static/style.css", trust_env=False).status_code == 200
        before = stack.worker_pids()
        with (
            Crowd(stack.url, session, 1) as crowd,
            nothing_lost(stack.url, usual_requests(session), rate=50),
        ):
            stack.wait_until(lambda: crowd.messages >= 2, "the live figures come")
            project.must("make", "roll")
            stack.wait_until(lambda: crowd.connected, "the browser is back")
        assert not set(before.values()) & set(stack.worker_pids().values())
        stack.stop()
    assert not processes_in(project.folder)


def test_two_services_share_a_machine(default_project: Project, workshop: Path) -> None:
    """One browser is signed in to both; what happens to one does not affect the other."""
    with Stack(default_project) as one:
        # Now, because the ports that it takes are free and not those of the first.
        neighbour = Project.render(workshop / "neighbour", project_slug="neighbour")
        neighbour.set_up(packages=default_project.folder / ".venv")
        with Stack(neighbour) as other:
            cookies = one.sign_in(*one.add_user("ada"))
            cookies = other.sign_in(*other.add_user("bob"), cookies)
            pids = one.worker_pids()
            with httpx.Client(cookies=cookies, trust_env=False) as browser:
                names = [browser.get(f"{stack.url}/api/me").json() for stack in (one, other)]
                assert names == [{"name": "ada"}, {"name": "bob"}]
                token = {"_xsrf": cookies[neighbour.xsrf_cookie]}
                assert browser.post(f"{other.url}/logout", data=token).status_code == 303
                assert browser.get(f"{other.url}/api/me").status_code == 401
                with nothing_lost(one.url, usual_requests(session_at(one)), rate=50):
                    neighbour.must("make", "roll")
                    other.stop()
                assert not processes_in(neighbour.folder)
                assert browser.get(f"{one.url}/api/me").json() == {"name": "ada"}
                assert one.worker_pids() == pids
