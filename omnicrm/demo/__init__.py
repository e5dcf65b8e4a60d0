"""The demo retailer: Casa Ontano, an invented shop for clothes and things for the home.

`prepare` brings it into an empty house the way its own staff would: files through the import, segments and
campaigns through their verbs. Only the past is written directly, since nobody can send a year ago.
"""

from .prepare import Story, prepare
from .sizes import FULL, Size
from .telling import tell

__all__ = ["FULL", "Size", "Story", "prepare", "tell"]
