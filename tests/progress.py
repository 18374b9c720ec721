"""Progress for a person to read: a line for each file of tests when it is done.

    rendered/test_ci.py: 14 passed, in 6 s; 301 of 558 tests are left

Where tests run side by side, files end in no order; with -v or -q pytest shows its own.
"""

import time
from collections import Counter, defaultdict
from typing import Any

import pytest

# A file that takes longer shows that it goes on.
EVERY_SECONDS = 15


class Progress:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._left: Counter[str] = Counter()
        self._results: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._begin: dict[str, float] = {}
        self._total = 0
        self._said = time.monotonic()

    def pytest_sessionstart(self) -> None:
        # The lines here name the files.
        self._config.pluginmanager.get_plugin("terminalreporter").showfspath = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._expect([item.nodeid for item in session.items])

    # A hook of pytest-xdist, which has collected elsewhere; every worker reports the same.
    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        self._expect(ids)

    def _expect(self, ids: list[str]) -> None:
        if ids and not self._total:
            self._total = len(ids)
            self._left.update(map(file_of, ids))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._begin.setdefault(file_of(nodeid), time.monotonic())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._results[file_of(report.nodeid)][report.outcome] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        file = file_of(nodeid)
        self._left[file] -= 1
        now = time.monotonic()
        if not self._left[file] or now - self._said > EVERY_SECONDS:
            self._said = now
            self._say(file, now - self._begin[file])

    def _say(self, file: str, seconds: float) -> None:
        counts = ", ".join(f"{count} {name}" for name, count in self._results[file].items())
        more = f" (and {self._left[file]} to come)" if self._left[file] else ""
        left = sum(self._left.values())
        self._config.get_terminal_writer().line(
            f"{file}: {counts}{more}, in {seconds:.0f} s; {left} of {self._total} tests are left"
        )

    # Instead of a dot for each.
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when == "call" and report.passed:
            return "passed", "", "PASSED"
        return None


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and config.option.verbose == 0:
        config.pluginmanager.register(Progress(config))
