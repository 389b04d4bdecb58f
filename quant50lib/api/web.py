"""The page for people: static files that read the API like any other client."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent / "static"
TYPES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def router() -> APIRouter:
    """The page and what it is made of; nothing private is in it."""
    web = APIRouter(include_in_schema=False)

    @web.get("/")
    def page() -> FileResponse:
        return FileResponse(FOLDER / "index.html", media_type="text/html; charset=utf-8")

    for name, media_type in TYPES.items():
        web.add_api_route(f"/static/{name}", _file(FOLDER / name, media_type))
    return web


def _file(path: Path, media_type: str):  # type: ignore[no-untyped-def]
    def file() -> FileResponse:
        return FileResponse(path, media_type=media_type)

    return file
