"""RecBole's protocol on MovieLens-1M: ratings of 3 and more, users and items with 10 of them, random per user.

jaxrec compare --config configs/compare_recbole.py --workdir runs/recbole

Published there, fitted to train alone (NDCG@10): Pop .101, ItemKNN .239, MultiVAE .252, SLIM .278, EASE .287. Here the
test is of methods fitted to train and validation, and EASE may read content, so that figures are higher: .119, .243,
.261, .296 and .300. The README has the command that fits to train alone.
"""

from dataclasses import replace

from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular
from jaxrec.classic.slim import Slim
from jaxrec.data.cleaning import Cleaning
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.models.history_autoencoder import HistoryAutoencoder
from jaxrec.study.study import Study
from jaxrec.tasks.rebuild import Rebuild
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained


def get_config() -> Study:
    vae = Trained(
        label="Mult-VAE",
        task=Rebuild(HistoryAutoencoder(hidden=600, latent=128), kl_weight=0.5),
        optimizer=AdamW(peak_learning_rate=2e-3, warmup_steps=50, weight_decay=0.0),
        train=Train(num_steps=1_500, batch_size_global=256, evaluate_every=300, checkpoint_every=500),
    )
    return Study(
        name="recbole-movielens-1m",
        source=MovieLens("1m"),
        cleaning=Cleaning(min_rating=3.0, min_per_user=10, min_per_item=10),
        holdout=RandomPerUser(),
        methods=(Popular(), ItemNeighbours(), Ease(l2=500.0), Slim(), vae),
        trials=6,
    )


def debug(study: Study) -> Study:
    methods = tuple(method for method in study.methods if not isinstance(method, Trained))
    source = Synthetic(users=80, items=100)
    return replace(
        study, methods=methods, source=source, cleaning=Cleaning(), encoder=BagOfWords(dim=64), trials=2, ks=(10,)
    )
