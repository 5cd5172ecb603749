"""MovieLens-1M by time: a million ratings, 6,040 users, 3,706 films that were rated. Not measured.

jaxrec train --config configs/movielens_1m.py --workdir runs/movielens_1m
"""

from dataclasses import replace

from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.config import override
from jaxrec.data.examples import Examples
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

DIM = 128
SIZES = Sizes(items=3_883, text=384, item_features=19, user_features=30)
SHORT = ("method.task.examples.history_length=64", "method.task.examples.num_targets=16")


def get_config() -> Experiment:
    return Experiment(
        name="movielens-1m",
        source=MovieLens("1m"),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(dim=DIM, content=None, use_neighbours=True),
                    history=ItemTower(dim=DIM, id_dropout=0.3, content=Content(dim=DIM, head=Identity(dim=DIM))),
                    user=UserTower(dim=DIM, head=Identity(dim=DIM), dropout=0.3),
                ),
                l2=1e-5,
                examples=Examples(hidden=0.3, history_length=1_024, num_targets=256, half_life_days=60.0),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=100, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=4_000, batch_size_global=256, evaluate_every=250, checkpoint_every=500, patience=5),
        ),
        baselines=(Popular(), RecentPopular(days=7.0), ItemNeighbours(), Ease(l2=500.0)),
    )


def debug(experiment: Experiment) -> Experiment:
    baselines = (Popular(), RecentPopular(days=7.0))
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64), baselines=baselines)), SHORT)
