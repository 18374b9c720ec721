"""The guide's hello world, as the measure of what Tornado itself costs: hello.py PORT."""

import asyncio
import sys

import tornado.web


class MainHandler(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("Hello, world")


async def main() -> None:
    tornado.web.Application([(r"/", MainHandler)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
