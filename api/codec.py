"""The codec server: decodes for Temporal's Web UI and CLI what is encrypted, for operators.

By Temporal's protocol: payloads in Protobuf's JSON, in and out. What encrypts is given to it.
https://docs.temporal.io/production-deployment/data-encryption

The Web UI runs on a site of its own and can send no API key, only a cookie; a page of ours gets it
one, for a key.
"""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from flask import Blueprint, Response, request

from api.access import CODEC_COOKIE, is_of_web_ui, log_of, needs_key, operator
from api.keys import CODEC_SECONDS, authenticate_cookie, codec_token
from api.options import Options
from api.problems import CHALLENGE, Problem
from api.server import MAX_UPLOAD_BYTES

Converting = Callable[[bytes], Awaitable[bytes]]
"""Takes the body of a request and returns that of its answer. Raises `ValueError`, which says what
is wrong with the body."""


class Withdrawn(Protocol):
    """What remembers the cookies that were given back."""

    async def add(self, cookie: str) -> None:
        """Remember a cookie."""

    async def has(self, cookie: str) -> bool:
        """Tell whether a cookie was given back."""


def create_codec(
    encode_json: Converting, decode_json: Converting, options: Options, withdrawn: Withdrawn
) -> Blueprint:
    """Return the codec server's routes."""
    routes = Blueprint("codec", __name__, url_prefix="/codec")

    @routes.before_request
    def refuse_strangers() -> None:
        if not (options.keys or options.local_only):
            raise Problem(403, "Beyond loopback only API keys can decode: set API_KEYS.")

    @routes.before_request
    def take_longer_bodies() -> None:
        # A payload of ours has a few kB; the Web UI and the CLI send those of an event at once.
        request.max_content_length = MAX_UPLOAD_BYTES

    @routes.after_request
    def allow_web_ui(response: Response) -> Response:
        """Let the Web UI's pages, and no other site's, read the answer (CORS)."""
        response.headers["Vary"] = "Origin"
        if is_of_web_ui(options):
            response.headers.update(
                {
                    "Access-Control-Allow-Origin": request.headers["Origin"],
                    "Access-Control-Allow-Credentials": "true",
                    "Access-Control-Allow-Headers": "authorization, content-type, x-namespace",
                    "Access-Control-Max-Age": "600",
                }
            )
        return response

    for name, convert in (("decode", decode_json), ("encode", encode_json)):
        view = functools.partial(_converted, name, convert, withdrawn)
        routes.add_url_rule(f"/{name}", name, view, methods=["POST"])

    @routes.post("/cookie")
    def give_cookie() -> Response:
        """Let the Web UI in this browser decode, for hours; a button of the pages asks for it."""
        who = operator("have the Web UI decode")
        log_of(who, logging.INFO, "takes a cookie for the codec")
        response = Response("<span>The Web UI decodes</span>", mimetype="text/html")
        token = codec_token(request.headers.get("Authorization", "").partition(" ")[2].strip())
        response.set_cookie(CODEC_COOKIE, token, max_age=CODEC_SECONDS, **cookie_attributes())
        return response

    @routes.delete("/cookie")
    @needs_key("never")
    async def take_cookie_away() -> Response:
        """Have the cookie be good nowhere any more, whether or not its key is."""
        cookie = request.cookies.get(CODEC_COOKIE, "")
        if authenticate_cookie(cookie, options.keys):
            await withdrawn.add(cookie)
        response = Response(status=204)
        response.delete_cookie(CODEC_COOKIE, **cookie_attributes())
        return response

    def cookie_attributes() -> dict[str, Any]:
        # A page that came over https, this one or the Web UI's, cannot ask over http.
        pages = options.temporal_ui_url, request.headers.get("Origin", "")
        return {
            "path": f"{request.script_root}/codec",
            "httponly": True,
            "secure": any(page.lower().startswith("https:") for page in pages),
            "samesite": "Strict",
        }

    return routes


async def _converted(name: str, convert: Converting, withdrawn: Withdrawn) -> Response:
    cookie = request.cookies.get(CODEC_COOKIE)
    if cookie and "Authorization" not in request.headers and await withdrawn.has(cookie):
        raise Problem(401, "This cookie was given back.", headers={"WWW-Authenticate": CHALLENGE})
    log_of(operator("read what is encrypted"), logging.INFO, f"has the codec {name}")
    try:
        return Response(await convert(request.get_data()), mimetype="application/json")
    except ValueError as error:
        raise Problem(400, str(error)) from None
