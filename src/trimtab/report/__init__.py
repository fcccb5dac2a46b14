"""Tables for the terminal, plots, and self-contained HTML pages."""
