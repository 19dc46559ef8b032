"""A receiver of webhooks that costs little: `python -m benchmarks.receiver PORT`.

It takes events at `/`, refuses them with 503 after `PUT /closed` until `PUT /open`, and tells at
`/taken` how many different ones it has taken.
"""

import sys

from aiohttp import web


def main() -> None:
    """Serve until killed."""
    taken: set[str] = set()
    doors = {"open": True}

    async def take(request: web.Request) -> web.Response:
        if not doors["open"]:
            return web.Response(status=503)
        taken.add(request.headers["webhook-id"])
        return web.Response(status=204)

    async def move(request: web.Request) -> web.Response:
        doors["open"] = request.path == "/open"
        return web.Response(status=204)

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(len(taken))

    app = web.Application()
    app.add_routes([web.post("/", take), web.put("/{door:open|closed}", move)])
    app.add_routes([web.get("/taken", tell)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None)


if __name__ == "__main__":
    main()
