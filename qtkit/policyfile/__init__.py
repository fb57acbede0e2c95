"""An exit policy as a file: TOML that people read, one complete policy, and where it comes from.

``read(write(PolicyFile(policy=policy)))`` gives the same policy, whatever it is. The reader is strict: what has no "none" must be given, so
that no default of another version changes a policy; unknown keys are refused. Research writes these files, the desk reads them unchanged.
"""

from qtkit.policyfile.reading import content, load, read
from qtkit.policyfile.words import PolicyFile, value_text
from qtkit.policyfile.writing import save, write

__all__ = ["PolicyFile", "content", "load", "read", "save", "value_text", "write"]
