"""Pictures and tables for notebooks: functions of frames, drawn to SVG in this process, with no browser and no network.

``Story`` holds the frames of a play (a demonstration's folder, or a sandbox); ``price_chart`` draws one position of it. Colours mean the
same everywhere, are told apart by the colour-blind (Okabe and Ito, 2008), and never say a thing alone: a label or a shape says it too.
"""

from qtkit.charts.price import price_chart
from qtkit.charts.story import Story
from qtkit.charts.tables import cover_table, orders_table, positions_table, promises_table, risk_table, steps_table
from qtkit.picture import Picture
from qtkit.table import Table, table

__all__ = [
    "Picture",
    "Story",
    "Table",
    "cover_table",
    "orders_table",
    "positions_table",
    "price_chart",
    "promises_table",
    "risk_table",
    "steps_table",
    "table",
]
