"""The gRPC server: services, interceptors, health, reflection, where it listens."""

from collections.abc import Callable
from typing import NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from runmeter.receiver.rpc.interceptors import Authentication, Calls, Policy, push_gate
from runmeter.receiver.rpc.reflection import SERVICE_NAME, Reflection
from runmeter.receiver.rpc.servicers import (
    PUSH_METHODS,
    READ_METHODS,
    SERVICES,
    UseCases,
    add_services,
)
from runmeter.service.errors import AddressUnusable
from runmeter.service.sockets import check_free
from runmeter.service.tls import ServerTls
from runmeter.service.values import Address

SEND_MAX_BYTES = 8 * 2**20
PENDING_MAX = 8192
EVERYWHERE = "0.0.0.0"
FLAG = "--addr"
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # or a second receiver binds the same port silently
    ("grpc.max_send_message_length", SEND_MAX_BYTES),
    # of a connection; further calls wait in the client. Not fewer: a gateway has one connection,
    # and calls given up by their deadline count until this side has noticed
    ("grpc.max_concurrent_streams", 1024),
    # that have come and were not yet looked at. Beyond 1000, gRPC's default, it cancels some at
    # random, of anybody and without a word; here they are refused by name, or taken
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
    ("grpc.max_metadata_size", 2**13),
    ("grpc.absolute_max_metadata_size", 2**13),  # the same: or some are refused at random
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 2),
)


class ConnectionLimits(NamedTuple):
    """How long connections last, in seconds.

    Peers that are gone are noticed, those that are idle or old connect anew: behind a balancer
    they find new receivers, and rotated CAs count for everybody.
    """

    handshake_seconds: float = 20.0  # of TLS, and until HTTP/2 begins
    keepalive_seconds: float = 60.0  # of silence, then a ping
    keepalive_timeout_seconds: float = 20.0  # until it is answered
    idle_seconds: float = 300.0  # without a call
    age_seconds: float = 1800.0  # gRPC takes up to a tenth more or less
    # between pings of a client: ours send one every 10 s while they wait; a flood ends the
    # connection
    ping_seconds: float = 5.0

    def options(self) -> tuple[tuple[str, int], ...]:
        """Return them as gRPC takes them."""
        return (
            ("grpc.server_handshake_timeout_ms", round(self.handshake_seconds * 1000)),
            ("grpc.keepalive_time_ms", round(self.keepalive_seconds * 1000)),
            ("grpc.keepalive_timeout_ms", round(self.keepalive_timeout_seconds * 1000)),
            ("grpc.max_connection_idle_ms", round(self.idle_seconds * 1000)),
            ("grpc.max_connection_age_ms", round(self.age_seconds * 1000)),
            ("grpc.http2.min_ping_interval_without_data_ms", round(self.ping_seconds * 1000)),
        )


CONNECTION_LIMITS = ConnectionLimits()
_STOP_SECONDS = 0.5  # for answers already on their way


class Server:
    """A gRPC server that is bound to its address when made."""

    def __init__(
        self,
        use_cases: UseCases,
        address: Address,
        tls: ServerTls | None,
        policy: Policy,
        connection_limits: ConnectionLimits = CONNECTION_LIMITS,
    ) -> None:
        """Bind; with `tls` no call comes in without it.

        Raises:
            AddressUnusable: the port is taken, or the address is not one of this machine.
        """
        self._health = health.aio.HealthServicer()
        self._calls = Calls(policy)
        self._server = grpc.aio.server(
            interceptors=(self._calls, Authentication(_gates(use_cases))),
            options=(
                *_OPTIONS,
                *connection_limits.options(),
                ("grpc.max_receive_message_length", policy.max_message_bytes),
                ("grpc.max_connection_age_grace_ms", round(policy.call_seconds * 1000)),
            ),
        )
        add_services(self._server, use_cases)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers(
            (Reflection((*SERVICES, health.SERVICE_NAME, SERVICE_NAME)),)
        )
        self._certificates = None if tls is None else _Certificates(tls)
        self.address = _bind(self._server, address, self._certificates)

    def use_certificates(self, tls: ServerTls) -> None:
        """Show these to clients that connect from now on; connections that are open stay."""
        if self._certificates is not None:
            self._certificates.replace(tls)

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, refuse new calls, give those that run some time to end.

        gRPC is stopped only then: a call that comes in just as it stops is not answered and would
        hold up the end for all of the grace.
        """
        await self._health.enter_graceful_shutdown()
        await self._calls.drain(grace_seconds)
        await self._server.stop(_STOP_SECONDS)


def _gates(use_cases: UseCases) -> dict[str, Callable[[str], None]]:
    return {
        **dict.fromkeys(PUSH_METHODS, push_gate),
        **dict.fromkeys(READ_METHODS, use_cases.read_token.check),
    }


class _Certificates:
    """Certificates as gRPC takes them: asked for at each new connection, by a thread of its own."""

    def __init__(self, tls: ServerTls) -> None:
        self._fresh: ServerTls | None = None
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _certificate_configuration(tls),
            self._fetch,  # type: ignore[arg-type]  # None is fine: no change
            require_client_authentication=tls.client_ca is not None,
        )

    def replace(self, tls: ServerTls) -> None:
        """Hand these over at the next connection."""
        self._fresh = tls

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        fresh, self._fresh = self._fresh, None
        return None if fresh is None else _certificate_configuration(fresh)


def _certificate_configuration(tls: ServerTls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.chain)], tls.client_ca)


def _bind(server: grpc.aio.Server, address: Address, certificates: _Certificates | None) -> str:
    check_free(address, FLAG)
    wanted = str(Address(address.host or "::", address.port))
    try:
        if certificates is None:
            bound_port = server.add_insecure_port(wanted)
        else:
            bound_port = server.add_secure_port(wanted, certificates.credentials)
    except RuntimeError as error:
        reason = f"it cannot be bound; choose another {FLAG}"
        raise AddressUnusable(str(address), reason) from error
    return str(Address(address.host or EVERYWHERE, bound_port))
