"""What goes over the wire: the types of requests, strict and bounded."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(min_length=1, max_length=256)]
Tag = Annotated[str, Field(min_length=1, max_length=256)]
Ids = Annotated[list[Id], Field(max_length=10_000)]
Seconds = Annotated[int, Field(ge=0, le=1 << 40, description="UTC seconds")]
Share = Annotated[float, Field(ge=0, le=1)]
Context = Annotated[dict[Id, Annotated[str, Field(max_length=256)]], Field(max_length=20)]
Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]  # beyond that, read as a float
Value = str | Whole | float | bool | list[str] | None

HISTORY = 1_000  # events of a request
EVENTS = 1_000
EARLIEST = 631_152_000  # 1990, before which a clock is wrong


class Strict(BaseModel):
    """No conversions, no unknown fields, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Past(Strict):
    """An event of a history. weight: such as a rating; at: when it was, by default now."""

    item_id: Id
    weight: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    at: Seconds | None = None


class Filters(Strict):
    """What an answer may hold: items with all of `all_tags`, one of `any_tags`, none of `no_tags`, of these years."""

    all_tags: Annotated[list[Tag], Field(max_length=50)] = []
    any_tags: Annotated[list[Tag], Field(max_length=50)] = []
    no_tags: Annotated[list[Tag], Field(max_length=50)] = []
    year_from: Annotated[int, Field(ge=0, le=9999)] | None = None
    year_to: Annotated[int, Field(ge=0, le=9999)] | None = None


class Asker(Strict):
    """Who asks: any mix of a user (known to the artifact or by events sent here), a history, features and words."""

    user: Id | None = None
    history: Annotated[list[Id | Past], Field(max_length=HISTORY, description="oldest first")] = []
    dislikes: Annotated[list[Id], Field(max_length=HISTORY)] = []
    features: Annotated[dict[Id, Value], Field(max_length=100)] | None = None
    context: Annotated[
        Context, Field(description="where the request comes from; the hour and the weekday are those of now")
    ] = {}
    text: Annotated[str, Field(max_length=2_000, description="the asker's own words, as the model was trained")] = ""


class Steered(Asker):
    """language: how much words count beside what is known of the asker. diversity, calibration, popularity (below 0 for
    less popular items) and novelty: how strongly the list is changed; 0 leaves it as it is ranked."""

    filters: Filters = Filters()
    language: Share = 0.7
    diversity: Share = 0.0
    calibration: Share = 0.0
    popularity: Annotated[float, Field(ge=-1, le=1)] = 0.0
    novelty: Share = 0.0


class Recommend(Steered):
    """sentence: what is wanted, in words."""

    k: Annotated[int, Field(ge=1, le=100)] = 10
    sentence: Annotated[str, Field(max_length=1_000)] = ""
    candidates: Ids | None = None
    exclude: Ids = []
    exclude_seen: bool = True
    explain: bool = False
    other: Annotated[bool, Field(description="answer by the other artifact, where there is one")] = False
    rerank: Annotated[bool, Field(description="by the language model too, where there is one")] = False
    deadline_ms: Annotated[int, Field(ge=100, le=60_000, description="without an answer by then, 504")] = 10_000


class Explain(Asker):
    items: Annotated[list[Id], Field(min_length=1, max_length=20)]
    written: Annotated[bool, Field(description="by the language model, the first item's reason")] = False


class Chat(Steered):
    """turns: what the person said, oldest first; the last one is answered."""

    turns: Annotated[list[Annotated[str, Field(min_length=1, max_length=1_000)]], Field(min_length=1, max_length=50)]
    k: Annotated[int, Field(ge=1, le=20)] = 5


class Similar(Strict):
    item_id: Id
    k: Annotated[int, Field(ge=1, le=100)] = 10


class ProfileOf(Strict):
    """A user, a history, both, or an item."""

    user: Id | None = None
    history: Annotated[list[Id | Past], Field(max_length=HISTORY)] = []
    item: Id | None = None
    top: Annotated[int, Field(ge=1, le=100)] = 10


Kind = Literal["view", "click", "like", "buy", "rate", "not_interested", "undo"]


class Event(Strict):
    """Something a user did. value: of a rating. at: when, by default now, which the future counts as. context: where,
    for the next training. undo takes back what the user said of the item."""

    user: Id
    item_id: Id
    kind: Kind
    value: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    at: Annotated[int, Field(ge=EARLIEST, le=1 << 40, description="UTC seconds, not before 1990")] | None = None
    context: Context = {}


class Events(Strict):
    events: Annotated[list[Event], Field(min_length=1, max_length=EVENTS)]


class Item(Strict):
    """An item by the catalog's own columns, such as title, year, genres; one that is known gets a new description."""

    item_id: Id
    columns: Annotated[dict[Id, Value], Field(max_length=100)] = {}


class Items(Strict):
    items: Annotated[list[Item], Field(min_length=1, max_length=100)]


class Tensor(Strict):
    """Of the Open Inference Protocol."""

    name: Id
    shape: Annotated[list[Annotated[int, Field(ge=0, le=1 << 20)]], Field(max_length=4)]
    datatype: Literal["INT32", "INT64", "FP32", "FP64", "BOOL"]
    data: Annotated[list[Any], Field(max_length=200_000)]


class Infer(Strict):
    id: Id | None = None
    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=16)]
    outputs: Annotated[list[dict[str, Any]], Field(max_length=16)] | None = None
    parameters: Annotated[dict[str, Any], Field(max_length=16)] | None = None


REQUESTS = (Recommend, Explain, Chat, Similar, ProfileOf, Events, Items, Infer)
FIELDS = {name for kind in (*REQUESTS, Past, Filters, Event, Item, Tensor) for name in kind.model_fields}
"""Names that a message may hold; any other is the sender's own word."""
