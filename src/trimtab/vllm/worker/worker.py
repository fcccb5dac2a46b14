"""What a frontend asks of the workers: `worker_extension_cls="trimtab.vllm.worker.worker.SteeringWorker"`.

vLLM adds the class to its own worker; its methods are called on every rank with `collective_rpc`.
"""

from __future__ import annotations

from typing import Any

from trimtab._version import __version__
from trimtab.engines.fingerprint import fingerprint
from trimtab.errors import ModelError
from trimtab.steering.collection import SteeringFolder
from trimtab.steering.steering import Steering
from trimtab.vllm.packing import unpack_edits
from trimtab.vllm.worker.recording import Reading, Recorder
from trimtab.vllm.worker.runners import SteeringState


class SteeringWorker:
    """Holds and forgets steerings on a worker, reads activations, and tells how it stands.

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
        """`version` of trimtab, `blocks` on this worker, `statistics` of the table, and the digests that are `held`."""
        state = self._trimtab_state()
        return {
            "version": __version__,
            "blocks": list(state.table.blocks),
            "statistics": state.table.statistics(),
            "held": sorted(state.table.held),
        }

    def trimtab_record_begin(self, reading: bytes) -> None:
        """Starts a packed `Reading`, on one worker of each pipeline stage: its others have the same."""
        from vllm.distributed.parallel_state import get_tensor_model_parallel_rank

        recorder = self._trimtab_recorder()
        if get_tensor_model_parallel_rank() == 0:
            recorder.begin(Reading.unpack(reading))

    def trimtab_record_result(self) -> bytes:
        """Ends the reading and gives what was read; empty where another worker has the same, or there is nothing."""
        return self._trimtab_recorder().result()

    def trimtab_fingerprint(self) -> str:
        """A digest that tells this worker's weights from others of the same shape."""
        return fingerprint(self.model_runner.get_model(), buffers=False)

    def _trimtab_recorder(self) -> Recorder:
        recorder = self._trimtab_state().recorder
        if recorder is None:
            raise ModelError(
                "this vllm engine does not record activations; start it with record=True to capture"
            )
        return recorder

    def _trimtab_state(self) -> SteeringState:
        state = SteeringState.of(self.model_runner)
        if state is None:
            raise ModelError('this vLLM serves no steering: give it additional_config={"trimtab": {}}')
        return state


def hold_folder(state: SteeringState, folder: str) -> None:
    """Holds the steerings of a folder from the start; the frontend reads the same folder, and judges each."""
    for path in SteeringFolder(folder).subfolders():
        steering = Steering.load(path)
        state.table.hold(steering.digest(), steering.edits)
