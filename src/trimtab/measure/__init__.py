"""Measuring: ask, judge, count. Everything that answers and checks goes through here."""
