"""`python -m tests.pages.browser.firefox OPTIONS`: Debian's Firefox, as Playwright can drive it.

Playwright drives a Firefox that it has not built by WebDriver BiDi. For each new window Playwright
1.65 sends `emulation.setMediaFeaturesOverride`. Firefox 153 does not know that command, and
Playwright gives up. No test here needs it, so this stands between the two and says yes.
"""

import asyncio
import json
import re
import signal
import sys

from aiohttp import ClientSession, ClientWebSocketResponse, web

LISTENS = re.compile(r"(?<=WebDriver BiDi listening on )ws://\S+")
UNKNOWN = "emulation.setMediaFeaturesOverride"


async def pass_on(playwright: web.WebSocketResponse, firefox: ClientWebSocketResponse) -> None:
    """Give Firefox each command that it knows."""
    async for message in playwright:
        command = json.loads(message.data)
        if command["method"] == UNKNOWN:
            answer = {"type": "success", "id": command["id"], "result": {}}
            await playwright.send_json(answer)
        else:
            await firefox.send_str(message.data)
    await firefox.close()


async def listen(firefox_url: str) -> str:
    """Listen for Playwright and return the URL."""

    async def session(request: web.Request) -> web.WebSocketResponse:
        playwright = web.WebSocketResponse(max_msg_size=0)
        await playwright.prepare(request)
        async with (
            ClientSession() as http,
            http.ws_connect(f"{firefox_url}/session", max_msg_size=0) as firefox,
        ):
            passing = asyncio.create_task(pass_on(playwright, firefox))
            async for message in firefox:
                await playwright.send_str(message.data)
            passing.cancel()
        await playwright.close()
        return playwright

    app = web.Application()
    app.router.add_get("/session", session)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"ws://127.0.0.1:{runner.addresses[0][1]}"


async def main() -> int:
    """Run Firefox to its end. Say where Playwright can reach it, with the words of Firefox."""
    firefox = await asyncio.create_subprocess_exec(
        "firefox-esr", *sys.argv[1:], stderr=asyncio.subprocess.PIPE
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, firefox.terminate)
    assert firefox.stderr
    async for line in firefox.stderr:
        said = line.decode(errors="replace")
        if found := LISTENS.search(said):
            said = LISTENS.sub(await listen(found[0]), said)
        sys.stderr.write(said)
        sys.stderr.flush()
    return await firefox.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
