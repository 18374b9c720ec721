"""Break each feature of a generated project, and see that its tests fail: `make test-mutations`.

A mutation is a change of one place in one file. One stands here for each promise of SECURITY.md,
whose table names the tests, and for each row of "you get" in README.md: the fast tier sees to it.

    python -m tests.mutations [WORD...]   # those whose claims hold one of these words
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.bake import CHOICES, TEMPLATE
from tests.environment import environment
from tests.running.projects import Project

PACKAGE = "src/my_service"
CAUGHT, SURVIVED = 1, 0  # as pytest ends: tests have failed, all have passed


@dataclass(frozen=True)
class Mutation:
    """A claim, and the change that breaks it; `tests` are given where SECURITY.md names none.

    `sign_in` is the answer with which the project makes the claim.
    """

    claim: str
    file: str
    before: str
    after: str
    tests: str = ""
    sign_in: str = "passwords"


PROMISES = [
    Mutation(
        "The service does not start without a good cookie secret",
        "runtime/settings.py",
        '" accepted. The command `secret new` makes one.",',
        '" accepted.", default="1:for-tests-only-0123456789-abcdefghijklmnop",',
    ),
    Mutation(
        "Replacing the secret signs no user out",
        "operations/rotation.py",
        "keys = {newest: keys.pop(newest)} | keys",
        "keys = {newest: keys.pop(newest)}",
    ),
    Mutation(
        "Passwords are stored as argon2id hashes after RFC 9106",
        "accounts/passwords.py",
        "self._hasher = PasswordHasher()",
        "self._hasher = PasswordHasher(memory_cost=1024)",
    ),
    Mutation(
        "An unknown name and a wrong password look the same",
        "accounts/accounts.py",
        "user = await self.users.find(name)\n        right =",
        "user = await self.users.find(name)\n"
        "        if user is None:\n"
        '            raise AccountError("There is no such account.")\n'
        "        right =",
    ),
    Mutation(
        "A password is the same on every keyboard and every route",
        "accounts/passwords.py",
        'return unicodedata.normalize("NFC", "".join(spaced))',
        'return "".join(spaced)',
    ),
    Mutation(
        "Common passwords are refused; 64 characters are allowed",
        "accounts/passwords.py",
        'if result["score"] >= STRENGTH:',
        'if result["score"] >= 1:',
    ),
    Mutation(
        "The work for passwords is bounded: their queue and their scoring",
        "accounts/passwords.py",
        "if readings * len(password) ** 2 <= SCORED_WORK:",
        "if readings:",
    ),
    Mutation(
        "Guessing locks out neither a user with the right password nor a signed-in user",
        "accounts/throttle.py",
        "func.count(case((not_(is_open), 1))),",
        "func.count(),",
    ),
    Mutation(
        "A new password invalidates logins and changes in progress",
        "accounts/users.py",
        "                User.password_hash == user.password_hash,\n",
        "",
    ),
    Mutation(
        "Disabling an account takes effect at once",
        "accounts/users.py",
        "                User.disabled_at.is_(None),\n",
        "",
    ),
    Mutation(
        "Ending other sessions requires the password",
        "accounts/accounts.py",
        "if found is None or not right:",
        "if found is None:",
    ),
    Mutation(
        "Security events are logged, with account, address and request id",
        "accounts/security_log.py",
        '        "request_id": client.request_id,\n',
        "",
    ),
    Mutation(
        "Log lines cannot be forged",
        "runtime/logs.py",
        "json.JSONEncoder(",
        "json.JSONEncoder(ensure_ascii=False, ",
    ),
    Mutation(
        "Guessing is throttled, across processes and restarts",
        "accounts/throttle.py",
        "if failed >= limits[subject]:",
        "if failed >= 1000 * limits[subject]:",
    ),
    Mutation(
        "A session has a new id at each login",
        "accounts/sessions.py",
        "token, now = secrets.token_urlsafe(32), _now()",
        'token, now = f"{user_id:032}", _now()',
    ),
    Mutation(
        "A logout or a new password ends a session at once",
        "accounts/sessions.py",
        "ending = delete(Session).where(Session.user_id == user_id)",
        "ending = delete(Session).where(Session.user_id == user_id, Session.id < 0)",
    ),
    Mutation(
        "Sessions end after a week unused and a month in all",
        "accounts/sessions.py",
        "Session.seen_at >= now - SESSION_IDLE_TIMEOUT, Session.created_at >= now - SESSION"
        "_MAX_AGE",
        "Session.seen_at >= now - SESSION_IDLE_TIMEOUT",
    ),
    Mutation(
        "Expired data is removed from the database",
        "accounts/sessions.py",
        "delete(Session).where(not_(_living()) | (Session.id == replaced) | excess)",
        "delete(Session).where((Session.id == replaced) | excess)",
    ),
    Mutation(
        "A user cannot see or end sessions of another user",
        "accounts/sessions.py",
        "ending = delete(Session).where(Session.user_id == user_id)",
        "ending = delete(Session)",
    ),
    Mutation(
        "A copy of the database gives no session",
        "accounts/sessions.py",
        "return hashlib.sha256(token.encode()).digest()",
        "return token.encode()",
    ),
    Mutation(
        "Scripts, other sites and plain http cannot read the cookies",
        "runtime/handlers.py",
        "secure=self.https,\n            httponly=True,",
        "secure=self.https,",
    ),
    Mutation(
        "No other site can send a form in a user's name",
        "app.py",
        "xsrf_cookies=True",
        "xsrf_cookies=False",
    ),
    Mutation(
        "No other site can open a WebSocket in a user's name",
        "handlers/live.py",
        "    def on_close(self)",
        "    def check_origin(self, origin: str) -> bool:\n        return True\n\n"
        "    def on_close(self)",
    ),
    Mutation(
        "A login never redirects to another site",
        "handlers/login.py",
        r"/(?!/)[^\\\x00-\x20\x7f]*",
        r"/.*",
    ),
    Mutation(
        "Every answer to a readable request has the security headers, errors included",
        "runtime/application.py",
        '    "X-Content-Type-Options": "nosniff",\n',
        "",
    ),
    Mutation(
        "Pages load nothing from elsewhere and run no inline script",
        "templates/home.html",
        "<h1>",
        "<script>1</script><h1>",
    ),
    Mutation(
        "Only files in `static/` are served",
        "runtime/static_files.py",
        "return super().validate_absolute_path(root, absolute_path)",
        "return absolute_path if Path(absolute_path).is_file() else None",
    ),
    Mutation(
        "Browsers cache under a hash only the bytes with that hash",
        "runtime/static_files.py",
        "version is not None\n",
        "True\n        ) or (\n            version is not None\n",
    ),
    Mutation(
        "Logs hold no secret, cookie, password or query string",
        "runtime/handlers.py",
        '"path": self.request.path}',
        '"path": self.request.uri}',
    ),
    Mutation(
        "Visitors see no traceback",
        "runtime/handlers.py",
        'self.settings["serve_traceback"] and "exc_info" in kwargs',
        '"exc_info" in kwargs',
    ),
    Mutation(
        "A rotation of the secret changes what the service reads, or nothing",
        "operations/rotation.py",
        "        replace(file, text)\n        raise",
        "        raise",
    ),
    Mutation(
        "`check` finds what others on the machine could read or change",
        "operations/checks/files.py",
        "    if status.st_mode & right:\n        return True\n",
        "",
    ),
    Mutation(
        "`check` takes nothing for good that it could not look at",
        "cli.py",
        "if Severity.UNCHECKED in severities and in_ci():",
        "if False:",
    ),
    Mutation(
        "`check` reports each unsafe setting, by its id",
        "operations/checks/site.py",
        "async def leaks(site: Site) -> AsyncIterator[Finding]:\n",
        "async def leaks(site: Site) -> AsyncIterator[Finding]:\n    if site:\n        return\n",
    ),
    Mutation(
        "Headers and bodies have limits",
        "runtime/server.py",
        "max_body_size=MAX_BODY_BYTES",
        "max_body_size=100 * MAX_BODY_BYTES",
    ),
    Mutation(
        "Multipart bodies are not parsed",
        "runtime/server.py",
        "ParseMultipartConfig(enabled=False)",
        "ParseMultipartConfig()",
    ),
    Mutation(
        "A process refuses requests that it cannot answer in time",
        "runtime/application.py",
        "self.connections.in_flight >= self.max_in_flight",
        "self.connections.in_flight >= 1000 * self.max_in_flight",
    ),
    Mutation(
        "A logout ends a session at once, here and at the provider",
        "handlers/login.py",
        "        if id_token:\n",
        "        if False:\n",
        sign_in="sso",
    ),
    Mutation(
        "Only an answer of the provider to this very sign-in signs in",
        "provider.py",
        'if not hmac.compare_digest(answer.get("state", "").encode(), pending.state.encode()):',
        "if False:",
        sign_in="sso",
    ),
    Mutation(
        "Only the provider's signature counts, not `alg: none` and no shared secret",
        "provider.py",
        "await self._key_set(), algorithms=ALGORITHMS)",
        'await self._key_set(), algorithms=[*ALGORITHMS, "none"])',
        sign_in="sso",
    ),
    Mutation(
        "Issuer, audience, nonce and times of an ID token are checked",
        "provider.py",
        'nonce={"essential": True, "value": nonce},',
        'nonce={"essential": True},',
        sign_in="sso",
    ),
    Mutation(
        "Only users on the allow-list sign in; an address counts when it is verified",
        "accounts/identity.py",
        '.lower() if identity.email_verified else ""',
        ".lower()",
        sign_in="sso",
    ),
]

HERE = "tests/rendered/"
BALANCERS = f"{HERE}test_balancer_files.py"
FOLDER = "<<cookiecutter.project_slug>>"
# Tests of the template, where the file stands in its folder; else those of the project.
ROWS = [
    Mutation(
        "a service",
        "runtime/handlers.py",
        'self.finish({"error": error})',
        "self.finish()",
        "tests/runtime/test_handlers.py tests/handlers/test_errors.py tests/handlers/test_api.py",
    ),
    Mutation(
        "accounts",
        "accounts/accounts.py",
        "if user is None or not right:",
        "if user is None:",
        "tests/accounts/test_accounts.py",
    ),
    Mutation(
        "single sign-on",
        "provider.py",
        '"code_challenge_method": "S256"',
        '"code_challenge_method": "plain"',
        "tests/handlers/test_single_sign_on.py",
        sign_in="sso",
    ),
    Mutation(
        "a live page",
        "live.py",
        '"pid": os.getpid(),',
        '"pid": 0,',
        "tests/test_live.py tests/handlers/test_live.py",
    ),
    Mutation(
        "one process per CPU",
        "templates/workers.conf",
        "--port %(process_num)d",
        "--port 1%(process_num)d",
        f"{BALANCERS}::test_supervisord_accepts",
    ),
    Mutation(
        "containers instead",
        f"{FOLDER}/deploy/<<cookiecutter.__process_manager_folder>>/"
        "<% if cookiecutter.__containers %>Dockerfile<% endif %>",
        "USER 10001:10001",
        "USER 0:0",
        f"{HERE}test_containers.py::test_the_image_and_the_engines_name_the_same",
    ),
    Mutation(
        "restarts without downtime",
        "runtime/server.py",
        "while loop.time() < settled or (",
        "while loop.time() < begin or (",
        "tests/runtime/test_server.py",
    ),
    Mutation(
        "safe defaults",
        f"{FOLDER}/deploy/<<cookiecutter.load_balancer>>/"
        "<% if cookiecutter.load_balancer == 'nginx' %>defaults.conf<% endif %>",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_protocols TLSv1.2;",
        "tests/running/security/test_tls.py::test_the_newest_protocol_is_chosen",
    ),
    Mutation(
        "one server",
        f"{FOLDER}/deploy/release/<% if cookiecutter.__servers %>steps.py<% endif %>",
        "            self.home.restore(self.state.kept)\n            self._serve(good)",
        "            self._serve(good)",
        "tests/running/test_release_program.py::test_a_step_that_fails",
    ),
    Mutation(
        "a database",
        "migrations/versions/0001_accounts.py",
        "nullable=False",
        "nullable=True",
        "tests/test_migrations.py",
    ),
    Mutation(
        "checks of each change",
        f"{FOLDER}/<% if cookiecutter.ci == 'gitlab' %>.gitlab-ci.yml<% endif %>",
        "make setup environments check test",
        "make setup environments test",
        f"{HERE}test_ci.py",
    ),
    Mutation(
        "deploys from CI",
        f"{FOLDER}/<% if cookiecutter.ci == 'gitlab' %>.gitlab-ci.yml<% endif %>",
        "(umask 077 && printf '%s\\n' \"$DEPLOY_KEY\"",
        "(umask 022 && printf '%s\\n' \"$DEPLOY_KEY\"",
        f"{HERE}test_ci.py::test_a_deploy_has_its_own_key",
    ),
    Mutation(
        "updates of the template",
        "hooks/post_gen_project.py",
        'open(".cruft.json", "w"',
        'open(os.devnull, "w"',
        "tests/answers/test_link.py",
    ),
    Mutation(
        "static files",
        "runtime/static_files.py",
        "public, max-age=31536000, immutable",
        "no-cache",
        "tests/runtime/test_static_files.py",
    ),
    Mutation(
        "operations",
        "runtime/health.py",
        "self.set_status(503)",
        "self.set_status(200)",
        "tests/runtime/test_health.py",
    ),
    Mutation(
        "monitoring",
        f"{FOLDER}/deploy/monitoring/rules.yml",
        "(up{<< job >>}) == 0",
        "(up{<< job >>}) < 0",
        "tests/running/test_monitoring.py::test_each_alert_fires_where_it_should",
    ),
    Mutation(
        "traces, error reports",
        "runtime/tracing.py",
        " if self._believes_callers else None",
        "",
        "tests/runtime/test_tracing.py",
    ),
    Mutation(
        "a clean start",
        f"{FOLDER}/src/<<cookiecutter.__package_name>>/app.py",
        "from pathlib import Path\n",
        "from pathlib import Path\nimport os, re\n",
        f"{HERE}test_checks.py::test_ruff_finds_nothing",
    ),
]


def rows_of(text: str, header: str) -> dict[str, str]:
    """The first column of a table, each with the rest of its row."""
    table = text.partition(f"\n| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return {row.split("|")[1].strip(): row for row in table}


def claims_of(project: Path) -> dict[str, str]:
    """Return all promises, each with the tests that its row names."""
    promised = rows_of((project / "SECURITY.md").read_text(), "promise")
    given = rows_of((TEMPLATE / "README.md").read_text(), "you get")
    tests = re.compile(r"`(tests/[^`]+::[^`]+)`")
    return {claim: " ".join(tests.findall(row)) for claim, row in (promised | given).items()}


def is_of_template(mutation: Mutation) -> bool:
    """Whether its file is the template's, and not one that stands in each project as it is."""
    return (TEMPLATE / mutation.file).exists()


