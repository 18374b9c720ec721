"""The home page."""

from .base import Page


class Home(Page):
    async def get(self) -> None:
        await self.render("home.html")
