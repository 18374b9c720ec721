"""The servers of these tests are what they claim to be."""

import pytest

from tests.servers.servers import Server

pytestmark = pytest.mark.servers


def test_it_is_a_server(bare_server: Server) -> None:
    """Systemd runs on it, its admin comes in over SSH and may become root, and it can reboot."""
    assert bare_server.run("cat /proc/1/comm") == "systemd"
    assert bare_server.run("systemctl is-system-running") == "running"
    assert bare_server.ssh("sudo id -un").stdout.strip() == "root"
    bare_server.run("touch /run/gone /var/kept")
    bare_server.reboot()
    assert bare_server.try_run("ls /run/gone").returncode != 0
    assert bare_server.ssh("ls /var/kept").stdout.strip() == "/var/kept"
    bare_server.cut_power()
    bare_server.power_on()
    assert bare_server.ssh("hostname").stdout.strip() == "bare"


def test_packages_can_be_installed(bare_server: Server) -> None:
    """What a deploy installs is to be had on the server itself, and its services start."""
    bare_server.run("apt-get update && apt-get install -qq --no-install-recommends nginx-light")
    assert bare_server.run("systemctl is-active nginx") == "active"
