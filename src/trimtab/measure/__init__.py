"""Ask, judge, count: everything that answers and checks goes through here."""
