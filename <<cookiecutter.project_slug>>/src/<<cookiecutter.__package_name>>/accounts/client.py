"""The client of a request, as sessions and the security log record it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """The origin of a request."""

    address: str
    user_agent: str = ""
    request_id: str = ""
