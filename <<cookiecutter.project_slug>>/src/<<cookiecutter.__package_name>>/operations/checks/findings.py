# Part of the template: you need not edit this file.
"""What a check returns."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is: an error must not go online, a warning should be fixed soon.

    What could not be looked at may be as bad as an error.
    """

    ERROR = "error"
    WARNING = "warning"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. The id never changes, so that it can be looked up."""

    id: str
    severity: Severity
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity.upper()} {self.id}: {self.problem}\n    {self.remedy}"


def error(check_id: str, problem: str, remedy: str) -> Finding:
    return Finding(check_id, Severity.ERROR, problem, remedy)


def warning(check_id: str, problem: str, remedy: str) -> Finding:
    return Finding(check_id, Severity.WARNING, problem, remedy)


def unchecked(check_id: str, problem: str, remedy: str) -> Finding:
    return Finding(check_id, Severity.UNCHECKED, problem, remedy)
