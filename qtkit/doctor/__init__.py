"""`qtkit doctor`: what could keep a desk from working, each finding with its figures and its remedy.

``examine`` collects and judges. Facts and their judgement stand together by what they are about: ``knock`` (the exchange's clock and
counter), ``account`` (rights, modes, filters, slots), ``process`` (lease, heartbeat, process), ``stores`` (journal, register), ``places``
(disk, file system, key files), ``setup`` (settings, right to write), ``software`` (versions, kernel). What judges is pure: facts and
``Limits`` in, a ``Finding`` out.
"""

from qtkit.doctor.examination import Examination, examine
from qtkit.doctor.finding import Finding, Limits, State

__all__ = ["Examination", "Finding", "Limits", "State", "examine"]
