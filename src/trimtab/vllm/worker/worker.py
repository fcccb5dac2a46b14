"""What a frontend asks of the workers: `worker_extension_cls="trimtab.vllm.worker.worker.SteeringWorker"`.

vLLM adds the class to its own worker; its methods are called on every rank with `collective_rpc`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab._version import __version__
from trimtab.errors import ModelError
from trimtab.steering.steering import Steering
from trimtab.vllm.packing import unpack_edits
from trimtab.vllm.worker.recording import RecordingWorker
from trimtab.vllm.worker.runners import SteeringState


class SteeringWorker(RecordingWorker):
    """Holds and forgets steerings on a worker, and tells how it stands.

    All names begin with `trimtab_`: the class becomes a base of vLLM's worker.
    """

    model_runner: Any

    def trimtab_hold(self, digest: str, packed: bytes) -> None:
        """Takes a steering's packed edits, for requests that will be admitted with it. Again it changes nothing."""
        self._trimtab_state().table.hold(digest, unpack_edits(packed))

    def trimtab_forget(self, digest: str) -> None:
        """Drops a steering that no request will be admitted with again; for one that is unknown, nothing."""
        self._trimtab_state().table.forget(digest)

    def trimtab_status(self) -> dict[str, Any]:
        """How steering stands on this worker, as plain JSON.

        Returns:
            `version` of trimtab, `blocks` on this worker, `statistics` of the table, and the digests that are `held`.
        """
        state = self._trimtab_state()
        return {
            "version": __version__,
            "blocks": list(state.blocks),
            "statistics": state.table.statistics(),
            "held": sorted(state.table.held),
        }

    def _trimtab_state(self) -> SteeringState:
        state: SteeringState | None = getattr(self.model_runner.get_model(), "trimtab", None)
        if state is None:
            raise ModelError('this vLLM serves no steering: give it additional_config={"trimtab": {}}')
        return state


def hold_folder(state: SteeringState, folder: str) -> None:
    """Holds the steerings of a folder from the start; the frontend reads the same folder, and judges each."""
    for path in sorted(Path(folder).iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            steering = Steering.load(path)
            state.table.hold(steering.digest(), steering.edits)
