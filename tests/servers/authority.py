"""A certificate authority that servers ask as they ask Let's Encrypt: its own test server, Pebble.

with Authority(site) as authority:
    authority.knows(domain, server)
    authority.is_asked_by(server)
"""

import contextlib
import json
import shlex
import ssl
from typing import Self

import httpx

from tests.servers.servers import Server, Site

ASKED_AT, TOLD_AT = 14000, 15000
CONFIG = {
    "pebble": {
        "listenAddress": f"0.0.0.0:{ASKED_AT}",
        "managementListenAddress": f"0.0.0.0:{TOLD_AT}",
        "certificate": "/etc/pebble/own.pem",
        "privateKey": "/etc/pebble/own.key",
        "httpPort": 80,
        "tlsPort": 443,
    }
}
# Unless told otherwise Pebble refuses one of twenty good nonces, and certbot asks only once more.
INSTALL = f"""
    apt-get update --quiet && apt-get install --quiet --yes pebble openssl && mkdir /etc/pebble &&
    openssl req -x509 -newkey rsa:2048 -noenc -days 30 -subj /CN=authority \
        -keyout /etc/pebble/own.key -out /etc/pebble/own.pem &&
    printf %s {shlex.quote(json.dumps(CONFIG))} > /etc/pebble/config.json &&
    systemd-run --unit pebble --setenv PEBBLE_VA_NOSLEEP=1 --setenv PEBBLE_WFE_NONCEREJECT=0 \
        pebble -config /etc/pebble/config.json
"""


class Authority:
    """A server of the site on which Pebble runs."""

    def __init__(self, site: Site) -> None:
        self._server = site.server("authority")

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._server)
            self._server.run(INSTALL)
            self.root = self._server.wait_until(self._own_certificate, "Pebble answers")
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _own_certificate(self) -> str:
        """The certificate with which it signs, made anew at each start."""
        with contextlib.suppress(httpx.TransportError):
            url = f"https://{self._server.address}:{TOLD_AT}/roots/0"
            return httpx.get(url, verify=ssl._create_unverified_context(), trust_env=False).text  # noqa: S323
        return ""

    def knows(self, domain: str, server: Server) -> None:
        """Have this name lead to this server, as the domain's owner has it in DNS."""
        self._server.run(f"echo {server.address} {domain} >> /etc/hosts")

    def is_asked_by(self, server: Server) -> None:
        """Have certbot, on that server, ask here instead of at Let's Encrypt."""
        asked = f"https://{self._server.address}:{ASKED_AT}/dir"
        server.run(
            f"mkdir -p /etc/letsencrypt && printf 'server = {asked}\\nno-verify-ssl = true\\n'"
            " > /etc/letsencrypt/cli.ini"
        )
