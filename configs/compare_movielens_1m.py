"""MovieLens-1M, random per user: neighbours and rankers in closed form, 12 trials each on validation.

jaxrec compare --config configs/compare_movielens_1m.py --workdir runs/compare_1m --workers 2
"""

from dataclasses import replace

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.classic.slist import Slist
from jaxrec.classic.user_neighbours import UserNeighbours
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.study.study import Study
from jaxrec.text_encoder import BagOfWords


def get_config() -> Study:
    return Study(
        name="movielens-1m",
        source=MovieLens("1m"),
        holdout=RandomPerUser(),
        trials=12,
        methods=(
            ImplicitAls(dim=128, l2=0.01, iterations=16),  # the longest first, for the sake of several workers
            Slim(),
            Ease(),
            Slist(),
            UserNeighbours(),
            ItemNeighbours(),
            RandomWalk(),
            ContentNeighbours(),
            RecentPopular(),
            Popular(),
        ),
    )


def debug(study: Study) -> Study:
    return replace(study, source=Synthetic(users=80, items=100), encoder=BagOfWords(dim=64), trials=2, ks=(10,))
