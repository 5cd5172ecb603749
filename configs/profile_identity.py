"""The control for the profile heads: none. MovieLens-100K, random split (R), refitted."""

from dataclasses import replace

from jaxrec.config import override
from jaxrec.data.examples import Examples
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

DIM = 256
SIZES = Sizes(items=1_682, text=384, item_features=20, user_features=24)
SHORT = ("method.task.examples.history_length=64", "method.task.examples.num_targets=16")


def get_config() -> Experiment:
    return Experiment(
        name="profile-identity",
        source=MovieLens("100k"),
        holdout=RandomPerUser(refit=True),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(dim=DIM, id_dropout=0.1, use_neighbours=True, content=None),
                    history=ItemTower(dim=DIM, id_dropout=0.4, content=Content(dim=DIM, head=Identity(dim=DIM))),
                    user=UserTower(dim=DIM, dropout=0.5, head=Identity(dim=DIM)),
                ),
                l2=2e-5,
                examples=Examples(hidden=0.3, history_length=740, num_targets=256),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=50, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=1000, batch_size_global=128, evaluate_every=100, checkpoint_every=200, patience=None),
        ),
        show_user="42",
    )


def debug(experiment: Experiment) -> Experiment:
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), SHORT)
