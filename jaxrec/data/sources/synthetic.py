"""A generated catalog with planted tastes: every part of the way has something true to find, with no download."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jaxrec.data.tables import Tables
from jaxrec.errors import UserError

DAY = 86_400
END = 1_704_067_200  # 2024-01-01

TASTES: dict[str, str] = {
    "Space": "rocket planet orbit galaxy astronaut comet starship nebula moon gravity",
    "Cooking": "kitchen recipe chef bread garlic oven spice dinner butter soup",
    "Detective": "murder clue inspector alibi suspect witness evidence poison motive corpse",
    "Romance": "love kiss wedding heart letter longing bride passion tender darling",
    "Ocean": "sailor wave harbour whale anchor storm reef captain island tide",
    "Music": "guitar band concert melody drummer singer rehearsal chorus stage piano",
    "Sport": "team match coach goal champion training stadium race medal player",
    "Horror": "ghost curse blood cellar scream vampire graveyard haunted demon shadow",
    "History": "king empire battle castle treaty crown soldier dynasty siege queen",
    "Nature": "forest river wolf mountain bird flower meadow bear autumn rain",
    "Comedy": "joke prank laughter clown mishap silly neighbour banana disguise farce",
    "Robots": "robot circuit machine code android sensor factory wire algorithm metal",
}
OPENINGS = ("The", "My", "A Last", "Beyond the", "Return to the", "One More", "Secret of the", "Under the")
LINKS = ("A story of {0}, {1} and {2}.", "{0} and {1} meet a {2}.", "Nothing but {0}, a {1} and some {2}.")


@dataclass(frozen=True)
class Synthetic:
    """users x items with `tastes` kinds; each user likes two kinds, the first most, and takes about `loyalty` of the
    events from them (somewhat less, since nothing is taken twice).

    Popularity inside a kind falls as 1 / rank ** 0.7, so it is something to learn beside the taste. Texts use the
    words of the item's kind. `new_items` of the catalog have no interactions. Events are spread over `days`, each
    user's over a stretch of their own; ratings 1 to 5 are higher inside the taste. The same seed gives the same tables.
    """

    users: int = 300
    items: int = 400
    tastes: int = 8
    events_per_user: int = 40
    loyalty: float = 0.85
    new_items: float = 0.05
    days: int = 365
    seed: int = 0

    def load(self) -> Tables:
        """Raises UserError when the numbers do not fit each other."""
        if not 2 <= self.tastes <= len(TASTES) or self.items < 2 * self.tastes or self.users < 2:
            raise UserError(
                f"Synthetic needs 2 to {len(TASTES)} tastes, two items for each taste and two users; "
                f"it has tastes={self.tastes}, items={self.items}, users={self.users}"
            )
        random = np.random.default_rng(self.seed)
        kinds = np.arange(self.items) % self.tastes
        old = np.sort(random.permutation(self.items)[round(self.items * self.new_items) :])
        favourites = np.stack([random.permutation(self.tastes)[:2] for _ in range(self.users)])
        log = self._log(random, kinds, old, favourites)
        return Tables(log, self._catalog(random, kinds), self._people(random, favourites), "generated data")

    def _log(self, random, kinds: np.ndarray, old: np.ndarray, favourites: np.ndarray) -> pa.Table:
        pull = np.zeros(self.items)
        for kind in range(self.tastes):
            mine = random.permutation(old[kinds[old] == kind])
            pull[mine] = 1 / np.arange(1, len(mine) + 1) ** 0.7
        rows = []
        for user, liked in enumerate(favourites):
            inside = (kinds == liked[0]) * 1.0 + (kinds == liked[1]) * 0.5
            weights = self.loyalty * _normalised(pull * inside) + (1 - self.loyalty) * _normalised(pull * (inside == 0))
            wanted = max(3, random.poisson(self.events_per_user))
            count = min(wanted, int((weights > 0).sum()))
            # events without replacement, drawn by exponential races
            race = random.exponential(size=self.items) / np.maximum(weights, 1e-12)
            race[weights <= 0] = np.inf
            chosen = random.permutation(np.argsort(race)[:count])
            stretch = random.uniform(0.2, 1.0) * self.days * DAY
            begin = END - self.days * DAY + random.uniform(0, 1) * (self.days * DAY - stretch)
            times = np.sort(begin + random.uniform(0, 1, count) * stretch).astype(np.int64)
            stars = np.clip(np.rint(2.6 + 1.6 * (inside[chosen] > 0) + random.normal(0, 0.7, count)), 1, 5)
            rows.append((np.full(count, user), chosen, stars.astype(np.int64), times))
        users, items, stars, times = (np.concatenate(column) for column in zip(*rows, strict=True))
        order = np.argsort(times, kind="stable")
        return pa.table(
            {
                "user_id": pa.array([f"u{user + 1:03d}" for user in users[order]]),
                "item_id": pa.array([f"i{item + 1:03d}" for item in items[order]]),
                "rating": pa.array(stars[order]),
                "timestamp": pa.array(times[order]),
            }
        )

    def _catalog(self, random, kinds: np.ndarray) -> pa.Table:
        names = list(TASTES)[: self.tastes]
        rows: dict[str, list] = {"item_id": [], "title": [], "year": [], "genres": [], "description": []}
        for item, kind in enumerate(kinds):
            words = random.permutation(TASTES[names[kind]].split())
            also = names[random.integers(self.tastes)]
            genres = [names[kind]] + ([also] if also != names[kind] and random.random() < 0.2 else [])
            rows["item_id"].append(f"i{item + 1:03d}")
            rows["title"].append(f"{OPENINGS[random.integers(len(OPENINGS))]} {words[0].title()} {words[1].title()}")
            rows["year"].append(int(random.integers(1970, 2024)))
            rows["genres"].append(genres)
            rows["description"].append(LINKS[random.integers(len(LINKS))].format(*words[2:5]).capitalize())
        return pa.table(rows)

    def _people(self, random, favourites: np.ndarray) -> pa.Table:
        work = ("teacher", "engineer", "nurse", "student", "driver", "writer", "farmer", "lawyer")
        told = random.random(self.users) < 0.5  # half of the occupations go with the taste
        guess = random.integers(len(work), size=self.users)
        jobs = np.where(told, favourites[:, 0] % len(work), guess)
        return pa.table(
            {
                "user_id": pa.array([f"u{user + 1:03d}" for user in range(self.users)]),
                "age": pa.array(random.integers(16, 80, self.users)),
                "gender": pa.array(np.array(["F", "M"])[random.integers(2, size=self.users)]),
                "occupation": pa.array(np.array(work)[jobs]),
            }
        )


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / max(weights.sum(), 1e-12)
