# Part of the template: you need not edit this file.
"""Static files, for a process without a balancer that serves them from disk."""

import contextlib
import re
from pathlib import Path

from tornado.web import HTTPError, StaticFileHandler

from .handlers import PageHandler


class StaticFiles(StaticFileHandler, PageHandler):  # type: ignore[misc]
    """Files below /static/; `static_url` adds the hash of the content as the argument `v`.

    The page may be that of another release, whose files are in the published store. A file in
    neither place, or with other content, must not be cached.
    """

    # Files are public.
    loads_session = False

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        # No file name contains it, and Tornado does not handle the system's error: it would be a 500.
        if "\0" in absolute_path:
            raise HTTPError(404)
        if version := self._requested_version():
            published = str(Path(self.settings["published_path"], version, "static"))
            with contextlib.suppress(HTTPError):
                path = self.get_absolute_path(published, self.path)
                return super().validate_absolute_path(published, path)
        return super().validate_absolute_path(root, absolute_path)

    def set_extra_headers(self, path: str) -> None:
        self.set_header(
            "Cache-Control",
            "public, max-age=31536000, immutable" if self._has_requested_version() else "no-cache",
        )
        self.clear_header("Expires")

    def _requested_version(self) -> str | None:
        """Return the version in the URL if it is valid: it becomes part of a path."""
        (version,) = self.request.query_arguments.get("v", [b""])[:1]
        return version.decode() if re.fullmatch(rb"[0-9a-f]{128}", version) else None

    def _has_requested_version(self) -> bool:
        version = self._requested_version()
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
