"""MovieLens-100K by time, refitted: a two-tower model with profile heads, alone. A CPU, a minute; NDCG@10 .244 (T)."""

from dataclasses import replace

from jaxrec.config import override
from jaxrec.data.examples import Examples
from jaxrec.data.holdout import TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, Sizes, smaller
from jaxrec.models.profiles.autoencoder import Autoencoder
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
        name="movielens-100k",
        source=MovieLens("100k"),
        holdout=TimeCutoff(refit=True),
        method=Trained(
            task=Retrieval(
                model=TwoTower(
                    item=ItemTower(
                        dim=DIM,
                        id_dropout=0.2,
                        use_neighbours=True,
                        content=Content(dim=DIM, text_dropout=0.5, head=Autoencoder(dim=DIM, hidden=16)),
                    ),
                    history=ItemTower(dim=DIM, id_dropout=0.3, content=Content(dim=DIM, head=Identity(dim=DIM))),
                    user=UserTower(dim=DIM, dropout=0.5, head=Autoencoder(dim=DIM, hidden=64)),
                ),
                l2=5e-5,
                examples=Examples(hidden=0.3, history_length=740, num_targets=256, half_life_days=4.0),
            ),
            optimizer=AdamW(peak_learning_rate=3e-3, warmup_steps=50, final_fraction=0.05, weight_decay=0.0),
            train=Train(num_steps=600, batch_size_global=128, evaluate_every=100, checkpoint_every=200, patience=4),
        ),
        show_user="42",
    )


def debug(experiment: Experiment) -> Experiment:
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), SHORT)
