"""Ray Serve: serve run jaxrec.integrations.ray_app:app artifact=runs/demo/artifact (needs the package ray[serve])."""

from ray import serve
from starlette.requests import Request

from jaxrec.serve.recommender import Recommender


@serve.deployment
class Recommendations:
    """One artifact; POST {"history": [ids], "k": 10}."""

    def __init__(self, artifact: str):
        self.recommender = Recommender.load(artifact)

    async def __call__(self, request: Request) -> list[dict]:
        asked = await request.json()
        items = self.recommender.recommend(history=asked["history"], k=asked.get("k", 10), explain=False)
        return [item.to_json() for item in items]


def app(args: dict[str, str]) -> serve.Application:
    return Recommendations.bind(args["artifact"])
