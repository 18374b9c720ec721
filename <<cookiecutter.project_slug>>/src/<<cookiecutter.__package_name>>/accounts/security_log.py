"""The security log: sign-ins, failed sign-ins and changes to accounts.

Its logger `security` has a level of its own: LOG_LEVEL does not silence it. << "It records no password,\nand no typed name without an account: that may be a password." if cookiecutter.sign_in == "passwords" else "It records no token." >>
"""

import logging

from .client import Client

log = logging.getLogger("security")
log.setLevel(logging.INFO)


def record(event: str, client: Client, *, account: str | None, **details: object) -> None:
    """Write one event with the account and the origin of the request."""
    fields = {
        "event": event,
        "account": account,
        "address": client.address,
        "request_id": client.request_id,
        **details,
    }
    log.info(event.replace("_", " "), extra={"fields": fields})
