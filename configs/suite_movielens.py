"""MovieLens-100K and 1M under every protocol: one table of all methods, each tuned with 10 trials.

jaxrec compare --suite movielens --workdir runs/suite
"""

from dataclasses import replace

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.bpr import BprFactors
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.content_profile import ContentProfile
from jaxrec.classic.content_ridge import ContentRidge
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.next_visit import NextVisit
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.classic.slist import Slist
from jaxrec.classic.user_neighbours import UserNeighbours
from jaxrec.data.holdout import ColdItems, LeaveLastOut, RandomPerUser, TimeCutoff, TimeLastOut, TimePerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.hybrid.hybrid import EASE, Hybrid
from jaxrec.study.study import Study, Suite
from jaxrec.text_encoder import BagOfWords

METHODS = (
    Popular(),
    RecentPopular(),
    ItemNeighbours(),
    UserNeighbours(),
    RandomWalk(),
    Ease(),
    EASE,
    Slim(),
    Slist(),
    NextVisit(),
    ImplicitAls(dim=128, l2=0.01, iterations=16),
    BprFactors(),
    ContentProfile(),
    ContentNeighbours(),
    ContentRidge(),
    Hybrid(),
)
PROTOCOLS = {
    "T": TimeCutoff(),
    "TU": TimePerUser(),
    "L": LeaveLastOut(),
    "R": RandomPerUser(),
    "C": ColdItems(),
    "C-all": ColdItems(candidates="all"),
    "G": TimeLastOut(),
}


def get_config() -> Suite:
    return Suite(
        name="movielens",
        studies=tuple(
            Study(name=f"ml-{size}-{protocol}", methods=METHODS, source=MovieLens(size), holdout=holdout, trials=10)
            for size in ("100k", "1m")
            for protocol, holdout in PROTOCOLS.items()
            if (size, protocol) != ("100k", "G")  # 69 users: too few
        ),
    )


def debug(suite: Suite) -> Suite:
    source, encoder = Synthetic(users=80, items=100), BagOfWords(dim=64)
    methods = (Popular(), ContentNeighbours(), Ease())
    studies = (study for study in suite.studies if study.name.startswith("ml-100k"))
    return replace(
        suite,
        studies=tuple(replace(s, methods=methods, source=source, encoder=encoder, trials=1, ks=(10,)) for s in studies),
    )
