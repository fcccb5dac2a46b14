"""`python -m benchmarks.serving.load`: thousands of requests, mistakes and hang-ups at one server, and no wrong answer.

One server of a model takes requests from many clients at once: plain and steered ones, streams, compositions, malformed
ones, clients that hang up halfway, while some steerings are unloaded and loaded again, and one name keeps changing what
it stands for. A second server, which caches nothing and is asked one request at a time, says what is right.
"""
