"""Headers of listings: Link to the next page, ETag, Content-Encoding."""

from runmeter.gateway.web.encoding import accepts_gzip
from runmeter.gateway.web.request import GatewayRequest


def listing_headers(etag: str, following: str | None) -> dict[str, str]:
    """Make the headers of a listing; ``following`` is the address of the next page or None."""
    headers = {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}
    if following is not None:
        headers["Link"] = f'<{following}>; rel="next"'
    return headers


def wants_gzip(request: GatewayRequest, headers: dict[str, str]) -> bool:
    """Return whether to compress, and complete the headers: each coding has its own ETag."""
    headers["Vary"] = "Accept-Encoding"
    if not accepts_gzip(request.headers.getall("accept-encoding", [])):
        return False
    headers["ETag"] = headers["ETag"].removesuffix('"') + '-gzip"'
    return True


def is_known(request: GatewayRequest, headers: dict[str, str]) -> bool:
    """Return whether If-None-Match has this ETag; weak comparison, RFC 9110 13.1.2."""
    sent = request.headers.getall("if-none-match", [])
    tags = [tag.strip() for value in sent for tag in value.split(",")]
    return "*" in tags or headers["ETag"] in (tag.removeprefix("W/") for tag in tags)
