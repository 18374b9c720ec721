"""The security log: who signed in, who failed to, and what was done to which account.

Its logger has a name of its own, `security`, and a level of its own: LOG_LEVEL does not silence it.
No password gets into it, nor a name that was typed and is no account's: it may be a password.
"""

import logging

from .client import Client

log = logging.getLogger("security")
log.setLevel(logging.INFO)


def record(event: str, client: Client, *, account: str | None, **details: object) -> None:
    """Write one event with the account and where the request came from."""
    fields = {
        "event": event,
        "account": account,
        "address": client.address,
        "request_id": client.request_id,
        **details,
    }
    log.info(event.replace("_", " "), extra={"fields": fields})
