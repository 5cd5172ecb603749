"""The report's charts as Vega-Lite specifications. Colours are names of the page's CSS variables, resolved there."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]
INTERVAL_HEIGHT = 34  # pixels a row
MAX_POINTS = 5_000
MAX_GENRES = 8
OTHER = "other"


def intervals(rows: Sequence[tuple[str, float, float | None, float | None, bool]], metric: str) -> Spec:
    """A dot with its interval for each (name, mean, low, high, ours), in this order from the top."""
    import altair as alt

    names = ("name", "mean", "low", "high", "ours")
    data = alt.Data(values=[dict(zip(names, row, strict=True)) | {"place": i} for i, row in enumerate(rows)])
    by_place = alt.EncodingSortField("place", op="min")  # a list of names would put untrusted text into an expression
    colour = alt.Color(
        "ours:N", legend=None, scale=alt.Scale(domain=[True, False], range=["var(--accent)", "var(--muted-mark)"])
    )
    y = alt.Y(
        "name:N",
        sort=by_place,
        title=None,
        axis=alt.Axis(labelPadding=10, labelColor="var(--ink)", labelFontSize=13),
    )
    tooltip = [
        alt.Tooltip("name:N", title=" "),
        alt.Tooltip("mean:Q", title=metric, format=".4f"),
        alt.Tooltip("low:Q", title="from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
    ]
    base = alt.Chart(data).encode(y=y, color=colour, tooltip=tooltip)
    x = alt.X("mean:Q", title=metric, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))
    rules = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2, opacity=0.75)
        .encode(x=alt.X("low:Q"), x2="high:Q")
    )
    dots = base.mark_circle(size=110, opacity=1).encode(x=x)
    texts = base.mark_text(dy=-12, fontSize=11).encode(
        x=x, text=alt.Text("mean:Q", format=".3f"), color=alt.value("var(--ink)")
    )
    return finished(alt.layer(rules, dots, texts), height=INTERVAL_HEIGHT * len(rows) + 8)


def curve(steps: Sequence[int], values: Sequence[float], title: str, *, dots: bool, colour: str) -> Spec:
    """A line over training steps."""
    import altair as alt

    chart = alt.Chart(alt.Data(values=[{"step": s, "value": v} for s, v in zip(steps, values, strict=True)]))
    chart = chart.mark_line(strokeWidth=2, color=colour, point={"color": colour, "size": 36} if dots else False)
    chart = chart.encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=5, format=",")),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5)),
        tooltip=[alt.Tooltip("step:Q", format=","), alt.Tooltip("value:Q", title=title, format=".5g")],
    )
    return finished(chart, height=220)


def scatter(points: Sequence[tuple[float, float, str, str]]) -> Spec:
    """Items (x, y, title, genre) in the plane; the rarer genres share one colour; the legend picks a genre."""
    import altair as alt

    kept = points[:: -(-len(points) // MAX_POINTS)] if len(points) > MAX_POINTS else points
    ranked = [genre for genre, _ in Counter(point[3] for point in kept).most_common()]
    shown = ranked if len(ranked) <= MAX_GENRES else ranked[: MAX_GENRES - 1]
    groups = shown if len(shown) == len(ranked) else [*shown, OTHER]
    colours = [f"var(--hue-{i + 1})" for i in range(len(shown))] + ["var(--muted-mark)"] * (len(groups) - len(shown))
    values = [
        {"x": round(float(x), 4), "y": round(float(y), 4), "item": title, "genre": genre, "group": genre}
        | ({} if genre in shown else {"group": OTHER})
        for x, y, title, genre in kept
    ]
    picked = alt.selection_point(fields=["group"], bind="legend", name="picked")
    chart = alt.Chart(alt.Data(values=values)).mark_circle(size=28)
    chart = chart.encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(nice=False, padding=12)),
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(nice=False, padding=12)),
        color=alt.Color(
            "group:N",
            scale=alt.Scale(domain=groups, range=colours),
            legend=alt.Legend(title=None, orient="top", columns=4, symbolOpacity=1, symbolSize=90, labelLimit=110),
        ),
        opacity=alt.condition(picked, alt.value(0.75), alt.value(0.06)),
        tooltip=[alt.Tooltip("item:N"), alt.Tooltip("genre:N")],
    ).add_params(picked)
    return finished(chart, height=480)


def finished(chart: Any, *, height: int) -> Spec:
    """The specification alone; as wide as its place. Config and schema address are left to the page."""
    spec = chart.properties(width="container", height=height).to_dict()
    return {key: part for key, part in spec.items() if key not in ("config", "$schema")}
