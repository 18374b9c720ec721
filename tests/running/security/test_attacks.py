"""Common attacks on any public address: each is refused, without any other effect.

Each attack goes through the balancer, and to a process directly, as one runs that is alone.
"""

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests.running.processes import Stack
from tests.running.wire import conversation, exchange, message, statuses, unharmed

pytestmark = pytest.mark.full

MEGABYTE = 1024 * 1024
FORM = "Content-Type: application/x-www-form-urlencoded"
# Random enough to be told from everything else in an answer.
MARK = "k3v9q7"


def form(body: bytes, *headers: str, path: str = "/logout") -> bytes:
    return message(
        f"POST {path} HTTP/1.1", FORM, f"Content-Length: {len(body)}", *headers, body=body
    )


def chunked(body: bytes, *headers: str) -> bytes:
    return message("POST /logout HTTP/1.1", FORM, "Transfer-Encoding: chunked", *headers, body=body)


def multipart(body: bytes, boundary: str = "boundary=x") -> bytes:
    return message(
        "POST /logout HTTP/1.1",
        f"Content-Type: multipart/form-data; {boundary}",
        f"Content-Length: {len(body)}",
        body=body,
    )


def part(name: str, text: str = "") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()


# Each is too large, not HTTP, or nothing this service does. None goes to /login: its rate limit
# would answer first.
REFUSED = {
    # --- Too large ---
    "a header of a megabyte": message("GET / HTTP/1.1", "X-Big: " + "x" * MEGABYTE),
    "a header of 64 kB without an end": b"GET / HTTP/1.1\r\nX-Big: " + b"x" * 65536,
    "20,000 headers": message("GET / HTTP/1.1", *(f"X-{n}: {n}" for n in range(20_000))),
    "a header's name of 64 kB": message("GET / HTTP/1.1", "X" * 65536 + ": x"),
    "cookies of 64 kB": message("GET / HTTP/1.1", "Cookie: " + "a=b; " * 13_000),
    "an address of a megabyte": message(f"GET /{'x' * MEGABYTE} HTTP/1.1"),
    "a query of 64 kB": message(f"GET /?{'x=1&' * 16_000} HTTP/1.1"),
    "a method of 64 kB": message(f"{'X' * 65536} / HTTP/1.1"),
    "a body of a gigabyte": message(
        "POST /logout HTTP/1.1", FORM, "Content-Length: 1073741824", body=b"x" * 65536
    ),
    "a body just over the limit": form(b"x" * (MEGABYTE + 1)),
    "chunks that add up to more than the limit": chunked(
        (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 33 + b"0\r\n\r\n"
    ),
    "one chunk of two megabytes": chunked(b"200000\r\n" + b"x" * 2 * MEGABYTE + b"\r\n0\r\n\r\n"),
    "100,000 form fields": form(b"&".join(b"f%d=1" % n for n in range(100_000))),
    "10,000 parts": multipart(b"".join(part(f"f{n}") for n in range(10_000)) + b"--x--\r\n"),
    "500,000 empty form fields": form(b"&" * 500_000),
    # --- Chunks that are none ---
    **{
        f"the chunk size {size!r}": chunked(size + b"\r\nabcde\r\n0\r\n\r\n")
        for size in (
            *(b"-5", b"+5", b" 5", b"5 ", b"0x5", b"5_0", b"", b"g", b"\xef\xbc\x95", b"5\x00"),
            *(b"F" * 16, b"F" * 17, b"1" + b"0" * 64),
        )
    },
    "a chunk longer than it says": chunked(b"3\r\nabcde\r\n0\r\n\r\n"),
    "a chunk's end without its line end": chunked(b"5\r\nabcde0\r\n\r\n"),
    "an endless chunk extension": chunked(b"5;" + b"x" * 100_000 + b"\r\nabcde\r\n0\r\n\r\n"),
    # --- Lengths that are none ---
    **{
        f"the length {length!r}": message(
            "POST /logout HTTP/1.1", FORM, f"Content-Length: {length}", body=b"abcde"
        )
        for length in ("-1", "+5", "5 5", "5, 6", "1e1", "0x5", "5_0", "", "9" * 30, "\uff15")
    },
    # --- Whose body is it? What balancer and process may see differently (request smuggling) ---
    "two lengths": message(
        "POST /logout HTTP/1.1", FORM, "Content-Length: 5", "Content-Length: 40", body=b"abcde"
    ),
    "a length and chunks": chunked(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", "Content-Length: 5"),
    "chunks and a length": message(
        "POST /logout HTTP/1.1",
        "Content-Length: 30",
        "Transfer-Encoding: chunked",
        body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    **{
        f"the encoding {encoding!r}": message(
            "POST /logout HTTP/1.1",
            FORM,
            f"Transfer-Encoding:{encoding}",
            "Content-Length: 5",
            body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        )
        for encoding in (
            *(" xchunked", " chunked, identity", " identity", " gzip", " gzip, chunked", " "),
            *("\tchunked", " \x0bchunked", " chunked\x00", " chunked;a=b", ' "chunked"'),
            " chunked\r\nTransfer-Encoding: identity",
        )
    },
    "an encoding with a space before its colon": message(
        "POST /logout HTTP/1.1",
        "Transfer-Encoding : chunked",
        "Content-Length: 5",
        body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    "an encoding on two lines": message(
        "POST /logout HTTP/1.1",
        "Transfer-Encoding:\r\n chunked",
        "Content-Length: 5",
        body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    ),
    "chunks in HTTP/1.0": message(
        "POST /logout HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    # --- Not HTTP ---
    "a header without a name": message("GET / HTTP/1.1", ": x"),
    "a header's name with a space": message("GET / HTTP/1.1", "X Y: z"),
    "a NUL in a header": message("GET / HTTP/1.1", "X: a\0b"),
    "a lone CR in a header": message("GET / HTTP/1.1", "X: a\rSet-Cookie: b=c"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "TLS on the plain port": bytes.fromhex("16030100c5010000c10303") + b"\r\n" * 97,
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "noise": bytes(range(256)) * 16 + b"\r\n\r\n",
    # --- Whose answer is it? ---
    "no host": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": message("GET / HTTP/1.1", "Host: localhost", "Host: evil.example"),
    "a host with a path": message("GET / HTTP/1.1", "Host: localhost/evil"),
    "a host with a user": message("GET / HTTP/1.1", "Host: evil@localhost"),
    "a host with a space": message("GET / HTTP/1.1", "Host: local host"),
    # --- Methods and addresses that nothing here has ---
    **{
        f"the method {method}": message(f"{method} / HTTP/1.1")
        for method in ("TRACE", "TRACK", "CONNECT", "DEBUG", "PUT", "DELETE", "PATCH", "OPTIONS")
    },
    "a method in small letters": message("get / HTTP/1.1"),
    "a method with signs": message("GE{T / HTTP/1.1"),
    "a connection to elsewhere": message("CONNECT evil.example:443 HTTP/1.1"),
    "no address": message("GET  HTTP/1.1"),
    "the address *": message("GET * HTTP/1.1"),
    "an address without a slash": message("GET login HTTP/1.1"),
    "an address with spaces": message("GET / / HTTP/1.1"),
    "a NUL in an address": message(b"GET /a\0b HTTP/1.1"),
    "an escaped NUL in an address": message("GET /%00 HTTP/1.1"),
    "an escaped line end in an address": message("GET /%0d%0aSet-Cookie:%20a=b HTTP/1.1"),
    "a broken escape in an address": message("GET /%zz HTTP/1.1"),
    "no UTF-8 in an address": message(b"GET /\xff\xfe HTTP/1.1"),
    "no UTF-8 escaped in an address": message("GET /%ff%fe%c0%af HTTP/1.1"),
    "another site's address": message("GET http://evil.example/ HTTP/1.1"),
    # --- Forms and cookies ---
    "no UTF-8 in a query": message("GET /login?next=%ff%fe HTTP/1.1"),
    "no UTF-8 in a form": form(b"name=%ff%fe&password=\xff\xfe"),
    "a form that is none": form(b"%" * 1000),
    "a form of NULs": form(b"\0" * 1000),
    "parts without a boundary": multipart(part("name"), boundary=""),
    "parts without an end": multipart(part("name")),
    "a part without headers": multipart(b"--x\r\n\r\n--x--\r\n"),
    "a part with broken headers": multipart(b"--x\r\n:\r\n\xff: \0\r\n\r\n\r\n--x--\r\n"),
    "a form in gzip": form(b"\x1f\x8b\x08" + b"\0" * 100, "Content-Encoding: gzip"),
    "a form in JSON": message(
        "POST /logout HTTP/1.1",
        "Content-Type: application/json",
        "Content-Length: 100000",
        body=b"[" * 100_000,
    ),
}

# Each is allowed by HTTP, or harmless; what matters is that it gets an answer, and whose. SESSION
# and XSRF stand for the names of the service's cookies.
ANSWERED = {
    "1,000 cookies": message("GET / HTTP/1.1", "Cookie: " + "; ".join(["a=b"] * 1000)),
    **{
        f"the cookies {cookies!r}": message("GET /account HTTP/1.1", b"Cookie: " + cookies)
        for cookies in (
            *(b"", b";", b"=", b"SESSION", b"SESSION=", b'SESSION="', b"SESSION=\xff\xfe"),
            *(b"\xff=\xfe", b"XSRF=\xff", b"XSRF=2|zz|zz|zz", b'XSRF="\\303"', b"a=b" * 1000),
            *(b"SESSION=1|2|3", b"SESSION=2|1:0|10:1|7:SESSION|4:eA==|x", b"SESSION=2|1:1|:|:|:|"),
            *(b"SESSION=2|" + b"9" * 5000, b"SESSION=2|1:0|-5:x|", b"SESSION=2|1:" + b"9" * 5000),
            b"XSRF=2|12345678|" + b"0" * 5000 + b"|1",
        )
    },
    **{
        f"the range {ranges}": message("GET /static/style.css HTTP/1.1", f"Range: {ranges}")
        for ranges in (
            *("bytes=-0", "bytes=0-", "bytes=9-1", "bytes=99999999-", "bytes=" + "9" * 5000 + "-"),
            *("bytes=" + "0-1," * 1500, "bytes=a-b", "lines=1-2", "bytes=\u0665-"),
        )
    },
    **{
        f"the condition {header}": message("GET /static/style.css HTTP/1.1", header)
        for header in (
            *("If-Modified-Since: never", "If-Modified-Since: Thu, 01 Jan 99999 00:00:00 GMT"),
            *("If-None-Match: " + '"a",' * 1500, 'If-None-Match: W/"', "If-Range: x"),
        )
    },
    "a header without a colon": message("GET / HTTP/1.1", "nonsense"),
    "a header's name that is no name": message("GET / HTTP/1.1", "X\xe9(): z"),
    "a header on two lines": message("GET / HTTP/1.1", "X: a\r\n b"),
    "HTTP/9.9": message("GET / HTTP/9.9"),
    "an empty host": message("GET / HTTP/1.1", "Host: "),
    "a host with a port that is none": message("GET / HTTP/1.1", "Host: localhost:99999"),
    "the address of this site in full": message("GET http://localhost/ HTTP/1.1"),
    "the same length twice": message(
        "POST /logout HTTP/1.1", FORM, "Content-Length: 3", "Content-Length: 3", body=b"a=b"
    ),
    "an upgrade that is none": message("GET /live HTTP/1.1", "Upgrade: websocket"),
    "an upgrade to HTTP/2": message(
        "GET / HTTP/1.1",
        "Connection: close, Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ),
    "a language that is none": message("GET / HTTP/1.1", "Accept-Language: x;q=nan,y;q=-1,,;"),
    "headers that a connection names": message(
        "GET / HTTP/1.1", "Connection: close, Host, X-Real-IP, X-Forwarded-Proto, X-Request-Id"
    ),
}

# Ways out of the folder of static files, one step each, and what lies outside.
STEPS = """
    .. %2e%2e .%2e %2E. %252e%252e ..%00 %c0%ae%c0%ae %e0%80%ae%e0%80%ae %uff0e%uff0e .... ..; ..%09
""".split()  # fmt: skip
SLASHES = ("/", "//", "%2f", "%5c", "\\", "%252f", "%c0%af", "%ef%bc%8f", "/./", ";/", "%00/")
OUTSIDE = ("settings.py", "app.py", "../../.env", "../../../../../../../../../../etc/passwd")
STARTS = ("/static/", "/static//", "/static%2f", "/static", "/", "/robots.txt/", "/static/%2f")
LEAKED = re.compile(rb"COOKIE_SECRET|class Settings|def make_app|root:.?:0:0|SQLite format 3")


@pytest.fixture(params=["through the balancer", "to a process"])
def port(request: pytest.FixtureRequest, stack: Stack) -> int:
    """Where an attack is sent."""
    direct = request.param == "to a process"
    return stack.worker_ports[0] if direct else stack.project.balancer_port


def test_invalid_requests_are_refused(port: int, stack: Stack) -> None:
    """Each gets one answer, its 4xx, or none, and the service works as before."""
    # 501 and 505 are nginx's words for an encoding or version of HTTP that it does not know.
    refusals = {*range(400, 500), 501, 505} - {429}
    with unharmed(stack):
        received = {name: conversation(port, attack) for name, attack in REFUSED.items()}
    for name, answer in received.items():
        assert len(statuses(answer)) <= 1, name
        assert set(statuses(answer)) <= refusals, name
        assert b"Set-Cookie: a=b" not in answer, name


def with_cookies_of(stack: Stack, attack: bytes) -> bytes:
    """The attack on this service's cookies."""
    project = stack.project
    named = attack.replace(b"SESSION", project.session_cookie.encode())
    return named.replace(b"XSRF", project.xsrf_cookie.encode())


def test_odd_requests_are_no_failure(port: int, stack: Stack) -> None:
    """Each gets one answer that is not an error of the service, which works as before."""
    with unharmed(stack):
        received = {
            name: exchange(port, with_cookies_of(stack, attack), seconds=5)
            for name, attack in ANSWERED.items()
        }
    for name, answers in received.items():
        # HAProxy drops requests for another host than the service's, or for none.
        assert len(answers) == 1 or (name, answers) == ("an empty host", []), name
        assert all(status < 500 or status == 505 for status in answers), name


def test_no_address_leads_out_of_the_static_folder(port: int, stack: Stack) -> None:
    """No spelling of a path gives access to sources, settings or the system's files."""
    addresses = {
        start + (step + slash) * (2 + file.count("../")) + file.removeprefix("../../")
        for start in STARTS
        for step in STEPS
        for slash in SLASHES
        for file in OUTSIDE
    }
    assert len(addresses) > 3000
    with unharmed(stack):
        for address in sorted(addresses):
            received = conversation(port, message(f"GET {address} HTTP/1.1"))
            assert not LEAKED.search(received), address
            assert all(status < 500 for status in statuses(received)), address


@pytest.fixture
def ways_out(stack: Stack) -> Iterator[list[str]]:
    """Addresses of symbolic links in the static folder that lead out of it."""
    static = stack.project.package / "static"
    links = {
        "to-a-file": static / "../settings.py",
        "to-secrets": "../../../.env",
        "to-a-folder": "..",
        "to-everything": "/",
    }
    try:
        for name, target in links.items():
            (static / name).symlink_to(target)
        yield [
            *("to-a-file", "to-secrets", "to-a-folder/settings.py"),
            *("to-everything/etc/passwd", f"to-everything{static}/../settings.py"),
        ]
    finally:
        for name in links:
            (static / name).unlink(missing_ok=True)


def test_no_symbolic_link_leads_out_of_the_static_folder(
    ways_out: list[str], port: int, stack: Stack
) -> None:
    """A file that is linked into the folder by mistake is not served."""
    with unharmed(stack):
        for address in ways_out:
            for query in ("", "?v=1"):
                line = f"GET /static/{address}{query} HTTP/1.1"
                received = conversation(port, message(line))
                assert statuses(received) in ([403], [404]), address
                assert not LEAKED.search(received), address


def test_nothing_is_smuggled_past_the_balancer(stack: Stack) -> None:
    """With contradictory lengths no hidden request runs, and each client gets its own answers."""
    hidden = [
        attack for attack in (*REFUSED.values(), *ANSWERED.values()) if b"/smuggled" in attack
    ]
    assert len(hidden) >= 15
    with unharmed(stack), stack.client() as neighbour:
        for number, attack in enumerate(hidden):
            lasting = attack.replace(b"Connection: close", b"Connection: keep-alive")
            for sent in (attack, lasting):
                with socket.create_connection(("127.0.0.1", stack.project.balancer_port)) as thief:
                    thief.sendall(sent)
                    for turn in range(len(stack.worker_ports) + 1):
                        mark = f"/{MARK}-{number}-{turn}"
                        page = neighbour.get("/login", params={"next": mark}).text
                        assert f'value="{mark}"' in page, sent
    assert not [entry for entry in stack.requests() if entry["path"] == "/smuggled"]


def test_clients_that_disconnect_early_leave_nothing(port: int, stack: Stack) -> None:
    """Clients that reset their connections, at any byte of a request, leave nothing behind."""
    whole = form(b"name=a&password=b")
    with unharmed(stack):
        for length in range(0, len(whole), 3):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                # Linger for no time: closing is a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                with contextlib.suppress(ConnectionError):
                    connection.sendall(whole[:length])
