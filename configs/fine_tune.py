"""The text encoder trained along, by low-rank adapters, against behaviour. MovieLens-100K, cold items (C), refitted.

jaxrec train --config configs/fine_tune.py --workdir runs/fine-tune
jaxrec train --config configs/fine_tune.py --set method.task.fine_tune=none --workdir runs/frozen

Two CPU cores, 12 minutes, the frozen one 15 seconds. NDCG@10 .372 on the test, frozen .338: small models, beside which
text neighbours have .406.
"""

from dataclasses import replace

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.popularity import Popular
from jaxrec.config import override
from jaxrec.data.examples import Examples
from jaxrec.data.holdout import ColdItems
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.tasks.retrieval import FineTune, InBatchSoftmax, Retrieval
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

DIM = 64
SIZES = Sizes(items=1_682, item_features=20, user_features=24, tokens=40)


def get_config() -> Experiment:
    return Experiment(
        name="fine-tune",
        source=MovieLens("100k"),
        holdout=ColdItems(refit=True),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(dim=DIM, id_dropout=0.7, content=Content(dim=DIM)),
                    history=ItemTower(dim=DIM, id_dropout=0.2, content=None),
                    user=UserTower(dim=DIM, dropout=0.2),
                ),
                loss=InBatchSoftmax(),
                fine_tune=FineTune(lora_rank=8),
                examples=Examples(hidden=0.3, history_length=740, num_targets=2),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=20, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=150, batch_size_global=128, evaluate_every=50, checkpoint_every=100),
        ),
        baselines=(Popular(), ContentNeighbours()),
    )


def debug(experiment: Experiment) -> Experiment:
    short = ("method.task.fine_tune=none", "method.task.examples.history_length=64")
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), short)
