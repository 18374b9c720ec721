# Part of the template: you need not edit this file.
"""The findings of a check."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error must not go online, a warning should be fixed soon.

    Something that could not be checked may be as bad as an error.
    """

    ERROR = "error"
    WARNING = "warning"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Finding:
    """One problem. Its id never changes, so that it can be looked up."""

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
