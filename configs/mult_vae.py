"""Mult-VAE: a variational autoencoder over histories. MovieLens-100K, random per user (R), refitted.

jaxrec train --config configs/mult_vae.py --workdir runs/vae

A CPU, a minute. NDCG@10 .299 on the test (EASE .328).
"""

from dataclasses import replace

from jaxrec.config import override
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment, smaller
from jaxrec.models.history_autoencoder import HistoryAutoencoder
from jaxrec.tasks.rebuild import Rebuild
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import BagOfWords
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained

SIZES = Sizes(items=1_682)


def get_config() -> Experiment:
    return Experiment(
        name="mult-vae",
        source=MovieLens("100k"),
        holdout=RandomPerUser(refit=True),
        method=Trained(
            label="Mult-VAE",
            task=Rebuild(HistoryAutoencoder(hidden=400, latent=128), kl_weight=0.5),
            optimizer=AdamW(peak_learning_rate=2e-3, warmup_steps=50, weight_decay=0.0),
            train=Train(num_steps=600, batch_size_global=128, evaluate_every=50, checkpoint_every=200),
        ),
    )


def debug(experiment: Experiment) -> Experiment:
    short = ("method.task.model.hidden=16", "method.task.model.latent=8", "method.task.history_length=64")
    return override(smaller(replace(experiment, encoder=BagOfWords(dim=64))), short)
