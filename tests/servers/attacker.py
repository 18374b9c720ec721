"""An attacker who controls the service's user, and waits on the server for the next deploy."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.servers import Server

# Of root's; the service's user may look at it and nothing else.
PRECIOUS = "/srv/precious"
STATE = f"stat --format '%n %F %U %G %a %s %Y' {PRECIOUS} {PRECIOUS}/* && cat {PRECIOUS}/*"

# In the folder that the service's user owns: a link in the place of each thing that root could come
# across. Those that the service needs, where it has them, stay.
LINKS = f"""
for name in log backups; do
    mv $name $name.kept && ln -s {PRECIOUS} $name
done
test -e supervisor.sock || ln -s /run/systemd/private supervisor.sock
rm -f roll.lock && ln -s {PRECIOUS}/1 roll.lock
ln -s {PRECIOUS}/2 .new-file
"""
UNDO = """
for name in log backups; do
    rm $name && mv $name.kept $name
done
test ! -L supervisor.sock || rm supervisor.sock
rm -f roll.lock .new-file
"""
# What the service's user must not be able to do in the folder above, for the same reason.
FORBIDDEN = (
    "mv shared/var shared/other",
    "mv shared/published shared/other",
    f"ln -s {PRECIOUS} shared/published/link",
    "ln -sfn /tmp current",
    "rm shared/.env",
    "touch deploy.lock",
    "flock --nonblock step true",
)


@contextmanager
def attack(server: Server, slug: str = "my-service") -> Iterator[None]:
    """Links of the service's user lead to root's files meanwhile; these stay what they are."""

    def as_service(script: str) -> int:
        command = f"cd /srv/{slug} && runuser -u {slug} -- sh -ec {shlex.quote(script)}"
        return server.try_run(command).returncode

    server.run(f"install -d {PRECIOUS}")
    server.run(f"for name in $(seq 9); do echo $name > {PRECIOUS}/$name; done")
    before = server.run(STATE)
    assert [command for command in FORBIDDEN if as_service(command) == 0] == []
    assert as_service(f"cd shared/var\n{LINKS}") == 0
    try:
        yield
        assert server.run(STATE) == before
    finally:
        assert as_service(f"cd shared/var\n{UNDO}") == 0
        server.run(f"rm -r {PRECIOUS}")
