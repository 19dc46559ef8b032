"""Which requests are let in: from whom, through which name, and from which site.

A browser sends requests to this service for any page that asks it to. What browsers say of such
requests, and other clients do not send, tells them apart: `Sec-Fetch-Site`, `Origin` and `Host`.
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import logging
import urllib.parse
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from flask import Blueprint, current_app, g, request

from api.keys import authenticate, authenticate_cookie
from api.options import Options
from api.problems import CHALLENGE, Problem
from api.rate import SparingLog, wrong_key_rate
from bookings import Caller
from shared import host_name, is_known_host, is_loopback

logger = logging.getLogger(__name__)

KeyNeeded = Literal["always", "if sent", "never"]
"""When a view needs a good API key. `if sent` is for pages that a browser opens, which sends no key
then: without a key the caller is `None`, and the page asks for one. A wrong key is refused."""
KEY_NEEDED = "key_needed"
View = TypeVar("View", bound=Callable[..., Any])
CODEC = ("codec.decode", "codec.encode")
"""What Temporal's Web UI, a site of its own, asks for."""
CODEC_COOKIE = "codec"
"""The name of the cookie by which it may."""
METRICS = "api.metrics"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def needs_key(when: KeyNeeded) -> Callable[[View], View]:
    """Mark a view that does not always need an API key: `never`, because it tells of no trip."""

    def mark(view: View) -> View:
        setattr(view, KEY_NEEDED, when)
        return view

    return mark


def key_needed(view: Callable[..., Any] | None) -> KeyNeeded:
    """Return when a view needs an API key: always, unless it is marked."""
    return getattr(view, KEY_NEEDED, "always")


def install_access(routes: Blueprint, options: Options) -> None:
    """Refuse what a foreign page sends, and what nobody proves to be theirs.

    A good key is let in also from an address that sends wrong ones: it may be a proxy's.
    """
    wrong_keys = wrong_key_rate()

    @routes.before_app_request
    def refuse_foreign() -> None:
        # Only the name gives a page away whose own name is made to lead here (DNS rebinding). Where
        # there are keys, the page has none. What is no browser may send no name.
        host = request.headers.get("Host", "localhost")
        if options.local_only and not is_loopback(host_name(host)):
            raise Problem(
                403,
                "Without API keys the service answers to localhost only, and this request has "
                f"{_shown('Host')}. Set API_KEYS, or ALLOW_ANONYMOUS=1 to serve anyone.",
            )
        if not (options.keys or is_known_host(host, options.host_names)):
            raise Problem(
                421,
                "Without API keys the service answers only to names that it knows, and this "
                f"request has {_shown('Host')}. If the name is the service's own, add it to "
                "ALLOWED_HOSTS, or set PUBLIC_URL to where people reach it.",
            )
        asked_by_ui = request.endpoint in CODEC and is_of_web_ui(options)
        if request.method not in SAFE_METHODS and is_cross_site(options) and not asked_by_ui:
            raise Problem(
                403,
                f"The request was sent by a page of another site: it has {_shown('Host')}, "
                f"{_shown('Origin')}, {_shown('Sec-Fetch-Site')}. If the page is this service's "
                "own, set PUBLIC_URL to where people reach it"
                + (f"; it is {options.public_url}." if options.public_url else "."),
            )

    @routes.before_app_request
    def know_caller() -> None:
        # A browser asks without a key whether it may ask with one (CORS).
        asks_leave = request.endpoint in CODEC and request.method == "OPTIONS"
        needed = key_needed(current_app.view_functions.get(request.endpoint or ""))
        if needed == "never" or asks_leave:
            return
        authorization = sent = request.headers.get("Authorization")
        found = authenticate(authorization, options.keys)
        if found is None and request.endpoint in CODEC:
            cookie = request.cookies.get(CODEC_COOKIE)
            sent = sent or cookie
            found = authenticate_cookie(cookie, options.keys)
        if found is None and sent:
            _log(logging.WARNING, "wrong API keys", "A wrong API key, from %s", request.remote_addr)
            wrong_keys.admit(str(request.remote_addr))
        if found is None and (authorization or needed == "always"):
            raise Problem(
                401,
                "Send an API key as `Authorization: Bearer <key>`.",
                headers={"WWW-Authenticate": CHALLENGE},
            )
        if found and found.metrics_only and request.endpoint != METRICS:
            log_of(found, logging.WARNING, "may read /metrics and nothing else")
            raise Problem(403, "This API key may read /metrics and nothing else.")
        g.caller = found


def caller() -> Caller:
    """Return who the current request comes from."""
    return cast(Caller, g.caller)


def operator(may: str = "repair an undo") -> Caller:
    """Return who the current request comes from. Raises `Problem`, 403, if no operator.

    `may` is what only an operator may do.
    """
    who = caller()
    if not who.operator:
        log_of(who, logging.WARNING, f"may not {may}")
        raise Problem(403, f"Only an operator may {may}.")
    return who


def log_of(who: Caller, level: int, what: str) -> None:
    """Log what the caller of the current request does. Callers do not crowd each other out."""
    said = f"Caller {who.name} {what}"
    _log(level, said, "%s, from %s", said, request.remote_addr)


def _log(level: int, kind: str, message: str, *args: object) -> None:
    """Log an event of the current request, and not too many of its kind."""
    sparing: SparingLog = current_app.extensions.setdefault("sparing_log", SparingLog(logger))
    sparing.log(level, kind, message, *args)


def is_of_web_ui(options: Options) -> bool:
    """Tell whether a browser sends the current request for a page of Temporal's Web UI."""
    return request.headers.get("Origin", "").lower() == _origin_of(options.temporal_ui_url)


def _origin_of(url: str) -> str:
    """Return the origin of a page, as browsers write it."""
    parts = urllib.parse.urlsplit(url.lower())
    return f"{parts.scheme}://{parts.netloc}".removesuffix(DEFAULT_PORTS[parts.scheme])


def _shown(header: str) -> str:
    """Return a header of the current request as a refusal shows it."""
    value = request.headers.get(header)
    return f"no {header}" if value is None else f"`{header}: {value[:100]}`"


def is_cross_site(options: Options) -> bool:
    """Tell whether a browser sends the current request for a page of another site."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        # `none` is a user's own doing: a bookmark, the address bar.
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    if options.public_url is not None:
        return origin.lower() != _origin_of(options.public_url)
    scheme, _, place = origin.lower().partition("://")
    default_port = DEFAULT_PORTS.get(scheme, "")
    own = request.headers.get("Host", "").lower()
    return place.removesuffix(default_port) != own.removesuffix(default_port)


def local_url() -> str | None:
    """Return where the current request says that the service is, if that is this machine.

    Of another host the request does not say whether it is reached by http or by https.
    """
    return f"http://{request.host}" if is_loopback(host_name(request.host)) else None
