"""The answer to an address that the service does not have."""

from tornado.web import HTTPError

from ..runtime.handlers import Page, Uniform


class NotFound(Page):
    """Answers 404: a page for people, JSON below /api/."""

    def prepare(self) -> None:
        raise HTTPError(404)

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that could be forged; without this a POST would be told 403."""

    def check_trusted_origin(self, origin: str) -> bool:
        return True

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        kind = Uniform if self.request.path.startswith("/api/") else Page
        kind.show_error(self, status, message, shown_traceback)
