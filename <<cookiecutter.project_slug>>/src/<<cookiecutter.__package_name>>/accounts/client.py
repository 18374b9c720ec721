"""Where a request comes from: what is kept of it with a session and in the security log."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """The other end of a request."""

    address: str
    user_agent: str = ""
    request_id: str = ""
