"""Supervised kernels: each stage has a fresh one, started while the stage before still works."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from quant50lib.settings import RunnerSettings

#: imported in a waiting kernel, so that the stage finds them loaded
PREAMBLE = (
    "import quant50lib.pipeline, quant50lib.services.report, matplotlib_inline.backend_inline\n"
)


class Kernels:
    """Hands out started kernels, one per stage, and prepares the next in the background.

    Use as a context manager: whatever happens, no kernel survives the block.
    """

    def __init__(self, environment: Mapping[str, str], cwd: Path, settings: RunnerSettings) -> None:
        self._environment = {**os.environ, **environment}
        self._cwd = cwd
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "kernel-start")
        self._next: Future[KernelManager] | None = None
        self._started: list[KernelManager] = []
        self._sockets = tempfile.mkdtemp(prefix="q50-")

    def __enter__(self) -> Kernels:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        for manager in self._started:
            self.stop(manager)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def prepare(self) -> None:
        """Begin to start the next kernel, if that is wanted and not yet under way."""
        if self._settings.prestart_kernels and self._next is None:
            self._next = self._thread.submit(self._start)

    def take(self) -> KernelManager:
        """A started kernel that nobody has used."""
        waiting, self._next = self._next, None
        return waiting.result() if waiting else self._thread.submit(self._start).result()

    def stop(self, manager: KernelManager) -> None:
        """End a kernel at once; harmless when it has ended."""
        if manager in self._started:
            self._started.remove(manager)
            manager.shutdown_kernel(now=True)

    def _start(self) -> KernelManager:
        manager = KernelManager(
            kernel_name="python3", kernel_spec_manager=_own_specs(), transport="ipc"
        )
        manager.ip = os.path.join(self._sockets, f"k{len(os.listdir(self._sockets))}")
        manager.log.setLevel(logging.ERROR)
        manager.start_kernel(env=self._environment, cwd=str(self._cwd))
        self._started.append(manager)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=self._settings.start_timeout_seconds)
            client.execute(PREAMBLE, silent=True, store_history=False)
        finally:
            client.stop_channels()
        return manager


def _own_specs() -> KernelSpecManager:
    """Kernels of this environment only: a user's own spec of the same name would shadow ours."""
    manager = KernelSpecManager()
    manager.kernel_dirs = [str(Path(sys.prefix, "share", "jupyter", "kernels"))]
    return manager
