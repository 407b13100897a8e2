"""One request: logged in, answered, or refused with the server's own words."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lbctl.api.credentials import Credentials, load_kubeconfig
from lbctl.api.errors import ApiRefused, ApiUnreachable, problem_of
from lbctl.api.paths import collection_path, object_path, resource_name
from lbctl.api.session import ApiSession, ApiStream, _retry_after_s
from tests.support.fake_api import FakeApi
from tests.support.faults import FaultKind
from tests.support.loop import run, stop
from tests.unit.api.test_credentials import CERTIFICATE, KEY, b64, write

NODE = "/api/v1/nodes/n1"


def test_an_expired_token_is_read_again_and_the_request_repeated_once(tmp_path: Path) -> None:
    async def case() -> None:
        token = tmp_path / "token"
        token.write_text("old")
        async with FakeApi() as api:
            api.put("nodes", {"metadata": {"name": "n1"}})
            api.tokens = {"old"}
            credentials = api.credentials(token="old", token_file=token)
            async with ApiSession(credentials) as session:
                assert (await session.request("GET", NODE)).status == 200
                token.write_text("new")
                api.tokens = {"new"}
                answer = await session.request("GET", NODE)
                assert answer.body["metadata"]["name"] == "n1"
                api.tokens = {"another"}
                asked = len(api.asked)
                with pytest.raises(ApiRefused) as refused:
                    await session.request("GET", NODE)
                assert refused.value.status == 401
                assert len(api.asked) == asked + 2

    run(case())


def test_an_expired_token_is_read_again_for_a_watch_too(tmp_path: Path) -> None:
    async def case() -> None:
        token = tmp_path / "token"
        token.write_text("new")
        async with FakeApi() as api:
            api.tokens = {"new"}
            credentials = api.credentials(token="old", token_file=token)
            async with (
                ApiSession(credentials) as session,
                session.stream("/api/v1/nodes", params={"watch": "true"}, inactivity_s=5) as stream,
            ):
                api.put("nodes", {"metadata": {"name": "n1"}})
                assert b'"ADDED"' in await stream.read()

    run(case())


def test_a_refusal_carries_status_reason_message_and_the_time_to_wait() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            api.faults.arm(FaultKind.THROTTLED, seconds=7)
            with pytest.raises(ApiRefused) as refused:
                await session.request("PATCH", NODE, body={})
            error = refused.value
            assert (error.method, error.path, error.status) == ("PATCH", NODE, 429)
            assert (error.reason, error.message) == ("TooManyRequests", "too many requests")
            assert error.retry_after_s == 7
            assert str(error) == f"PATCH {NODE}: 429 TooManyRequests: too many requests"
            api.faults.arm(FaultKind.CRD_MISSING)
            with pytest.raises(ApiRefused, match="404 page not found"):
                await session.request("GET", NODE)

    run(case())


@pytest.mark.parametrize(
    "kind", [FaultKind.NO_ANSWER, FaultKind.HALF_BODY, FaultKind.GARBAGE], ids=lambda k: k.value
)
def test_an_answer_that_is_none_is_unreachable(kind: FaultKind) -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            api.put("nodes", {"metadata": {"name": "n1"}})
            api.faults.arm(kind, times=2)
            with pytest.raises(ApiUnreachable) as failed:
                await session.request("GET", NODE)
            assert failed.value.__cause__ is not None
            assert NODE in str(failed.value)

    run(case())


def test_silence_ends_with_the_callers_timeout() -> None:
    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            api.faults.arm(FaultKind.SLOW, seconds=3600)
            with pytest.raises(ApiUnreachable, match="nothing heard in time"):
                await session.request("GET", "/api/v1/nodes", timeout_s=0.1)

    run(case())


def test_a_closed_port_is_unreachable_and_named() -> None:
    async def case() -> None:
        credentials = Credentials(server="http://127.0.0.1:1", source="a test")
        async with ApiSession(credentials) as session:
            with pytest.raises(ApiUnreachable, match=r"127\.0\.0\.1"):
                await session.request("GET", NODE)

    run(case())


async def serve(handler: Any, context: ssl.SSLContext | None) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    return runner, runner.addresses[0][1]


def test_a_client_certificate_and_a_private_ca_work_over_tls(tmp_path: Path) -> None:
    async def case() -> None:
        context = tls_of_a_server(tmp_path)
        context.load_verify_locations(tmp_path / "crt")
        context.verify_mode = ssl.CERT_REQUIRED
        seen: list[Any] = []

        async def handler(request: web.Request) -> web.Response:
            assert request.transport is not None
            seen.append(request.transport.get_extra_info("peercert")["subject"])
            return web.json_response({"ok": True})

        runner, port = await serve(handler, context)
        try:
            path = write(
                tmp_path,
                cluster={
                    "server": f"https://127.0.0.1:{port}",
                    "certificate-authority-data": b64(CERTIFICATE),
                    # The certificate has no names at all: only its chain is looked at.
                    "insecure-skip-tls-verify": True,
                },
                user={"client-certificate-data": b64(CERTIFICATE), "client-key-data": b64(KEY)},
            )
            async with ApiSession(load_kubeconfig(path)) as session:
                assert (await session.request("GET", NODE)).body == {"ok": True}
            assert seen == [((("commonName", "test"),),)]
            strict = write(
                tmp_path,
                cluster={
                    "server": f"https://127.0.0.1:{port}",
                    "certificate-authority-data": b64(CERTIFICATE),
                },
            )
            async with ApiSession(load_kubeconfig(strict)) as session:
                with pytest.raises(ApiUnreachable, match="certificate"):
                    await session.request("GET", NODE)
        finally:
            await runner.cleanup()

    run(case())


def tls_of_a_server(folder: Path) -> ssl.SSLContext:
    (folder / "crt").write_bytes(CERTIFICATE)
    (folder / "key").write_bytes(KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    return context


async def all_of(stream: ApiStream) -> tuple[bytes, str]:
    heard = b""
    try:
        while piece := await stream.read():
            heard += piece
    except ApiUnreachable:
        return heard, "cut"
    return heard, "in order"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("end", ["in order", "cut"])
def test_a_stream_at_rest_is_not_read_and_loses_nothing(
    tmp_path: Path, *, tls: bool, end: str
) -> None:
    """Also when the server ends it meanwhile; what it said before is read first."""

    async def case() -> None:
        resting, said = asyncio.Event(), asyncio.Event()

        async def handler(request: web.Request) -> web.StreamResponse:
            if request.path != NODE:
                return web.Response(status=404)
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"one")
            await resting.wait()
            await response.write(b"two")
            await asyncio.sleep(0)
            await response.write(b"three")
            if end == "cut":
                assert request.transport is not None
                request.transport.close()
            else:
                await response.write_eof()
            said.set()
            return response

        runner, port = await serve(handler, tls_of_a_server(tmp_path) if tls else None)
        server = f"http{'s' * tls}://127.0.0.1:{port}"
        credentials = Credentials(server=server, source="a test", insecure=True)
        try:
            async with (
                ApiSession(credentials) as session,
                session.stream(NODE, params={}, inactivity_s=5) as stream,
            ):
                assert await stream.read() == b"one"
                rest = asyncio.create_task(stream.rest(3600))
                await asyncio.sleep(0)
                resting.set()
                await said.wait()
                # Another connection's answer comes later than these bytes would.
                with pytest.raises(ApiRefused):
                    await session.request("GET", "/none")
                assert stream._response.content.total_bytes == len(b"one")
                await stop(rest)
                assert await all_of(stream) == (b"twothree", end)
                await stream.rest(0)
        finally:
            await runner.cleanup()

    run(case())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert _retry_after_s(header) == seconds


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/services", "services"),
        ("/api/v1/namespaces/web/services/shop", "services"),
        ("/api/v1/namespaces/web/services/shop/status", "services/status"),
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1/namespaces/web", "namespaces"),
        ("/apis/lbctl.io/v1beta1/ipaddresspools", "ipaddresspools.lbctl.io"),
        (
            "/apis/coordination.k8s.io/v1/namespaces/x/leases/y",
            "leases.coordination.k8s.io",
        ),
        ("/version", "/version"),
    ],
)
def test_paths_are_named_as_rbac_names_them(path: str, resource: str) -> None:
    assert resource_name(path) == resource


def test_paths_are_built_for_core_and_groups() -> None:
    assert collection_path(group="", version="v1", plural="nodes") == "/api/v1/nodes"
    assert (
        object_path(group="lbctl.io", version="v1beta1", plural="pools", namespace="x", name="y")
        == "/apis/lbctl.io/v1beta1/namespaces/x/pools/y"
    )


@pytest.mark.parametrize(
    ("status", "path", "said"),
    [
        (404, "/apis/lbctl.io/v1beta1/l2advertisements", "install the CRDs"),
        (404, "/api/v1/services", "does not serve /api/v1/services"),
        (401, "/api/v1/services", "does not accept our credentials"),
        (403, "/api/v1/services", "RBAC refuses to list services"),
        (500, "/api/v1/services", "cannot list services"),
    ],
)
def test_a_problem_is_one_sentence_with_the_cure(status: int, path: str, said: str) -> None:
    error = ApiRefused(method="GET", path=path, status=status, reason="", message="")
    assert said in problem_of(error, verb="list", path=path)


def test_the_kernel_gives_up_what_is_not_acknowledged_before_a_successor_may_write() -> None:
    from lbctl.api.lease import LeaseTimes
    from lbctl.api.session import UNACKNOWLEDGED_S

    async def case() -> None:
        async with FakeApi() as api, ApiSession(api.credentials()) as session:
            await session.request("GET", "/api/v1/services")
            (transport,) = [
                protocol.transport
                for connections in session._opened().connector._conns.values()  # type: ignore[union-attr]
                for protocol, _ in connections
            ]
            assert transport is not None
            made = transport.get_extra_info("socket")
            set_ms = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert set_ms == UNACKNOWLEDGED_S * 1000
            times = LeaseTimes()
            assert times.duration_s - times.renew_deadline_s + times.margin_s > UNACKNOWLEDGED_S

    run(case())
