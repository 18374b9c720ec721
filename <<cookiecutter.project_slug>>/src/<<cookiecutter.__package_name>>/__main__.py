"""`python -m << cookiecutter.__package_name >>` is the same as the command `<< cookiecutter.project_slug >>`."""

import gc

# All that is loaded stays: looking for garbage in it meanwhile takes a seventh of the time.
gc.disable()
from .cli import run  # noqa: E402

gc.enable()

if __name__ == "__main__":
    run()
