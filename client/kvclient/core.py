"""What both clients are made of: connections, the session's stream, and calls that travel alone. On one event loop.

A call takes the stream where the server has it, and travels alone, as any client of etcd sends it, where it does not:
then for good, for every later call too. Calls about one endpoint, and requests too large to share a stream, always
travel alone.
"""

import asyncio
import time
from typing import Any, TypeVar

import grpc
import grpc.aio

from kvclient import calls
from kvclient.attempts import Attempt
from kvclient.calls import Call
from kvclient.decisions import Failure
from kvclient.errors import ClientClosed, Code
from kvclient.results import EndpointStatus
from kvclient.session.pending import Pending
from kvclient.session.pipeline import Pipeline, StreamUnsupported
from kvclient.shell import Shell, answer_of, closed_failure, failure_of, status_of

__all__ = ["Core", "StreamUnsupported"]

T = TypeVar("T")


class Core:
    """``pipelined``: try the stream at all."""

    def __init__(self, shell: Shell, *, pipelined: bool) -> None:
        self.shell = shell
        self._pipelined = pipelined
        self._pipeline: Pipeline | None = None
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._closed = False

    def pipeline(self) -> Pipeline | None:
        """The stream, or None where calls travel alone. Raises ``ClientClosed``."""
        pipeline = self._pipeline
        if pipeline is None:
            if self._closed:
                raise ClientClosed
            if not self._pipelined:
                return None
            pipeline = self._pipeline = Pipeline(self.shell, self.channel)
        return pipeline if pipeline.is_supported else None

    @property
    def is_open(self) -> bool:
        """Whether the stream is open. Whoever asks from another thread gets an answer that may be old."""
        pipeline = self._pipeline
        return pipeline is not None and pipeline.is_open

    async def through(self, pipeline: Pipeline, call: Pending) -> Any:
        """The call's result, by way of the stream. Raises a ``KvError``, or ``StreamUnsupported``."""
        pipeline.submit(call)
        try:
            return await call.handle
        except asyncio.CancelledError:
            pipeline.abandon(call)
            raise

    async def run_alone(self, call: Call[T], timeout_s: float | None) -> T:
        """The call's result, by unary calls."""
        attempts = self.shell.attempts(call, timeout_s=timeout_s)
        attempt = attempts.first()
        try:
            while True:
                if attempt.pause_s:
                    await asyncio.sleep(attempt.pause_s)
                answer = await self.send(call, attempt)
                result = answer if isinstance(answer, Failure) else attempts.result_in(answer)
                if not isinstance(result, Failure):
                    return result
                attempt = attempts.failed(result, now=time.monotonic())
        finally:
            self.shell.preferred = attempts.preferred

    async def statuses(self, timeout_s: float) -> tuple[EndpointStatus, ...]:
        """What each endpoint says about itself, asked all at once."""

        async def ask(endpoint: str) -> EndpointStatus:
            call = calls.status(endpoint)
            answer = await self.send(call, Attempt(endpoint, pause_s=0.0, timeout_s=timeout_s))
            return status_of(call, endpoint, answer)

        return tuple(await asyncio.gather(*map(ask, self.shell.endpoints)))

    async def send(self, call: Call[T], attempt: Attempt) -> bytes | Failure:
        """Send once. grpc's exceptions end here: what is raised later does not even have them as its context."""
        try:
            method = self.channel(attempt.endpoint).unary_unary(call.method, None, None)  # None: bytes as they are
            sent = method(call.payload, timeout=attempt.timeout_s, metadata=call.metadata, wait_for_ready=False)
            return answer_of(await sent, endpoint=attempt.endpoint)
        except grpc.RpcError as error:
            return failure_of(error, endpoint=attempt.endpoint)
        except asyncio.CancelledError:
            # Closing the client cancels its calls: then this is news about the call, not a wish to end the task.
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            return closed_failure(attempt.endpoint)
        except KeyError as status:  # how grpc.aio, unlike grpc, takes a status that it has no name for
            return Failure(Code.UNKNOWN, f"status {status}", attempt.endpoint)
        except grpc.aio.UsageError:  # how grpc says that the channel has been closed meanwhile
            pass
        raise ClientClosed

    def channel(self, endpoint: str) -> grpc.aio.Channel:
        """The connection to an endpoint, made when first needed. Raises ``ClientClosed``."""
        if self._closed:
            raise ClientClosed
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = grpc.aio.insecure_channel(endpoint, options=self.shell.channel_options)
        return channel

    async def close(self) -> None:
        """Ends all calls with an error, and closes the connections."""
        self._closed = True
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            await pipeline.close()
        channels = list(self._channels.values())
        self._channels.clear()
        await asyncio.gather(*(channel.close(grace=None) for channel in channels))
