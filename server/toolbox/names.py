"""`TOOL_NAMES`: the names of the built-in tools, for the settings, which know no more of them."""

from __future__ import annotations

TOOL_NAMES: tuple[str, ...] = (
    "read_file",
    "file_glob_search",
    "grep_search",
    "write_file",
    "edit_file",
    "exec_shell_command",
    "get_info",
)
"""All built-in tools; `all` in the settings means them."""
