# Part of the template: you need not edit this file.
"""How a process lives: server, drain, base handlers, health, logs, metrics.

Nothing in here knows your pages, endpoints or tables; `app.py` and `cli.py` hand it what it needs.
"""

from . import fast  # noqa: F401 - without this line and the file all works the same, only slower
