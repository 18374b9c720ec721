"""The program `deploy/venv` installs a lock with uv, from where pip is configured to look."""

import base64
import hashlib
import http.server
import os
import re
import runpy
import shutil
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bake import TEMPLATE, files_of

VENV = TEMPLATE / "<<cookiecutter.project_slug>>" / "deploy" / "venv"
TOKEN = "a-token-that-stands-in-no-file"  # noqa: S105
LOGIN = f"Basic {base64.b64encode(f'reader:{TOKEN}'.encode()).decode()}"


class Index(http.server.ThreadingHTTPServer):
    """A package index of wheels in a folder, for clients with the token; also a proxy to itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.folder = folder
        self.programs: set[str] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Request(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        # A proxy is asked for http://host/path.
        _, _, path = self.path.rpartition("://")
        folder, _, name = path[path.index("/") :].rstrip("/").rpartition("/")
        if self.headers["Authorization"] != LOGIN:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            content = b""
        elif folder == "/simple":
            wheels = self.server.folder.glob(f"{name}-*.whl")
            links = "".join(f'<a href="/files/{wheel.name}">{wheel.name}</a>' for wheel in wheels)
            content = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
        elif folder == "/files" and (wheel := self.server.folder / name).exists():
            self.server.programs.add(self.headers["User-Agent"].partition("/")[0])
            content = wheel.read_bytes()
            self.send_response(200)
        else:
            self.send_response(404)
            content = b""
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with Index(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Make a wheel; return its line in a lock."""
    info = f"{name}-{version}.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            member = zipfile.ZipInfo(file)
            member.external_attr = 0o100755 << 16
            archive.writestr(member, text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n"


@pytest.fixture
def home(tmp_path: Path, index: Index) -> Path:
    """A folder with a lock of one package, which only the index has."""
    home = tmp_path / "home"
    home.mkdir()
    lock = wheel(index.folder, "parcel", "1.0", {"parcel.py": ""})
    (home / "lock.txt").write_text(lock)
    return home


def install(home: Path, config: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as somebody would who has this pip.conf and uv on PATH."""
    (home / ".config" / "pip").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "pip" / "pip.conf").write_text(config)
    programs = home / "programs"
    programs.mkdir(exist_ok=True)
    if not (programs / "uv").exists():
        (programs / "uv").symlink_to(shutil.which("uv", path=Path(sys.executable).parent))
    return subprocess.run(
        [sys.executable, VENV, ".venv", "lock.txt"],
        cwd=home,
        env={"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def assert_installed(home: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout
    command = [home / ".venv" / "bin" / "python", "-c", "import parcel"]
    assert subprocess.run(command, check=False).returncode == 0, done.stdout


def config(**options: str) -> str:
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in options.items()]
    return "\n".join(["[global]", *lines, ""])


def test_uv_uses_the_index_of_pip(home: Path, index: Index) -> None:
    """uv finds and signs in to the index in pip.conf; no file keeps its password."""
    done = install(home, config(index_url=f"http://reader:{TOKEN}@{index.address}/simple"))
    assert_installed(home, done)
    assert index.programs == {"uv"}
    kept = [name for name, content in files_of(home).items() if TOKEN.encode() in content]
    assert kept == [".config/pip/pip.conf"]
    assert TOKEN not in done.stdout


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"])
def test_uv_uses_the_environment_of_pip(name: str, home: Path, index: Index) -> None:
    """An index in pip's environment variables wins over the one in its file."""
    url = f"http://reader:{TOKEN}@{index.address}/simple"
    nowhere = config(**{name.removeprefix("PIP_").lower(): "http://127.0.0.1:1/simple"})
    environment = {name: url}
    if name == "PIP_EXTRA_INDEX_URL":
        environment["PIP_INDEX_URL"] = url
    assert_installed(home, install(home, nowhere, **environment))
    assert index.programs == {"uv"}


def test_uv_trusts_the_authority_of_pip(home: Path, index: Index) -> None:
    """uv accepts a certificate of an authority that only pip.conf names."""
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=company"
    )
    request += " -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    command = f"{request} -keyout key.pem -out company.pem".split()
    subprocess.run(command, cwd=home, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "company.pem", home / "key.pem")
    index.socket = context.wrap_socket(index.socket, server_side=True)
    url = f"https://reader:{TOKEN}@{index.address}/simple"
    refused = install(home, config(index_url=url, retries="0"))
    assert refused.returncode == 1, refused.stdout
    done = install(home, config(index_url=url, cert=str(home / "company.pem")))
    assert_installed(home, done)
    assert index.programs == {"uv"}


def test_uv_uses_the_proxy_of_pip(home: Path, index: Index) -> None:
    """uv reaches a host that only pip's proxy resolves."""
    url = f"http://reader:{TOKEN}@packages.invalid/simple"
    done = install(home, config(index_url=url, proxy=f"http://{index.address}"))
    assert_installed(home, done)
    assert index.programs == {"uv"}


def test_pip_installs_where_uv_lacks_an_option(home: Path, index: Index) -> None:
    """With a configuration that uv does not know, pip itself installs, and says so."""
    url = f"http://reader:{TOKEN}@{index.address}/simple"
    done = install(home, config(index_url=url, only_binary=":all:"))
    assert_installed(home, done)
    assert index.programs == {"pip"}
    assert "uv has no equivalent of its option only-binary" in done.stdout


def test_pip_installs_where_uv_fails(home: Path, index: Index) -> None:
    """If uv fails, pip installs, and ignores a configured folder for packages."""
    (home / "programs").mkdir()
    uv = home / "programs" / "uv"
    uv.write_text('#!/bin/sh\ntest "$1" = --version && echo uv 0.9.0\n')
    uv.chmod(0o755)
    url = f"http://reader:{TOKEN}@{index.address}/simple"
    elsewhere = {"PIP_USER": "1", "PIP_TARGET": str(home / "elsewhere")}
    assert_installed(home, install(home, config(index_url=url), **elsewhere))
    assert index.programs == {"pip"}
    assert not (home / "elsewhere").exists()


@pytest.mark.parametrize("version", ["none", "0.4.30"])
def test_uv_is_installed_from_the_lock(version: str, home: Path, index: Index) -> None:
    """Without a recent uv, pip installs the locked one; a wrong hash is refused."""
    (home / "programs").mkdir()
    uv = home / "programs" / "uv"
    uv.write_text(f"#!/bin/sh\necho uv {version}\n")
    uv.chmod(0o755)
    script = "#!/bin/sh\nenv > uv-was-here\n"
    locked = wheel(index.folder, "uv", "9.9", {"uv-9.9.data/scripts/uv": script})
    lock = home / "lock.txt"
    lock.write_text(lock.read_text() + locked)
    pip = config(index_url=f"http://reader:{TOKEN}@{index.address}/simple")
    done = install(home, pip)
    assert done.returncode == 0, done.stdout
    assert f"UV_DEFAULT_INDEX=http://reader:{TOKEN}@" in (home / "uv-was-here").read_text()

    shutil.rmtree(home / ".venv")
    (home / "uv-was-here").unlink()
    lock.write_text(lock.read_text().replace(locked[-12:], "0" * 11 + "\n"))
    assert install(home, pip).returncode == 1
    assert not (home / "uv-was-here").exists()


def test_uv_locks_from_the_index_of_pip(home: Path, index: Index) -> None:
    """A lock is made from pip's index, and names neither it nor the password."""
    pip = config(index_url=f"http://reader:{TOKEN}@{index.address}/simple")
    assert_installed(home, install(home, pip))
    (home / ".venv" / "bin" / "uv").symlink_to(home / "programs" / "uv")
    (home / "wanted.txt").write_text("parcel\n")
    lock = "pip compile --quiet --no-header --generate-hashes wanted.txt --output-file made.txt"
    command = [sys.executable, VENV, ".venv", "--uv", *lock.split()]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    subprocess.run(command, cwd=home, env=environment, check=True)
    made = (home / "made.txt").read_text()
    assert made.startswith("parcel==1.0 \\\n    --hash=sha256:")
    assert index.address not in made


def test_the_page_about_indexes_lists_every_option(project: Path) -> None:
    """docs/indexes.md names each option of pip that counts, and what uv calls it."""
    text = (project / "docs" / "indexes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z`, -]+) \| (`[A-Z].*) \|$", text, re.MULTILINE)
    told = {
        option: set(re.findall(r"`(\w+)`", variables))
        for options, variables in rows
        for option in re.findall(r"`([a-z-]+)`", options)
    }
    program = runpy.run_path(str(VENV))
    assert told.keys() == program["VARIABLES"].keys()
    for option, variables in program["VARIABLES"].items():
        assert {name for name in variables if name.isupper()} <= told[option]
    assert {name for name in program["ONLY_PIP"] if f"`{name}`" in text} == program["ONLY_PIP"]
