"""Pictures of the lab, drawn to SVG in this process, with no browser and no network, in the colours of the desk's charts."""

from qtkit.lab.plots.bands import bands
from qtkit.lab.plots.forward import forward
from qtkit.lab.plots.heat import alike, heatmap
from qtkit.lab.plots.many import equity, outcomes
from qtkit.lab.plots.names import policy_name, policy_names, policy_words
from qtkit.lab.plots.plan import plan
from qtkit.lab.plots.position import position
from qtkit.lab.plots.scatter import excursions

__all__ = [
    "alike",
    "bands",
    "equity",
    "excursions",
    "forward",
    "heatmap",
    "outcomes",
    "plan",
    "policy_name",
    "policy_names",
    "policy_words",
    "position",
]
