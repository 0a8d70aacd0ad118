"""Every key of the console. The footer, the help and the bindings themselves are made from this one list."""

from __future__ import annotations

from textual.binding import Binding, BindingType

GLOBAL: list[BindingType] = [
    Binding("q", "app.quit", "Quit", id="quit", tooltip="Leave the console; the cluster runs on."),
    Binding("ctrl+c", "app.quit", "Quit", id="interrupt", show=False, priority=True, tooltip="Leave the console."),
    Binding("question_mark", "app.toggle_help", "Help", key_display="?", id="help", tooltip="Show or hide this page."),
    Binding("r", "app.reconnect", "Reconnect", id="reconnect", tooltip="Ask the agent anew, at once."),
]
"""Keys that hold everywhere."""

PANELS: list[BindingType] = [
    Binding("tab", "app.focus_next", "Panel", key_display="Tab", id="next", tooltip="Go to the next panel."),
    Binding("shift+tab", "app.focus_previous", "Previous panel", key_display="⇧Tab", id="previous", show=False,
            tooltip="Go to the panel before."),
]
"""Keys of the overview."""

ROWS: list[BindingType] = [
    Binding("up,k", "cursor_up", "Row", key_display="↑↓", id="up", tooltip="Go up or down a row."),
    Binding("down,j", "cursor_down", "Row below", key_display="↓", id="down", show=False),
    Binding("left,h", "scroll_left", "Left", key_display="←→", id="left", show=False,
            tooltip="Show columns further left or right."),
    Binding("right,l", "scroll_right", "Right", key_display="→", id="right", show=False),
]
"""Keys of a panel that has the focus."""

HELP: list[BindingType] = [
    Binding("escape", "app.toggle_help", "Close", key_display="Esc", id="close", tooltip="Close this page."),
]
"""Keys of the help."""


def explained() -> list[tuple[str, str]]:
    """Key and meaning, for the help."""
    every = (*GLOBAL, *PANELS, *ROWS, *HELP)
    return [(one.key_display or one.key, one.tooltip) for one in every if isinstance(one, Binding) and one.tooltip]
