"""How a process lives: server, drain, base handlers, health, logs, metrics. The template's, not yours.

Nothing in here knows your pages, endpoints or tables; `app.py` and `cli.py` hand it what it needs.
"""
