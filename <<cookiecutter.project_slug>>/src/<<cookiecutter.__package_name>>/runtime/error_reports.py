# Part of the template: you need not edit this file.
"""Errors for Sentry, or another service that speaks its protocol: each logged error, grouped there.

Loaded only where SENTRY_DSN is set. A report has the error, its stack, the request's path and id. It
has no cookie, no header, no form, no local variable: they may hold passwords and personal data.
"""

import logging
from collections.abc import Callable

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration

from .settings import ProcessSettings

# The process exits this much later at most where nothing answers.
SEND_SECONDS = 2.0


def report_errors(settings: ProcessSettings) -> Callable[[], None]:
    """Send each error that is logged from now on; return what sends the rest and ends that."""
    sentry_sdk.init(
        settings.sentry_dsn,
        release=settings.release,
        # They would hook themselves into Tornado and read requests.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None, event_level=logging.ERROR)],
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
    )
    client = sentry_sdk.get_client()
    return lambda: client.close(timeout=SEND_SECONDS)
