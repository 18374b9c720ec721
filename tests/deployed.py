"""A server's files, rewritten as they would be for this machine: its user, folders, free ports."""

import ast
import os
import pwd
import re
import subprocess
from pathlib import Path


def on_this_machine(project: Path, path: str, folder: Path, *, port: int | None = None) -> Path:
    """Rewrite a server's file for this project, user and folder; return its path.

    The ports 80 and 443 become `port` and the one after it, by default those of the local balancer.
    """
    port = port or balancer_port(project)
    written = project / path
    text = written.read_text()
    user = pwd.getpwuid(os.getuid()).pw_name
    # An ordinary user has nothing to give up, and may not.
    give_up = "    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n"
    temporary_folders = "http {\n" + "".join(
        f"    {what}_temp_path {folder}/{what};\n"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for there, here in (
        (f"/srv/{project.name}/current", str(project)),
        (f"/srv/{project.name}/proxies.conf", f"{folder}/proxies.conf"),
        (f"/etc/ssl/{project.name}", str(folder)),
        ("/var/log/nginx", str(folder)),
        ("/run/", f"{folder}/"),
        ("user www-data;\n", "user root;\n" if user == "root" else ""),
        (give_up, give_up if user == "root" else ""),
        (f"user={project.name}\n", f"user={user}\n"),
        (f"User={project.name}\n", f"User={user}\n"),
        # As an ordinary user nginx may not make its own.
        ("http {\n", temporary_folders),
        # Binding these takes root.
        (":80", f":{port}"),
        ("listen 80", f"listen {port}"),
        (":443", f":{port + 1}"),
        ("listen 443", f"listen {port + 1}"),
    ):
        text = text.replace(there, here)
    written.write_text(text)
    return written


def nginx_on_this_machine(
    project: Path, folder: Path, *, port: int | None = None, proxies: str = ""
) -> Path:
    """Rewrite all of a server's files for nginx so, with the site linked; return the main one.

    With `proxies`, lines of nginx, the site is that behind a TLS proxy.
    """
    for name in ("https.conf", "behind-proxy.conf", "nginx.conf"):
        main = on_this_machine(project, f"deploy/nginx/{name}", folder, port=port)
    (folder / "proxies.conf").write_text(proxies)
    sites = main.with_name("sites-enabled")
    sites.mkdir()
    site = "behind-proxy.conf" if proxies else "https.conf"
    (sites / f"{project.name}.conf").symlink_to(f"../{site}")
    return main


def balancer_port(project: Path) -> int:
    """The port of the balancer on localhost."""
    stack = (project / "deploy/local/stack").read_text()
    return int(re.search(r"^BALANCER_PORT = (\d+)$", stack, re.MULTILINE)[1])


def make_certificate(folder: Path) -> None:
    """Make a certificate and its key, under the names that nginx and HAProxy look for."""
    folder.mkdir(parents=True, exist_ok=True)
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
        " -subj /CN=test -keyout privkey.pem -out fullchain.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "fullchain.pem.key").symlink_to("privkey.pem")


def without_ipv6(project: Path) -> tuple[list[str], re.Pattern[str]]:
    """What a deploy takes out where the kernel has no IPv6: of which files in deploy/, and what."""
    program = (project / "deploy/release/balancer.py").read_text()
    (text,) = re.findall(r"^IPV6 = re.compile\((r\"[^\"]+\")", program, re.MULTILINE)
    pattern = re.compile(ast.literal_eval(text), re.MULTILINE)
    (balancer,) = re.findall(r"release.folder / \"deploy/(\w+)\"\).glob", program)
    files = sorted((project / "deploy" / balancer).iterdir())
    return [
        f"{balancer}/{file.name}" for file in files if pattern.search(file.read_text())
    ], pattern
