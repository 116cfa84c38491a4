"""Server reflection, imported at its first call, because few callers use it."""

from collections.abc import Sequence
from typing import Any

import grpc

SERVICE_NAME = "grpc.reflection.v1alpha.ServerReflection"
_METHOD = f"/{SERVICE_NAME}/ServerReflectionInfo"


class Reflection(grpc.GenericRpcHandler):
    """Handles the one method of the service."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self._handler: Any = None

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler of a call; None: it is for another service."""
        if handler_call_details.method != _METHOD:
            return None
        if self._handler is None:
            from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
                reflection,
                reflection_pb2,
            )

            servicer = reflection.aio.ReflectionServicer(self._services)
            self._handler = grpc.stream_stream_rpc_method_handler(
                servicer.ServerReflectionInfo,
                reflection_pb2.ServerReflectionRequest.FromString,
                reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        return self._handler  # type: ignore[no-any-return]
