"""On the path of every process of a test of model runner V2: lets Triton's interpreter stand in for a GPU.

vLLM runs V2 only where it believes in Triton, and asks whether a backend of it is there when it is first imported, in
each of its processes. Triton's interpreter needs none: this registers the CPU as one that is never active.
"""

import triton.backends


class _NeverActive:
    @staticmethod
    def is_active() -> bool:
        return False


_any = next(iter(triton.backends.backends.values()))
triton.backends.backends["cpu"] = triton.backends.Backend(compiler=_any.compiler, driver=_NeverActive)
