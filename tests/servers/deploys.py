"""A project that is deployed to servers as its owner would: from a commit, with `make deploy`."""

import re
import secrets
import shlex
import shutil
import socket
import ssl
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.environment import environment, locked_environment
from tests.running.assets import is_kept, named_by_a_page
from tests.running.load import Load, nothing_lost, usual_requests
from tests.running.projects import Project, copy_environment, environment_for
from tests.servers.authority import Authority
from tests.servers.servers import Server
from tests.servers.swarm import BASE, DATABASE, Node

DOMAIN = "service.test"
WITHIN_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'
# The load shares a machine with the servers and with the deploy, which must end in minutes.
RATE = 50
CONNECTIONS = 16


class Repository(ABC):
    """A project under version control, and what its owners do with it to bring it elsewhere."""

    project: Project

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=Owner", "-c", "user.email=owner@example.com"]
        return self.project.must("git", *who, *arguments).strip()

    def commit(self, message: str) -> str:
        """Commit all that is in the project's folder; return the name its release has."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.release

    def commit_another_style(self) -> str:
        """Commit that pages look different; return the name its release has."""
        with (self.project.package / "static" / "style.css").open("a") as style:
            style.write("body { outline: 1px solid red }\n")
        return self.commit("Another style")

    @property
    def release(self) -> str:
        """The name that a release of the last commit has."""
        date = "--date=format-local:%Y%m%d-%H%M%S"
        show = ["git", "show", "--no-patch", date, "--format=%cd-%h", "--abbrev=8"]
        return self.project.must(*show, TZ="UTC").strip()

    @abstractmethod
    def command(self, target: str) -> list[str]:
        """What runs this target of the project's Makefile."""

    @property
    @abstractmethod
    def variables(self) -> dict[str, str]:
        """The environment variables in which targets run."""

    @abstractmethod
    def client(self) -> httpx.Client:
        """A browser without a window at the site."""

    @abstractmethod
    def add_user(self) -> tuple[str, str]:
        """Make an account; return its name and password."""

    def make(self, target: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run one of the project's targets with more variables; return what it says."""
        return subprocess.run(
            self.command(target),
            cwd=self.project.folder,
            env=self.variables | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def must(self, target: str, **more: str) -> str:
        """Run one of the project's targets with more variables, which must succeed."""
        done = self.make(target, **more)
        assert done.returncode == 0, f"make {target}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout

    def must_fail(self, target: str) -> str:
        """Run one of the project's targets, which must fail; return what it says."""
        done = self.make(target)
        assert done.returncode != 0, done.stdout[-6000:]
        return done.stdout

    @contextmanager
    def sign_in(self) -> Iterator[httpx.Client]:
        """A browser with a signed-in user."""
        name, password = self.add_user()
        with self.client() as client:
            sign_in(client, name, password)
            yield client

    def ask_for_files_during(self, target: str) -> tuple[list[str], list[str]]:
        """Run a target and ask for all files that pages name meanwhile, which browsers may keep.

        Return those that a page named before, and those that one names after it.
        """
        with self.client() as client, ThreadPoolExecutor() as executor:
            before = named_by_a_page(client)
            named = set(before)
            running = executor.submit(self.must, target)
            while wait([running], timeout=0.3).not_done:
                named |= set(named_by_a_page(client))
                for address in named:
                    assert is_kept(client.get(address)), address
            running.result()
            return before, named_by_a_page(client)


def sign_in(client: httpx.Client, name: str, password: str) -> None:
    """Fill in the form, which must be accepted."""
    token = re.search(r'name="_xsrf" value="([^"]+)"', client.get("/login").text)[1]
    fields = {"name": name, "password": password, "_xsrf": token}
    answer = client.post("/login", data=fields)
    assert answer.status_code == 303, answer.text


class InContainers(Repository):
    """A project whose image is built on a node, and whose site is at that."""

    def __init__(self, folder: Path, node: Node, **answers: str) -> None:
        self.node = node
        self.answers = {
            "process_manager": "containers",
            "domain_name": DOMAIN,
            "process_count": "2",
        } | answers
        self.project = Project.render(folder, **self.answers)
        copy_environment(environment(self.project.folder).parent, self.project.folder / ".venv")
        self.project.must("make", ".venv/ready", ".env")
        self.git("init", "--quiet")
        self.commit("The first")

    def command(self, target: str) -> list[str]:
        return ["make", target]

    @property
    def variables(self) -> dict[str, str]:
        return environment_for(
            DOCKER_HOST=self.node.socket,
            BASE=BASE,
            BALANCER_IMAGE=BASE,
            DATABASE_IMAGE=DATABASE,
            PUBLISHED_PORT="80",
            RESOLVE_IMAGE="never",
        )

    @property
    def image(self) -> str:
        """The name of the last commit's image."""
        return f"{self.project.slug}:{self.release}"

    def client(self, node: Node | None = None) -> httpx.Client:
        """A browser without a window that reaches the site at this node, or else the first."""

        def by_name(request: httpx.Request) -> None:
            request.headers["Host"] = DOMAIN

        return httpx.Client(
            base_url=f"http://{(node or self.node).address}",
            trust_env=False,
            timeout=20,
            event_hooks={"request": [by_name]},
        )

    @abstractmethod
    def run(self, *command: str, typed: str = "") -> str:
        """Run one of the service's commands in a container of it."""

    def add_user(self) -> tuple[str, str]:
        name, password = f"user-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        self.run("user", "add", name, "--password-stdin", typed=f"{password}\n")
        return name, password


class Owner(Repository):
    """The owner of a project on one machine, and of a server that another owner may share.

    The certificate is from an authority of their own, or is to be asked for at this one.
    """

    def __init__(
        self,
        folder: Path,
        server: Server,
        *,
        domain: str = DOMAIN,
        authority: Authority | None = None,
        **answers: str,
    ) -> None:
        self.server = server
        self.folder = folder
        self.domain = domain
        self.printed: list[str] = []
        self.answers = {"domain_name": domain, "process_count": "2"} | answers
        self.project = Project.render(folder, **self.answers)
        copy_environment(environment(self.project.folder).parent, self.project.folder / ".venv")
        ansible = locked_environment(self.project.folder / "requirements-deploy.txt").parent
        copy_environment(ansible, self.project.folder / ".venv-deploy")
        # What `make setup` does, but for the database on this machine.
        self.project.must("make", ".venv/ready", ".env")
        if authority:
            authority.knows(domain, self.front)
            authority.is_asked_by(self.front)
            (folder / "authority.pem").write_text(authority.root)
            self.certified = {"certificate": "letsencrypt"}
        else:
            self._make_certificate()
            self.certified = {
                "certificate": "files",
                "certificate_file": str(folder / "certificate.pem"),
                "certificate_key": str(folder / "key.pem"),
            }
        known = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
        own = (folder / "authority.pem").read_text()
        (folder / "authorities.pem").write_text(known + own)
        (folder / "hosts").write_text(
            f"{Path('/etc/hosts').read_text()}\n{self.front.address} {domain}\n"
        )
        self.write_inventory()
        self.git("init", "--quiet")
        self.commit("The first")

    def commit_one_process_more(self) -> str:
        """Commit what the answer of one process more brings; return the name its release has."""
        first, count = self.project.first_port, self.project.process_count
        changed = {"first_port": str(first), "process_count": str(count + 1)}
        with tempfile.TemporaryDirectory() as folder:
            other = Project.render(Path(folder), **self.answers | changed)
            shutil.rmtree(self.project.folder / "deploy")
            shutil.copytree(other.folder / "deploy", self.project.folder / "deploy")
        return self.commit("One process more")

    @property
    def url(self) -> str:
        return f"https://{self.domain}"

    @property
    def front(self) -> Server:
        """The server to which the site's name leads."""
        return self.server

    def inventory(self) -> dict[str, object]:
        """The servers, as example.yml shows."""
        return {"workers": self.group(self.server, **self.certified)}

    def group(self, *servers: Server, **variables: object) -> dict[str, object]:
        """These servers, and how to reach them."""
        reached = {"ansible_ssh_common_args": f"-F {self.server.site.ssh_config}"}
        hosts = {server.name: {"ansible_host": server.address} for server in servers}
        return {"hosts": hosts, "vars": reached | variables}

    def write_inventory(self) -> None:
        (self.folder / "inventory.yml").write_text(yaml.safe_dump(self.inventory()))

    @property
    def settings(self) -> Path:
        """The servers' settings and secrets, beside the inventory."""
        return self.folder / "inventory.env"

    def command(self, target: str) -> list[str]:
        make = ["make", target, f"INVENTORY={self.folder}/inventory.yml"]
        return ["unshare", "--mount", "sh", "-c", WITHIN_HOSTS, str(self.folder / "hosts"), *make]

    @property
    def variables(self) -> dict[str, str]:
        authorities = str(self.folder / "authorities.pem")
        # Readline exports the width of the terminal to what a shell starts; `ps` then cuts lines.
        # Ansible refuses this locale, in which many an owner works: the project sets another one.
        return environment_for(SSL_CERT_FILE=authorities, COLUMNS="80", LC_ALL="POSIX")

    def make(self, target: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run one of the project's targets for the server; keep and return what it says."""
        done = super().make(target, **more)
        self.printed.append(done.stdout)
        return done

    def deploy_until(self, stage: str) -> subprocess.Popen[str]:
        """Start a deploy in a session of its own; return it when it says this."""
        running = subprocess.Popen(
            self.command("deploy"),
            cwd=self.project.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = []
        for line in running.stdout:
            said.append(line)
            if stage in line:
                return running
        raise AssertionError(f"It ended before {stage!r}: {running.wait()}\n{''.join(said)}")

    @property
    def tls(self) -> ssl.SSLContext:
        """A context that trusts the authority of these tests, and no other."""
        return ssl.create_default_context(cafile=str(self.folder / "authority.pem"))

    def certificate(self) -> bytes:
        """The certificate that the site shows, which must be trusted."""
        with (
            socket.create_connection((self.front.address, 443), timeout=20) as connection,
            self.tls.wrap_socket(connection, server_hostname=self.domain) as secure,
        ):
            return secure.getpeercert(binary_form=True)

    def renew_certificate(self) -> None:
        """Have the server renew it as its timer would, which must bring another one that serves."""
        first = self.certificate()
        self.front.run("certbot renew --force-renewal --quiet --no-random-sleep-on-renew")
        self.front.wait_until(lambda: self.certificate() != first, "the new one is served")
        assert self.front.run("systemctl is-enabled certbot.timer") == "enabled"

    def client(self, **options: object) -> httpx.Client:
        """A browser without a window that reaches the site at the server's address."""

        def by_name(request: httpx.Request) -> None:
            request.headers["Host"] = self.domain
            request.extensions["sni_hostname"] = self.domain

        return httpx.Client(
            base_url=f"https://{self.front.address}",
            verify=self.tls,
            trust_env=False,
            timeout=20,
            event_hooks={"request": [by_name]},
            **options,
        )

    def add_user(self) -> tuple[str, str]:
        """Make an account on the server; return its name and password."""
        name, password = f"user-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
        slug = self.project.slug
        self.server.run(
            f"cd /srv/{slug}/current && runuser -u {slug} -- "
            f".venv/bin/{slug} user add {name} --password-stdin",
            typed=f"{password}\n",
        )
        return name, password

    def load(self, kind: Callable[..., Any] = Load) -> Any:
        """Pages, forms and sessions asked for on and on, within a `with`."""
        with self.sign_in() as client:
            name = f"__Host-{self.project.session_cookie}"
            session = f"{name}={client.cookies[name]}"
        return kind(
            self.url,
            usual_requests(session),
            connections=CONNECTIONS,
            rate=RATE,
            address=self.front.address,
            tls=self.tls,
        )

    @contextmanager
    def nothing_lost(self, *, reloaded: bool = False) -> Iterator[Load]:
        """The same, of which every one is answered.

        Where the balancer is reloaded meanwhile, that ends connections which are idle; what is just
        being sent over one gets no answer, and a browser sends it again.
        """
        if not reloaded:
            with self.load(nothing_lost) as load:
                yield load
            return
        with self.load() as load:
            yield load
        print(f"{load.total} requests", *load.failures, sep="\n")
        assert [lost for lost in load.failures if "over a kept connection" not in lost.what] == []
        assert len(load.failures) <= CONNECTIONS

    def releases(self, server: Server | None = None) -> set[str]:
        """The releases that the processes on a server name."""
        server = server or self.server
        ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:%d/readyz').read())"
        said = [server.run(f'python3 -c "{ask % port}"') for port in self.project.worker_ports]
        return set(re.findall(r'"release": "([^"]+)"', "".join(said)))

    def serves(self, release: str, server: Server | None = None) -> bool:
        """Whether this release is served by all processes, and is the one they would start."""
        server = server or self.server
        current = server.run(f"readlink /srv/{self.project.slug}/current")
        return self.releases(server) == {release} and current == f"releases/{release}"

    def prefix(self) -> str:
        """Where Python finds itself, started as the processes are: the folder of its packages."""
        folder = f"/srv/{self.project.slug}/current"
        command = self.server.run(
            f"grep -rhoP '^(command|ExecStart)=\\K/usr/bin/env .*(?= -m )' {folder}/deploy"
            " | head -n 1"
        )
        return self.server.run(f"cd {folder} && {command} -c 'import sys; print(sys.prefix)'")

    def _make_certificate(self) -> None:
        """Make an authority, and have it sign a certificate for the site."""
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
        for command in (
            f"req -x509 {key} -days 30 -subj '/CN=An authority' -keyout authority.key "
            "-out authority.pem",
            f"req -x509 {key} -days 30 -subj /CN={self.domain} "
            f"-addext subjectAltName=DNS:{self.domain} "
            "-addext basicConstraints=critical,CA:FALSE "
            "-CA authority.pem -CAkey authority.key -keyout key.pem -out certificate.pem",
        ):
            subprocess.run(
                ["openssl", *shlex.split(command)], cwd=self.folder, check=True, capture_output=True
            )
