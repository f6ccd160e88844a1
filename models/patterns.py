"""Regular expressions that are compiled when they are first used: most runs use few of them."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    regex = re.compile
else:

    class regex:  # noqa: N801 - it stands where re.compile would
        """A regular expression, with the methods of `re.Pattern`; compiling all of them would be 3 % of a start."""

        def __init__(self, text: str | bytes, flags: int = 0) -> None:
            self._given = text, flags

        def __getattr__(self, name: str) -> Any:
            """A method of the compiled expression, looked up once."""
            found = self.__dict__[name] = getattr(re.compile(*self._given), name)
            return found
