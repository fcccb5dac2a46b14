"""The platform itself; see `placeable_cpu`."""

from __future__ import annotations

from vllm.platforms.cpu import CpuPlatform


class PlaceableCpu(CpuPlatform):
    """Each worker takes one of what Ray was told are GPUs; `num_gpus` of a node is how many workers it takes."""

    ray_device_key = "GPU"

    @classmethod
    def device_count(cls) -> int:
        """As many as the tests have workers."""
        return 2
