"""nginx or HAProxy with the files of a server, in front of the processes of a stack.

with Balancer(project, folder) as balancer:
    balancer.get(f"https://{balancer.domain}/")
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import httpx

from tests.bake import free_first_port, is_free
from tests.deployed import make_certificate, nginx_on_this_machine, on_this_machine
from tests.running.processes import wait_until
from tests.running.projects import PATH, Project, environment_for, require

# All of 127.0.0.0/8 is this machine, so that a proxy and its clients can differ.
PROXY = "127.0.0.2"


class Balancer:
    """A balancer on ports of its own; `behind` is the address of a TLS proxy in front of it."""

    def __init__(self, project: Project, folder: Path, *, behind: str = "") -> None:
        self._folder = folder
        self._copy = folder / project.slug
        shutil.copytree(
            project.folder, self._copy, ignore=shutil.ignore_patterns(".*", "var", "__pycache__")
        )
        make_certificate(folder)
        self.port = free_first_port()
        leads_to_https = {"nginx": "https.conf", "haproxy": "haproxy.cfg"}[project.balancer]
        text = (self._copy / "deploy" / project.balancer / leads_to_https).read_text()
        self.domain = re.search(r" https://([a-z0-9.-]+)[$%]", text)[1]
        if project.balancer == "nginx":
            proxies = f"set_real_ip_from {behind};\n" if behind else ""
            main = nginx_on_this_machine(self._copy, folder, port=self.port, proxies=proxies)
            options = ["-e", "stderr", "-p", f"{self._copy}/", "-c", main, "-g", "daemon off;"]
        else:
            main = on_this_machine(self._copy, "deploy/haproxy/haproxy.cfg", folder, port=self.port)
            (folder / "haproxy").mkdir()
            if behind:
                replace_once(main, "(?s)\n# Plain http leads .*", "")
                listen = f'setenv LISTEN ":{self.port},:::{self.port}"\n'
                replace_once(main, "setenv LISTEN_TLS .*\n", f'{listen}setenv PROXIES "{behind}"\n')
            options = ["-db", "-f", main, "-f", self._copy / "deploy/haproxy/site.cfg"]
        self._command = [require(project.balancer), *options]

    def __enter__(self) -> Self:
        self._output = (self._folder / "output").open("w+")
        self._process = subprocess.Popen(
            self._command,
            cwd=self._copy,
            env=environment_for(PATH=PATH),
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        wait_until(lambda: not is_free(self.port), "it listens", evidence=self.evidence)
        assert self._process.poll() is None, self.evidence()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._output.close()

    def evidence(self) -> str:
        """What it has written."""
        return (self._folder / "output").read_text()

    def ask(
        self, method: str, url: str, *, source: str = "127.0.0.1", **options: Any
    ) -> httpx.Response:
        """Ask for a URL of the domain, which is here, from an address of this machine."""
        asked = httpx.URL(url)
        port = self.port + (asked.scheme == "https")
        transport = httpx.HTTPTransport(verify=False, local_address=source)
        with httpx.Client(transport=transport, trust_env=False, timeout=20) as client:
            return client.request(
                method,
                asked.copy_with(host="127.0.0.1", port=port),
                headers={"Host": asked.host} | options.pop("headers", {}),
                extensions={"sni_hostname": asked.host},
                **options,
            )

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.ask("GET", url, **options)


def replace_once(file: Path, there: str, here: str) -> None:
    """Replace the one place that the pattern finds in a file."""
    text, count = re.subn(there, here, file.read_text())
    assert count == 1, f"{there} is in {file} {count} times"
    file.write_text(text)
