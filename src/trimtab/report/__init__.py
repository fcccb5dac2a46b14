"""What was measured, to look at: tables for the terminal, plots, and self-contained HTML pages."""
