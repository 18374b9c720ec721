"""The home page."""

from .base import PageHandler


class Home(PageHandler):
    async def get(self) -> None:
        await self.render("home.html")
