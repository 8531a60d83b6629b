"""The chart of docs/bench.svg: events a second of the three receivers."""

from pathlib import Path
from typing import Any

COLORS = {"usher": "#0d7c66", "fastapi": "#8a94a6", "node": "#c9a227"}
LABELS = {"usher": "Usher", "fastapi": "FastAPI", "node": "Node (Fastify)"}
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def draw(rows: list[dict[str, Any]], caption: str, path: Path) -> None:
    """Grouped bars by number of connections, one panel for each database; the bar spans the runs.

    Args:
        rows: as `bench.events_http` writes them.
        caption: what stands below: the machine.
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "usher", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    for panel, database in zip(panels, TITLES, strict=True):
        mine = [row for row in rows if row["database"] == database]
        connections = sorted({row["connections"] for row in mine})
        for place, name in enumerate(LABELS):
            own = {row["connections"]: row for row in mine if row["receiver"] == name}
            heights = [own[count]["per_second"] for count in connections]
            runs = [[run["per_second"] for run in own[count]["runs"]] for count in connections]
            low = [height - min(each) for height, each in zip(heights, runs, strict=True)]
            high = [max(each) - height for height, each in zip(heights, runs, strict=True)]
            where = [number + (place - 1) * 0.27 for number in range(len(connections))]
            panel.bar(
                where,
                heights,
                width=0.25,
                color=COLORS[name],
                label=LABELS[name],
                yerr=[low, high],
                error_kw={"linewidth": 0.8},
            )
        panel.set_xticks(range(len(connections)), [str(count) for count in connections])
        panel.set_title(TITLES[database])
        panel.set_xlabel("connections")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("signup events a second, every one synced")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, frameon=False)
    figure.text(0.01, 0.01, caption, fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.04, 1, 0.94))
    figure.savefig(path, metadata={"Date": None})
