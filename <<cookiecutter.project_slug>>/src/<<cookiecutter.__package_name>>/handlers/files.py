"""Static files, for a process that is reached without a balancer that serves them from disk."""

from tornado.web import HTTPError, StaticFileHandler

from .base import Page


class StaticFiles(StaticFileHandler, Page):  # type: ignore[misc]
    """Files below /static/; `static_url` adds the hash of the content as the argument `v`."""

    def set_default_headers(self) -> None:
        """None but those of all answers; how long to keep a file depends on its address."""

    def prepare(self) -> None:
        """Ask nobody who they are: files are for everybody."""

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        # No file's name holds it, and the system refuses it in words that Tornado does not expect.
        if "\0" in absolute_path:
            raise HTTPError(404)
        return super().validate_absolute_path(root, absolute_path)

    def set_extra_headers(self, path: str) -> None:
        versioned = "v" in self.request.query_arguments
        self.set_header(
            "Cache-Control", "public, max-age=31536000, immutable" if versioned else "no-cache"
        )
        self.clear_header("Expires")


class RootFile(StaticFiles):
    """The few files that clients look for at the root."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize(path=self.settings["static_path"])
