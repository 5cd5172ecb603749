"""A contrastive head aligns the content of items with their behaviour. MovieLens-100K, cold items (C), refitted.

jaxrec train --config configs/profile_contrastive.py --workdir runs/contrastive
"""

from dataclasses import replace

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.popularity import Popular
from jaxrec.config import override
from jaxrec.data.examples import Examples
from jaxrec.data.holdout import ColdItems
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.profiles.contrastive import Contrastive
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

DIM = 128
SIZES = Sizes(items=1_682, text=384, item_features=20, user_features=24)
SHORT = ("method.task.examples.history_length=64", "method.task.examples.num_targets=16")


def get_config() -> Experiment:
    return Experiment(
        name="profile-contrastive",
        source=MovieLens("100k"),
        holdout=ColdItems(refit=True),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(
                        dim=DIM,
                        id_dropout=0.5,
                        use_neighbours=True,
                        content=Content(dim=DIM, text_dropout=0.5, head=Contrastive(dim=DIM, hidden=32, dropout=0.3)),
                    ),
                    history=ItemTower(dim=DIM, id_dropout=0.3, content=Content(dim=DIM, head=Identity(dim=DIM))),
                    user=UserTower(dim=DIM, dropout=0.2, head=Identity(dim=DIM)),
                ),
                l2=2e-4,
                examples=Examples(hidden=0.3, history_length=740, num_targets=256),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=50, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=800, batch_size_global=128, evaluate_every=100, checkpoint_every=200, patience=None),
        ),
        baselines=(Popular(), ContentNeighbours()),
        show_user="42",
    )


def debug(experiment: Experiment) -> Experiment:
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), SHORT)
