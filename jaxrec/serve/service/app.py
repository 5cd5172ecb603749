"""The routes of the service."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

import jaxrec
from jaxrec.errors import JaxrecError, closest
from jaxrec.serve.service import inference
from jaxrec.serve.service.guard import Guard
from jaxrec.serve.service.service import Service
from jaxrec.serve.service.wire import FIELDS, Chat, Events, Explain, Infer, Items, ProfileOf, Recommend, Similar
from jaxrec.serve.service.worker import Busy

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
FAULTS = {
    400: {"description": "The body is no JSON, or the artifact cannot answer it"},
    401: {"description": "The token is missing"},
    413: {"description": "The body is too large"},
    503: {"description": "Too many requests wait, or the service is not ready"},
    504: {"description": "Not answered by the deadline"},
}


class StrictRequest(Request):
    """Reads JSON as the standard has it: no NaN, no number out of range, no bottomless nesting."""

    async def json(self) -> Any:
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON that can be read: {str(error)[:120]}") from None


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


def make_app(service: Service, token: str | None = None) -> FastAPI:
    """The application around a service that is started and stopped with it."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if service.live is None:
            service.start()
        yield
        service.stop()

    app = FastAPI(
        title="jaxrec", version=jaxrec.__version__, lifespan=life, docs_url=None, redoc_url=None, responses=FAULTS
    )
    app.add_middleware(Guard, meters=service.meters, token=token)
    _errors(app, service)
    app.include_router(_health(service))
    app.include_router(_first_version(service))
    app.include_router(_open_inference(service))
    return app


def _first_version(service: Service) -> APIRouter:
    """All answer with a JSONResponse of their own: plain values, which need no check on their way out."""
    v1 = APIRouter(prefix="/v1", route_class=StrictRoute)

    @v1.post("/recommend")
    async def recommend(body: Recommend) -> JSONResponse:
        """The best items for a user, a history, features or a sentence, in any mix."""
        return JSONResponse(await service.recommend(body))

    @v1.post("/explain")
    async def explain(body: Explain) -> JSONResponse:
        """Why these items: by how much each score falls without each past item, the words and the features."""
        return JSONResponse(await service.explain(body))

    @v1.post("/chat")
    async def chat(body: Chat) -> JSONResponse:
        """A conversation: its wish as a query and filters, items that fit, and a reply that names one of them."""
        return JSONResponse(await service.chat(body))

    @v1.post("/similar")
    async def similar(body: Similar) -> JSONResponse:
        """The items nearest to one."""
        return JSONResponse(await service.similar(body))

    @v1.post("/profile")
    async def profile(body: ProfileOf) -> JSONResponse:
        """Weighted tags of a user, a history or an item, with evidence."""
        return JSONResponse(await service.profile(body))

    @v1.post("/events")
    async def events(body: Events) -> JSONResponse:
        """Keep what users did. Answered when it is on the disk; the next answer knows it."""
        return JSONResponse(await service.keep(body.events))

    @v1.post("/items")
    async def items(body: Items) -> JSONResponse:
        """Describe items, so that the next answer ranks them."""
        return JSONResponse(await service.describe(body.items))

    @v1.get("/items")
    async def search(q: str = "", k: int = 10) -> JSONResponse:
        """Items by the beginning of a word of their title."""
        return JSONResponse({"items": service.live.search(q[:200], max(1, min(k, 50)))})

    @v1.get("/map")
    async def item_map() -> JSONResponse:
        """Where the items lie, by their texts or profiles, in two dimensions."""
        return JSONResponse(service.live.item_map)

    @v1.get("/model")
    async def model() -> JSONResponse:
        """What answers."""
        return JSONResponse(service.live.about | {"other": service.second.version if service.second else None})

    @v1.get("/drift")
    async def drift() -> JSONResponse:
        """How far incoming events are from those of training."""
        return JSONResponse(service.drift())

    @v1.post("/reload")
    async def reload() -> JSONResponse:
        """Load the artifact's directory again; the old one answers until the new one has passed its self-test."""
        return JSONResponse({"model": await service.reload()})

    return v1


def _open_inference(service: Service) -> APIRouter:
    v2 = APIRouter(prefix="/v2", route_class=StrictRoute)

    def known(name: str) -> None:
        if name != service.live.recommender.manifest.name:
            raise HTTPException(404, "there is no model of that name here, see /v2/models")

    @v2.get("")
    async def server() -> dict[str, Any]:
        return {"name": "jaxrec", "version": jaxrec.__version__, "extensions": []}

    @v2.get("/health/live")
    async def alive() -> dict[str, bool]:
        return {"live": True}

    @v2.get("/health/ready")
    async def all_ready() -> dict[str, bool]:
        return {"ready": _ready(service)}

    @v2.get("/models")
    async def models() -> dict[str, Any]:
        return {"models": [service.live.recommender.manifest.name]}

    @v2.get("/models/{name}")
    async def about(name: str) -> dict[str, Any]:
        known(name)
        return inference.metadata(service.live)

    @v2.get("/models/{name}/ready")
    async def ready(name: str) -> dict[str, Any]:
        known(name)
        return {"name": name, "ready": _ready(service)}

    @v2.post("/models/{name}/infer")
    async def infer(name: str, body: Infer) -> dict[str, Any]:
        """Item rows in, the best item rows out."""
        known(name)
        live = service.live
        *arrays, askers = inference.arrays_of(live, body)
        scores, rows = await service.infer(live, arrays)
        return inference.outputs_of(live, body, scores, rows, askers)

    return v2


def _health(service: Service) -> APIRouter:
    health = APIRouter()

    @health.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @health.get("/readyz")
    async def ready() -> dict[str, str]:
        """Once the artifact is loaded and its programs are compiled."""
        _ready(service)
        return {"status": "ready"}

    @health.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        text = service.meters.text(service.device.depth, service.drift())
        return Response(text, media_type="text/plain; version=0.0.4")

    for path, (name, kind) in PAGE.items():
        health.add_api_route(path, _file(name, kind), include_in_schema=False)
    return health


def _file(name: str, kind: str) -> Callable:
    content = resources.files("jaxrec.serve.service").joinpath("page", name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return page


def _ready(service: Service) -> bool:
    if not service.ready:
        raise HTTPException(503, "not ready", headers={"retry-after": "1"})
    return True


def _errors(app: FastAPI, service: Service) -> None:
    """Every error is one JSON object that says what is wrong and never repeats what was sent."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _fault(422, _said(error.errors()[0])[:300])

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _fault(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(JaxrecError)
    async def impossible(_: Request, error: JaxrecError) -> JSONResponse:
        known = set(service.live.asked_names) if service.live else set()
        return _fault(400, _QUOTED.sub(lambda found: found[0] if found[0][1:-1] in known else "(yours)", str(error)))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        return _fault(503, "too many requests wait; try again", {"retry-after": "1"})

    @app.exception_handler(TimeoutError)
    async def late(_: Request, error: TimeoutError) -> JSONResponse:
        return _fault(504, "not answered by the deadline; allow more by deadline_ms")


def _said(error: dict[str, Any]) -> str:
    """Where a body is wrong and how, without the sender's own words: for a name that is unknown the nearest known."""
    where = ".".join(str(part) for part in error["loc"] if isinstance(part, int) or part in FIELDS)
    how = error["msg"]
    if error["type"] == "extra_forbidden":
        meant = closest(str(error["loc"][-1]), FIELDS)
        mend = f"did you mean {meant!r}?" if meant else "GET /openapi.json lists the names that there are"
        how = f"a name that is not known; {mend}"
    return f"{where}: {how}" if where else how


def _fault(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status, headers)