def place_of(mutation: Mutation, project: Path) -> Path:
    """The file that it changes: in this repository, or in a rendered project."""
    if is_of_template(mutation):
        return TEMPLATE / mutation.file
    return project / PACKAGE / mutation.file


def pytest_ends(folder: Path, python: Path | str, tests: list[str]) -> int:
    command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


def result_of(mutation: Mutation, file: Path, folder: Path, python: Path | str, tests: str) -> str:
    """Return the result of the mutation: caught, or the problem."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    try:
        ended = pytest_ends(folder, python, tests.split())
    finally:
        file.write_text(text, encoding="utf-8")
    if ended == SURVIVED:
        return "SURVIVED"
    return "caught" if ended == CAUGHT else f"BROKEN: pytest ended with {ended}"


def main(words: list[str]) -> int:
    bad = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as scratch:
        projects = {
            sign_in: Project.render(
                Path(scratch, sign_in), project_slug="my-service", sign_in=sign_in
            )
            for sign_in in CHOICES["sign_in"]
        }
        for project in projects.values():
            project.set_up(packages=environment(project.folder).parent)
        copy = Path(scratch, "template")
        subprocess.run(["git", "clone", "--quiet", TEMPLATE, copy], check=True)
        for name in (".venv", ".cache"):
            (copy / name).symlink_to(TEMPLATE / name)

        for mutation in (*PROMISES, *ROWS):
            if words and not any(word in mutation.claim for word in words):
                continue
            project = projects[mutation.sign_in]
            tests = mutation.tests or claims_of(project.folder)[mutation.claim]
            if is_of_template(mutation):
                result = result_of(mutation, copy / mutation.file, copy, sys.executable, tests)
            else:
                file, python = place_of(mutation, project.folder), project.program("python")
                result = result_of(mutation, file, project.folder, python, tests)
            print(f"{mutation.claim}: {result}", flush=True)
            bad += result != "caught"
    print(f"{bad} not as they should be")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
