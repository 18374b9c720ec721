"""`python -m << cookiecutter.__package_name >>` is the same as the command `<< cookiecutter.project_slug >>`."""

import gc

# Imported modules stay: collecting garbage during the imports takes a seventh of their time.
gc.disable()
from .cli import run  # noqa: E402

gc.enable()

if __name__ == "__main__":
    run()
