"""The tabs of the page: what is wired to what; the work is done in the modules beside."""
