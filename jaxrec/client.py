"""A client of the service, with the standard library alone."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxrec.errors import UserError


@dataclass(frozen=True)
class Item:
    """One item of an answer. parts: what its score is the sum of; reason: in words, None where none was asked for."""

    item_id: str
    title: str
    score: float
    rank: int
    tags: tuple[str, ...]
    parts: dict[str, float]
    reason: str | None


@dataclass(frozen=True)
class Answer:
    """items: best first. basis: what it rests on. unknown_items: ids that the catalog has not. model: what answered."""

    items: tuple[Item, ...]
    basis: tuple[str, ...]
    unknown_items: tuple[str, ...]
    model: str


@dataclass(frozen=True)
class Client:
    """address: such as http://127.0.0.1:8000. Every call raises UserError with what the service says is wrong."""

    address: str
    token: str | None = field(default=None, repr=False)
    timeout: float = 30.0

    def recommend(self, user: str | None = None, history: Sequence[str] = (), **options: Any) -> Answer:
        """options: the fields of POST /v1/recommend, such as k, sentence, filters, diversity, explain."""
        said = {"history": list(history), **({} if user is None else {"user": user}), **options}
        answer = self._post("recommend", said)
        items = tuple(
            Item(
                item_id=item["item_id"],
                title=item["title"],
                score=item["score"],
                rank=item["rank"],
                tags=tuple(item["tags"]),
                parts=item["parts"],
                reason=item["reason"]["text"] if item.get("reason") else None,
            )
            for item in answer["items"]
        )
        return Answer(items, tuple(answer["basis"]), tuple(answer["unknown_items"]), answer["model"])

    def event(
        self,
        user: str,
        item_id: str,
        kind: str,
        value: float | None = None,
        context: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what a user did, and where, such as {"device": "tv"}; the next answer knows it."""
        done = {"user": user, "item_id": item_id, "kind": kind, "value": value, "context": dict(context or {})}
        self._post("events", {"events": [done]})

    def add_items(self, items: dict[str, dict[str, Any]]) -> list[str]:
        """Describe new items, columns by id; the ids that were added."""
        described = [{"item_id": item, "columns": columns} for item, columns in items.items()]
        return self._post("items", {"items": described})["added"]

    def similar(self, item_id: str, k: int = 10) -> list[str]:
        """Ids of the nearest items."""
        return [item["item_id"] for item in self._post("similar", {"item_id": item_id, "k": k})["items"]]

    def profile(self, user: str | None = None, item: str | None = None) -> dict[str, Any]:
        """Weighted tags of a user or an item, with evidence."""
        return self._post("profile", {"user": user, "item": item})

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        address = f"{self.address.rstrip('/')}/v1/{route}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise UserError(f"{address}: {_said(error)} ({error.code})") from error
        except (OSError, http.client.HTTPException) as error:  # the latter where an answer breaks off
            raise UserError(f"{address} does not answer: {error}") from error
        except ValueError as error:
            raise UserError(f"{address} answers, but not with JSON: is it a jaxrec service? ({error})") from error


def _said(error: urllib.error.HTTPError) -> str:
    """What the service says is wrong; the status in words where something else has answered."""
    try:
        return json.load(error)["error"]["message"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return error.reason
