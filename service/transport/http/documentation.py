"""`/docs`: Swagger UI with its scripts from this server, so that the page works where there is no way out."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

_ASSETS = "/docs/assets"


def add_documentation(app: FastAPI) -> None:
    """Serve the OpenAPI document as a page. The application must have been made without its own `/docs`."""
    directory = files("fastapi_offline").joinpath("static")
    app.mount(_ASSETS, StaticFiles(directory=str(directory)), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The page; it reads `/openapi.json`."""
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "/openapi.json",
            title=f"{app.title} {app.version}",
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon.png",
        )
