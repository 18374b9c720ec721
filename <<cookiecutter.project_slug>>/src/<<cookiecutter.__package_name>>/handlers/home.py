"""The home page."""

from ..runtime.handlers import Page


class Home(Page):
    async def get(self) -> None:
        await self.render("home.html")
