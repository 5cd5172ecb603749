"""LightGCN: vectors smoothed over the graph of users and items. MovieLens-100K, random per user (R), refitted.

jaxrec train --config configs/light_gcn.py --workdir runs/light-gcn

A CPU, half a minute. NDCG@10 .285 on the test (EASE .328). By the full softmax: with it validation has .257 after 300
steps, with BPR, the paper's loss, at a rate of .01, .212 after 600.
"""

from dataclasses import replace

from jaxrec.config import override
from jaxrec.data.examples import Examples
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, smaller
from jaxrec.models.graphs.lightgcn import LightGCN
from jaxrec.tasks.graph import GraphRetrieval
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

SIZES = Sizes(items=1_682, users=943, events=80_808)


def get_config() -> Experiment:
    return Experiment(
        name="light-gcn",
        source=MovieLens("100k"),
        holdout=RandomPerUser(refit=True),
        method=Trained(
            label="LightGCN",
            task=GraphRetrieval(LightGCN(dim=64, layers=3), l2=1e-6, examples=Examples(hidden=0.5)),
            optimizer=AdamW(peak_learning_rate=0.03, warmup_steps=20, weight_decay=0.0),
            train=Train(num_steps=300, batch_size_global=256, evaluate_every=50, checkpoint_every=200, patience=4),
        ),
    )


def debug(experiment: Experiment) -> Experiment:
    short = ("method.task.model.dim=8", "method.task.examples.history_length=64")
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), short)
