"""Refuse answers that no project can be made of, all at once, before a file is written."""

import json
import keyword
import os
import re
import shlex
import sys
import unicodedata
from pathlib import Path

# cookiecutter, whose interpreter runs this, is made of it.
from jinja2 import Environment

# tojson writes plain ASCII without quotes of its own, so an answer stays data whatever it holds.
try:
    ANSWERS = json.loads(r'''<< cookiecutter | tojson >>''')  # fmt: skip
except ValueError:
    # Older versions do not know the template's delimiters here.
    sys.exit(
        "This template needs cookiecutter 2.6 or later. Install it: "
        "pip install --upgrade 'cookiecutter>=2.6'"
    )

# Stands for a refused answer. It is refused itself, so that no project gets it by accident.
TO_FILL_IN = "?"

PORTS = range(1024, 65536)
MOST_PROCESSES = 64

# The service's package would hide these from itself, or they would hide it: what it imports, the
# commands beside its own in .venv/bin, and names that its files give to something else.
TAKEN = frozenset(
    """
    aiosqlite alembic annotated_types argon2 argon2_cffi argon2_cffi_bindings cffi dotenv greenlet
    mako markupsafe prometheus_client pycparser pydantic pydantic_core pydantic_settings
    python_dotenv sqlalchemy tornado typing_extensions typing_inspection tzdata uvloop asyncpg
    psycopg psycopg_binary psycopg_c psycopg_pool cryptography joserfc

    ast_serialize boolean boolean_py cachecontrol certifi cffi_gen_src cfgv charset_normalizer
    colorama coverage cyclonedx cyclonedx_python_lib defusedxml distlib doesitcache execnet filelock
    flit flit_core identify identify_cli idna iniconfig librt license_expression mako_render
    markdown_it markdown_it_py mdurl msgpack mypy mypy_extensions mypyc nodeenv normalizer
    packageurl packageurl_python packaging packaging_legacy_version pathspec pip_api pip_audit
    pip_requirements_parser platformdirs pluggy pre_commit py_serializable pygmentize pygments
    pyparsing pytest pytest_asyncio pytest_xdist python_discovery pyyaml requests rich ruff
    setuptools sortedcontainers supervisor tomli tomli_w types_pyyaml types_zxcvbn urllib3 uv uvx
    virtualenv xdist yaml zxcvbn

    google googleapis_common_protos opentelemetry opentelemetry_api
    opentelemetry_exporter_http_transport opentelemetry_exporter_otlp_common
    opentelemetry_exporter_otlp_proto_common opentelemetry_exporter_otlp_proto_http
    opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions protobuf sentry_sdk

    activate all dmypy echo_supervisord_conf pidproxy pip pip3 py python python3 stubgen stubtest
    supervisorctl supervisord wheel

    arg balancer conftest cookie src test tests upstream
    """.split()
)

# In the standard library of one Python that the service runs on, but not of every one.
STANDARD_SOMEWHERE = frozenset(
    """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr
    imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu
    xdrlib
    """.split()
)

# On a server the name is that of a user, a unit of systemd and a folder of certificates as well; a
# Debian server has these.
ON_SERVERS = frozenset(
    """
    adm admin audio backup bin cdrom crontab daemon debian dialout dip disk fax floppy games gnats
    haproxy input irc kmem kvm list lp mail man messagebus news nobody nogroup operator plugdev
    postgres proxy render root sasl sgx shadow src ssl-cert staff sudo sync sys systemd-network
    systemd-resolve systemd-timesync tape tty ubuntu users utmp uucp video voice www-data

    apparmor certbot cron dbus docker exim4 getty logrotate networking nftables nginx ntp postfix
    postgresql rsyslog snapd ssh sshd supervisor udev ufw unattended-upgrades

    certs private
    """.split()
)

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
MAILBOX = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"

UNPRINTABLE = {
    "Cc": "a control character",
    "Cs": "half a character",
    "Zl": "a line break",
    "Zp": "a paragraph break",
}
BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Cookiecutter on its command line and cruft at each update read an answer as a template once more.
TEMPLATE_MARKS = re.compile(r"<[%#<]|^\s*#%")


def text(longest):
    def check(answer):
        if not answer.strip(" " + TO_FILL_IN):
            return f"is empty; allowed are 1 to {longest} characters"
        if len(answer) > longest:
            return f"has {len(answer)} characters; allowed are 1 to {longest}"
        if answer != answer.strip():
            return "begins or ends with a space; allowed is text without them"
        if mark := TEMPLATE_MARKS.search(answer):
            return (
                f"contains {mark[0]!r}, which starts a template command; allowed is text without it"
            )
        return None

    return check


def printable(answer):
    for character in answer:
        kind = UNPRINTABLE.get(unicodedata.category(character))
        if character in BIDI:
            kind = "a character that reverses the text around it"
        if kind:
            return f"contains {kind} (U+{ord(character):04X}); allowed is one line of plain text"
    return None


