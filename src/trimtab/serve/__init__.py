"""What every server needs in which each request chooses its steering."""
