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
    ("grpc.so_reuseport", 0),  # otherwise a second receiver can bind the same port without an error
    ("grpc.max_send_message_length", SEND_MAX_BYTES),
    # per connection; further calls wait in the client. Not fewer: a gateway has one connection,
    # and calls past their deadline count until the receiver has noticed
    ("grpc.max_concurrent_streams", 1024),
    # calls that have arrived and are not handled yet. Beyond 1000, its default, gRPC cancels some
    # at random and without a message; here they are accepted, or refused with a status
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
    ("grpc.max_metadata_size", 2**13),
    (
        "grpc.absolute_max_metadata_size",
        2**13,
    ),  # the same as the soft limit: between the two gRPC refuses some at random
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 2),
)


class ConnectionLimits(NamedTuple):
    """How long connections last, in seconds.

    Connections of peers that are gone, idle or old are closed. Peers connect again: behind a
    balancer they find new receivers, and rotated CAs apply to all of them.
    """

    handshake_seconds: float = 20.0  # of TLS, and until HTTP/2 begins
    keepalive_seconds: float = 60.0  # of silence, then a ping
    keepalive_timeout_seconds: float = 20.0  # until it is answered
    idle_seconds: float = 300.0  # without a call
    age_seconds: float = 1800.0  # gRPC takes up to a tenth more or less
    # least time between pings of a client; more frequent ones end the connection. Collector and
    # gateway send one every 10 s while they wait
    ping_seconds: float = 5.0

    def options(self) -> tuple[tuple[str, int], ...]:
        """Return them as options of gRPC."""
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
    """A gRPC server; it is bound to its address when it is made."""

    def __init__(
        self,
        use_cases: UseCases,
        address: Address,
        tls: ServerTls | None,
        policy: Policy,
        connection_limits: ConnectionLimits = CONNECTION_LIMITS,
    ) -> None:
        """Bind; with ``tls`` only encrypted calls are accepted.

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
        """Use these for new connections; open ones stay."""
        if self._certificates is not None:
            self._certificates.replace(tls)

    async def start(self) -> None:
        """Accept calls."""
        await self._server.start()
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, grace_seconds: float) -> None:
        """Report NOT_SERVING, refuse new calls, give open ones some time to end.

        gRPC is stopped after that: it does not answer a call that arrives while it stops, and would
        wait for it during the whole grace period.
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
    """Certificates for gRPC, which fetches them at each new connection, in a thread of its own."""

    def __init__(self, tls: ServerTls) -> None:
        self._fresh: ServerTls | None = None
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _certificate_configuration(tls),
            self._fetch,  # type: ignore[arg-type]  # None is fine: no change
            require_client_authentication=tls.client_ca is not None,
        )

    def replace(self, tls: ServerTls) -> None:
        """Use these from the next connection on."""
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
