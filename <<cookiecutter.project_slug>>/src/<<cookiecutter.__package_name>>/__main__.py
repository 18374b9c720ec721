"""`python -m << cookiecutter.__package_name >>` is the same as the command `<< cookiecutter.project_slug >>`."""

from .cli import run

if __name__ == "__main__":
    run()
