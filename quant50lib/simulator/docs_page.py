"""An OpenAPI document as one page for people, with nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{font:600 1rem ui-monospace,monospace;margin:2rem 0 .2rem}pre{background:#8881;padding:.6rem;
overflow:auto;font-size:13px}summary{cursor:pointer}:root{color-scheme:light dark}"""


def docs_route() -> APIRouter:
    """GET /docs."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return Response(page(request.app.openapi()), media_type="text/html")

    return router


def page(document: dict[str, Any]) -> str:
    """The document as HTML: each call with its parameters and bodies, then every shape."""
    info = document["info"]
    head = f"<h1>{escape(info['title'])}</h1><p>{escape(info.get('description', ''))}</p>"
    calls = [
        _call(method, path, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    shapes = [
        f'<h2 id="{name}">{name}</h2>{_pre(shape)}'
        for name, shape in document.get("components", {}).get("schemas", {}).items()
    ]
    body = "".join([head, *calls, "<h1>Shapes</h1>", *shapes])
    title = escape(info["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style>{body}</html>"
    )


def _call(method: str, path: str, call: dict[str, Any]) -> str:
    parts = [f"<h2>{method.upper()} {escape(path)}</h2>"]
    parts.append(f"<p>{escape(call.get('description') or call.get('summary', ''))}</p>")
    names = ", ".join(p["name"] for p in call.get("parameters", ()))
    parts += [f"<p>Parameters: {escape(names)}</p>"] if names else []
    for word, holder in (("Takes", call.get("requestBody")), *_replies(call)):
        shape = _shape(holder)
        parts += [f"<details><summary>{word}</summary>{_pre(shape)}</details>"] if shape else []
    return "".join(parts)


def _replies(call: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(f"Gives {status}", reply) for status, reply in call.get("responses", {}).items()]


def _shape(holder: Any) -> Any:
    content = (holder or {}).get("content", {})
    return content.get("application/json", {}).get("schema")


def _pre(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
