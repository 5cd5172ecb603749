"""Triton's Python backend: this file as models/NAME/1/model.py. config.pbtxt names a parameter "artifact", an input
"history" (TYPE_STRING, dims [-1]) and the outputs "item_ids" (TYPE_STRING) and "scores" (TYPE_FP32), dims [-1]."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from jaxrec.serve.recommender import Recommender


class TritonPythonModel:
    """One artifact."""

    def initialize(self, args: dict) -> None:
        config = json.loads(args["model_config"])
        self.recommender = Recommender.load(config["parameters"]["artifact"]["string_value"])

    def execute(self, requests: list) -> list:
        answers = []
        for request in requests:
            history = pb_utils.get_input_tensor_by_name(request, "history").as_numpy().ravel()
            items = self.recommender.recommend(history=[item.decode() for item in history], explain=False)
            ids = np.array([item.item_id for item in items], np.object_)
            scores = np.array([item.score for item in items], np.float32)
            outputs = [pb_utils.Tensor("item_ids", ids), pb_utils.Tensor("scores", scores)]
            answers.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return answers
