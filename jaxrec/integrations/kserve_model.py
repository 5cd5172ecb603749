"""KServe: python -m jaxrec.integrations.kserve_model --artifact runs/demo/artifact (needs the package kserve).

The Open Inference Protocol with strings: an input "history" of item ids [events], and "k" as a parameter; outputs
"item_ids" and "scores". The service of `jaxrec serve` speaks the same protocol over the exported function's arrays.
"""

import argparse
import uuid

import kserve
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelServer

from jaxrec.serve.recommender import Recommender


class RecommenderModel(Model):
    """One artifact."""

    def __init__(self, name: str, artifact: str):
        super().__init__(name)
        self.artifact = artifact
        self.load()

    def load(self) -> bool:
        self.recommender = Recommender.load(self.artifact)
        self.ready = True
        return self.ready

    def predict(self, payload: InferRequest, headers: dict | None = None) -> InferResponse:
        history: InferInput = next(given for given in payload.inputs if given.name == "history")
        k = int((payload.parameters or {}).get("k", 10))
        ids = [item.decode() if isinstance(item, bytes) else item for item in history.data]
        items = self.recommender.recommend(history=ids, k=k, explain=False)
        outputs = [
            InferOutput("item_ids", [len(items)], "BYTES", [item.item_id for item in items]),
            InferOutput("scores", [len(items)], "FP32", [item.score for item in items]),
        ]
        return InferResponse(response_id=payload.id or str(uuid.uuid4()), model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--artifact", required=True)
    given, _ = parser.parse_known_args()
    ModelServer().start([RecommenderModel(given.model_name, given.artifact)])
