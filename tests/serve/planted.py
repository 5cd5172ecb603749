"""Two planted tastes, and a ranker whose answers can be computed by hand."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from jaxrec.data.dataset import Dataset, index_ids
from jaxrec.data.interactions import Histories
from jaxrec.data.tables import Tables
from jaxrec.data.tokens import HashedWords
from jaxrec.ranker import Arrays, Query

DAY = 86_400
START = 1_000_000_000
ITEMS, USERS, TEXT = 24, 40, 32


class Taste(NamedTuple):
    """A named tuple, so that a pytree of several kinds goes through the artifact."""

    by_text: jax.Array
    by_features: jax.Array


@dataclass(frozen=True)
class PlantedRanker:
    """s(u, i) = v_i . (sum of w e^(-age / 100) v_j over the history + what words and features add) + bias_i."""

    arrays: Arrays
    history_length: int = 8

    def user(self, arrays: Arrays, query: Query) -> dict:
        known = query.history >= 0
        vectors = arrays.items["vector"][jnp.where(known, query.history, 0)]
        weights = jnp.where(known, query.weights * jnp.exp(-query.ages / 100), 0)
        vector = (vectors * weights[:, :, None]).sum(1)
        if query.text.shape[1]:
            vector += query.text @ arrays.shared["taste"].by_text
        return {"vector": vector + query.features @ arrays.shared["taste"].by_features}

    def score(self, shared, items, user) -> jax.Array:
        return user["vector"] @ items["vector"].T + items["bias"][None, :].astype(jnp.float32)

    def score_by_source(self, shared, items, user) -> dict[str, jax.Array]:
        taste = user["vector"] @ items["vector"].T
        return {"behaviour": taste, "popularity": jnp.broadcast_to(items["bias"].astype(jnp.float32), taste.shape)}

    def embed_items(self, shared, text, features):
        vector = text @ shared["taste"].by_text
        return {"vector": vector, "bias": jnp.zeros(text.shape[0], jnp.bfloat16)}

    def user_profile(self, arrays, query):
        return self.user(arrays, query)["vector"]

    def item_profile(self, shared, items):
        return items["vector"]


@dataclass(frozen=True)
class Words:
    """A text encoder with parameters: hashed words, times a matrix."""

    params: dict
    tokenizer: HashedWords = HashedWords(max_length=12)
    dim: int = TEXT
    max_length: int = 12

    def encode(self, params, token_ids, mask):
        hot = jax.nn.one_hot(token_ids % 64, 64) * mask[:, :, None]
        total = hot.sum(1) @ params["layer"]["kernel"]
        return total / jnp.maximum(jnp.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def dataset() -> Dataset:
    """Items 0 to 11 are comedies, 12 to 23 dramas; users with an even number like comedies; item i23 has no events."""
    rng = np.random.default_rng(0)
    users, items, times, weights = [], [], [], []
    for user in range(USERS):
        liked = np.arange(12) + (0 if user % 2 == 0 else 12)
        for place, item in enumerate(rng.choice(liked[liked < 23], size=3 + user % 9, replace=False)):
            users.append(f"u{user}")
            items.append(f"i{item}")
            times.append(START + (user + place) * DAY)
            weights.append(float(1 + (item + user) % 5))
    genres = [["Comedy", "Romance"] if i % 3 == 0 else ["Comedy"] for i in range(12)] + [["Drama"]] * 12
    catalog = pa.table(
        {
            "item_id": [f"i{i}" for i in range(ITEMS)],
            "title": [f"{'Funny' if i < 12 else 'Sad'} film {i} <b>" for i in range(ITEMS)],
            "genres": pa.array(genres),
        }
    )
    people = pa.table({"user_id": [f"u{u}" for u in range(USERS)], "age": pa.array([20.0 + u for u in range(USERS)])})
    log = pa.table({"user_id": users, "item_id": items, "timestamp": times, "weight": weights})
    return index_ids(Tables(log, catalog, people, "planted"))


def ranker(data: Dataset) -> PlantedRanker:
    rng = np.random.default_rng(1)
    encoder = words()
    table = encoder.tokenizer.tokenize(["funny comedy", "sad drama", "film"])
    said = np.asarray(encoder.encode(encoder.params, jnp.asarray(table.ids), jnp.asarray(table.mask())))
    wanted = np.zeros((3, 8))
    wanted[0, 0] = wanted[1, 1] = 1
    features = rng.normal(size=(data.users.features.values.shape[1], 8)) * 0.05
    taste = Taste(jnp.asarray(np.linalg.pinv(said) @ wanted, jnp.float32), jnp.asarray(features, jnp.float32))
    vectors = rng.normal(size=(ITEMS, 8)) * 0.2
    vectors[:12, 0] += 1
    vectors[12:, 1] += 1
    items = {
        "vector": jnp.asarray(vectors, jnp.float32),
        "bias": jnp.asarray(rng.normal(size=ITEMS) * 0.1, jnp.bfloat16),
    }
    return PlantedRanker(Arrays({"taste": taste}, items))


def words() -> Words:
    return Words({"layer": {"kernel": jnp.asarray(np.random.default_rng(2).normal(size=(64, TEXT)), jnp.float32)}})


def histories(data: Dataset) -> Histories:
    return Histories.of(data.interactions, data.num_users)


def ids(answer: dict) -> list[str]:
    """Of an answer over HTTP, best first."""
    return [item["item_id"] for item in answer["items"]]
