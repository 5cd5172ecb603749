"""The comparison page's charts as Vega-Lite specifications, beside those of jaxrec.evaluate.charts."""

from collections.abc import Sequence
from typing import Any

from jaxrec.evaluate.charts import Spec, finished, intervals

HUES = 8


def forest(rows: Sequence[tuple[str, float, float | None, float | None, bool]], title: str) -> Spec:
    """Differences with their intervals, around a line at zero; rows as in `intervals`."""
    spec = intervals(rows, title)
    line = {"type": "rule", "color": "var(--quiet)", "strokeDash": [4, 3]}
    spec["layer"].insert(0, {"data": {"values": [{}]}, "mark": line, "encoding": {"x": {"datum": 0}}})
    return spec


def named_points(
    points: Sequence[tuple[str, float, float, bool]], x_title: str, y_title: str, *, log: bool = False
) -> Spec:
    """A dot with its name for each (name, x, y, best)."""
    import altair as alt

    names = ("name", "x", "y", "ours")
    data = alt.Data(values=[dict(zip(names, point, strict=True)) for point in points])
    scale = alt.Scale(type="log", nice=False, padding=48) if log else alt.Scale(zero=False, nice=False, padding=48)
    base = alt.Chart(data).encode(
        x=alt.X("x:Q", title=x_title, scale=scale, axis=alt.Axis(tickCount=4, format="~g")),
        y=alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, nice=True, padding=16), axis=alt.Axis(tickCount=5)),
        tooltip=[
            alt.Tooltip("name:N", title=" "),
            alt.Tooltip("x:Q", title=x_title, format=".4~g"),
            alt.Tooltip("y:Q", title=y_title, format=".4f"),
        ],
    )
    colour = alt.Color(
        "ours:N", legend=None, scale=alt.Scale(domain=[True, False], range=["var(--accent)", "var(--muted-mark)"])
    )
    dots = base.mark_circle(size=90, opacity=1).encode(color=colour)
    texts = base.mark_text(dy=-11, fontSize=11).encode(text="name:N", color=alt.value("var(--ink)"))
    return finished(alt.layer(dots, texts), height=280)


def grouped_bars(rows: Sequence[tuple[str, str, float]], title: str) -> Spec:
    """A bar for each (group, name, value): the groups from the top in this order, in each the names."""
    import altair as alt

    groups, names = (list(dict.fromkeys(row[i] for row in rows)) for i in (0, 1))
    values = [
        {"group": group, "name": name, "value": value, "place": groups.index(group), "order": names.index(name)}
        for group, name, value in rows
    ]
    chart = alt.Chart(alt.Data(values=values)).mark_bar(height={"band": 0.85})
    chart = chart.encode(
        y=alt.Y(
            "group:N",
            sort=alt.EncodingSortField("place", op="min"),
            title=None,
            axis=alt.Axis(labelPadding=10, labelColor="var(--ink)", labelFontSize=13),
        ),
        yOffset=alt.YOffset("name:N", sort=alt.EncodingSortField("order", op="min")),
        x=alt.X("value:Q", title=title, axis=alt.Axis(tickCount=5)),
        color=_hues(names),
        tooltip=[
            alt.Tooltip("name:N", title=" "),
            alt.Tooltip("group:N", title="segment"),
            alt.Tooltip("value:Q", title=title, format=".4f"),
        ],
    )
    return finished(chart, height=len(groups) * (14 * len(names) + 12) + 10)


def tuning(rows: Sequence[tuple[str, int, float]], title: str) -> Spec:
    """The best value so far at each trial, a line a method."""
    import altair as alt

    names = list(dict.fromkeys(row[0] for row in rows))
    values = [{"name": name, "trial": trial, "value": value} for name, trial, value in rows]
    chart = alt.Chart(alt.Data(values=values)).mark_line(interpolate="step-after", strokeWidth=2, point=True)
    chart = chart.encode(
        x=alt.X("trial:Q", title="trial", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5)),
        color=_hues(names),
        tooltip=[
            alt.Tooltip("name:N", title=" "),
            alt.Tooltip("trial:Q", format="d"),
            alt.Tooltip("value:Q", title=title, format=".4f"),
        ],
    )
    return finished(chart, height=320)


def _hues(names: Sequence[str]) -> Any:
    """The first names in colours of their own, the others alike; two columns stand in half a page too."""
    import altair as alt

    hues = [f"var(--hue-{i + 1})" if i < HUES else "var(--muted-mark)" for i in range(len(names))]
    legend = alt.Legend(title=None, orient="top", columns=2, symbolOpacity=1, labelLimit=170)
    return alt.Color("name:N", scale=alt.Scale(domain=list(names), range=hues), legend=legend)