def slug(answer):
    # On a server it is the name of a user as well, and Linux takes 32 characters for that.
    if len(answer) > 32 or not re.fullmatch(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", answer):
        return (
            f"is {answer!r}; allowed are at most 32 lower-case letters and digits, in words joined "
            "by single hyphens, a letter first"
        )
    package = answer.replace("-", "_")
    standard = {*getattr(sys, "stdlib_module_names", ()), *STANDARD_SOMEWHERE}
    for taken, by in (
        (keyword.iskeyword(package), "a word of Python's own"),
        (package in standard, "a module of Python's standard library"),
        (package in TAKEN, "what the service itself uses under that name"),
    ):
        if taken:
            return f"is {answer!r}, and the package {package} would clash with {by}; take another"
    if answer in ON_SERVERS:
        return f"is {answer!r}, a name in use on Debian servers; take another"
    return None


def email(answer):
    mailbox, _, host = answer.rpartition("@")
    if not re.fullmatch(MAILBOX, mailbox) or not is_host_name(host):
        return f"is {answer!r}; allowed is an address like name@example.com"
    return None


def domain(answer):
    if not is_host_name(answer):
        return (
            f"is {answer!r}; allowed is a host name in lower case, like example.com, without "
            "scheme, port or path"
        )
    return None


def is_host_name(answer):
    return len(answer) < 254 and all(re.fullmatch(LABEL, part) for part in answer.split("."))


def process_count(answer):
    if not is_number(answer) or int(answer) > MOST_PROCESSES:
        return f"is {answer!r}; allowed is a number from 1 to {MOST_PROCESSES}"
    return None


def first_port(answer):
    if not is_number(answer) or int(answer) not in PORTS:
        return f"is {answer!r}; allowed is a number from {PORTS[0]} to {PORTS[-1]}"
    # The port for https is the highest of all, since there are at most 64 processes.
    if int(ANSWERS["__https_port"]) not in PORTS:
        return (
            f"is {answer!r}, which puts https on port {ANSWERS['__https_port']}; "
            f"allowed are ports up to {PORTS[-1]}"
        )
    return None


def is_number(answer):
    # No leading zero: the answer stands as it is in Python and in configuration files.
    return re.fullmatch(r"[1-9][0-9]{0,4}", answer)


def of_a_fork(name):
    """The check of a text that only a fork asks for: its rule in `_rules`, or any short text."""
    if name not in ANSWERS.get("_rules", {}):
        return text(200)
    pattern, allowed = ANSWERS["_rules"][name]

    def check(answer):
        return None if re.fullmatch(pattern, answer) else f"is {answer!r}; allowed: {allowed}"

    return check


CHECKS = (
    ("project_name", text(60)),
    ("project_slug", slug),
    ("description", text(200)),
    ("author_name", text(100)),
    ("author_email", email),
    ("domain_name", domain),
    ("first_port", first_port),
    ("process_count", process_count),
)


def given_though_derived():
    """The names of derived values that were given: no check looks at what those are."""
    # Cookiecutter runs this from the template's folder, which it may know by a relative path only.
    folders = (f"/proc/{os.getppid()}/cwd", ANSWERS.get("_repo_dir", ""))
    files = [file for folder in folders if (file := Path(folder, "cookiecutter.json")).exists()]
    if not files:
        return
    context = json.loads(files[0].read_text(encoding="utf-8"))
    environment = Environment(**context["_jinja2_env_vars"])  # noqa: S701 - no HTML
    for name, derived in context.items():
        if name.startswith("__") and name != "__prompts__":
            right = environment.from_string(derived).render(cookiecutter=ANSWERS)
            if ANSWERS[name] != right:
                yield name


def problems():
    known = dict(CHECKS)
    others = [name for name in ANSWERS if not name.startswith("_") and name not in known]
    for name, check in (*CHECKS, *((name, of_a_fork(name)) for name in others)):
        answer = str(ANSWERS[name])
        if problem := printable(answer) or check(answer):
            yield name, problem


def same_again(refused):
    """The command that repeats all answers, with the refused ones last, to be filled in."""
    call = ["cookiecutter", "--no-input"]
    if ANSWERS.get("_checkout"):
        call += ["--checkout", ANSWERS["_checkout"]]
    call += [ANSWERS["_template"]]
    accepted = [name for name in ANSWERS if not name.startswith("_") and name not in refused]
    call += [f"{name}={ANSWERS[name]}" for name in accepted]
    call += [f"{name}={TO_FILL_IN}" for name in refused]
    return shlex.join(call)


if found := dict(problems()):
    print("No project made. Invalid answers:", file=sys.stderr)
    for name, problem in found.items():
        print(f"  {name} {problem}.", file=sys.stderr)
    print("Run this again; replace each question mark:", file=sys.stderr)
    print(f"  {same_again(found)}", file=sys.stderr)
    sys.exit(1)

# Only from answers that are good can anything be derived.
if given := list(given_though_derived()):
    print("No project made. Derived values must not be given:", file=sys.stderr)
    for name in given:
        print(
            f"  {name} does not match the answers; leave it out"
            " (with cruft: cruft update --refresh-private-variables).",
            file=sys.stderr,
        )
    sys.exit(1)
