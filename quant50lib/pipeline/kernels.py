"""Supervised kernels: each stage has a fresh one, forked from a process that has the imports done.

Where that cannot be (another system than Linux, or `runner.fork_kernels` is off) each kernel is a
new interpreter, which takes some seconds longer and is the same otherwise.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from quant50lib.errors import Quant50Error
from quant50lib.pipeline.forkserver import CLIENT, READY
from quant50lib.settings import RunnerSettings

FORKED = "quant50-forked"
#: a blocking client would wait for ever on a dead or endless cell: nbclient could not look up
ASYNCHRONOUS = "jupyter_client.asynchronous.AsyncKernelClient"


class Kernels:
    """Hands out started kernels, one per stage, and prepares the next in the background.

    Use as a context manager: whatever happens, no kernel survives the block.
    """

    def __init__(self, environment: Mapping[str, str], cwd: Path, settings: RunnerSettings) -> None:
        self._environment = {**os.environ, **environment}
        self._cwd = cwd
        self._settings = settings
        self._starter = ThreadPoolExecutor(1, "kernel-start")
        self._ender = ThreadPoolExecutor(2, "kernel-end")
        self._next: Future[KernelManager] | None = None
        self._started: list[KernelManager] = []
        self._sockets = tempfile.mkdtemp(prefix="q50-")
        self._specs = _Specs(os.path.join(self._sockets, "fork"))
        self._server: subprocess.Popen[str] | None = None
        if settings.fork_kernels and sys.platform == "linux":
            self._server = self._fork_server()

    def __enter__(self) -> Kernels:
        return self

    def __exit__(self, *_: object) -> None:
        self._starter.shutdown(wait=True, cancel_futures=True)
        self._ender.shutdown(wait=True)
        for manager in list(self._started):
            self.stop(manager)
        if self._server:
            self._end(self._server)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def prepare(self) -> None:
        """Begin to start the next kernel, if it is not yet under way."""
        if self._settings.prestart_kernels and self._next is None:
            self._next = self._starter.submit(self._start)

    def take(self) -> KernelManager:
        """A started kernel that nobody has used."""
        waiting, self._next = self._next, None
        return waiting.result() if waiting else self._starter.submit(self._start).result()

    def stop(self, manager: KernelManager) -> None:
        """End a kernel at once; harmless when it has ended."""
        if manager in self._started:
            self._started.remove(manager)
            manager.shutdown_kernel(now=True)

    def dismiss(self, manager: KernelManager) -> None:
        """Let a kernel that has done its work end by itself, in the background."""
        self._started.remove(manager)
        self._ender.submit(manager.shutdown_kernel)

    def _end(self, server: subprocess.Popen[str]) -> None:
        if server.stdin:
            server.stdin.close()
        try:
            server.wait(1.0)
        except subprocess.TimeoutExpired:  # it is still importing what nobody came to use
            server.kill()
            server.wait()

    def _fork_server(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "quant50lib.pipeline.forkserver", self._specs.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
            cwd=self._cwd,
            start_new_session=True,
        )

    def _start(self) -> KernelManager:
        manager = KernelManager(
            kernel_name=self._kernel_name(),
            kernel_spec_manager=self._specs,
            transport="ipc",
            client_class=ASYNCHRONOUS,
        )
        manager.ip = os.path.join(self._sockets, f"k{len(os.listdir(self._sockets))}")
        manager.log.setLevel(logging.ERROR)
        manager.start_kernel(
            env=self._environment,
            cwd=str(self._cwd),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what a stage says stands in its notebook
        )
        self._started.append(manager)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=self._settings.start_timeout_seconds)
        finally:
            client.stop_channels()
        return manager

    def _kernel_name(self) -> str:
        """The forked kernel once the server has said that it is ready, else a new interpreter."""
        if self._server is None or self._server.stdout is None:
            return "python3"
        if self._server.stdout.closed:
            return FORKED
        said = self._server.stdout.readline().strip()
        self._server.stdout.close()
        if said != READY:
            raise Quant50Error(
                "the process that kernels are forked from did not start; "
                "set runner.fork_kernels = false to start each kernel anew"
            )
        return FORKED


class _Specs(KernelSpecManager):
    """Kernels of this environment only: a user's own spec of the same name would shadow ours."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(**options)
        self.address = address
        self.kernel_dirs = [str(Path(sys.prefix, "share", "jupyter", "kernels"))]

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The spec of the forked kernel, or an installed one."""
        if kernel_name != FORKED:
            return super().get_kernel_spec(kernel_name)
        words = [sys.executable, "-S", "-E", str(CLIENT), self.address, "{connection_file}"]
        return KernelSpec(argv=words, display_name="Python 3", language="python")
