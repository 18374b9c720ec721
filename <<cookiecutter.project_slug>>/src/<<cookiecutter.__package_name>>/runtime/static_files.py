# Part of the template: you need not edit this file.
"""Static files, for a process that is reached without a balancer that serves them from disk."""

import contextlib
import re
from pathlib import Path

from tornado.web import HTTPError, StaticFileHandler

from .handlers import PageHandler


class StaticFiles(StaticFileHandler, PageHandler):  # type: ignore[misc]
    """Files below /static/; `static_url` adds the hash of the content as the argument `v`.

    The page may be that of another release. Its files are in the store of published files; what is
    in neither, or has other content by now, no browser may keep.
    """

    # Files are for everybody.
    loads_session = False

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        # No file's name holds it, and the system refuses it in words that Tornado does not expect.
        if "\0" in absolute_path:
            raise HTTPError(404)
        if version := self._version_asked_for():
            published = str(Path(self.settings["published_path"], version, "static"))
            with contextlib.suppress(HTTPError):
                path = self.get_absolute_path(published, self.path)
                return super().validate_absolute_path(published, path)
        return super().validate_absolute_path(root, absolute_path)

    def set_extra_headers(self, path: str) -> None:
        self.set_header(
            "Cache-Control",
            "public, max-age=31536000, immutable" if self._is_what_was_asked_for() else "no-cache",
        )
        self.clear_header("Expires")

    def _version_asked_for(self) -> str | None:
        """Return the version in the address, if it can be one: it becomes part of a path."""
        (version,) = self.request.query_arguments.get("v", [b""])[:1]
        return version.decode() if re.fullmatch(rb"[0-9a-f]{128}", version) else None

    def _is_what_was_asked_for(self) -> bool:
        version = self._version_asked_for()
        assert self.absolute_path is not None
        return (
            version is not None
            and self.compute_etag() == f'"{version}"'
            # Tornado hashes a file once; it may have been replaced since.
            and self.get_content_version(self.absolute_path) == version
        )


class RootFile(StaticFiles):
    """The few files that clients look for at the root."""

    def initialize(self) -> None:  # type: ignore[override]
        super().initialize(path=self.settings["static_path"])
