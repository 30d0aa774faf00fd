from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from edge.errors import InputError, MissingError
from edge.page.app import FILES
from edge.page.hub import MAX_VIEWERS
from edge.page.sink import PageSink
from edge.station.commands import Acknowledge, MarkEvent, ResetAlarm, ShelveAlarm, WantPictures
from edge.station.events import EventStore
from edge.station.judge import Verdict
from tests.edge.listeners.test_mqtt import certificate
from tests.edge.page.conftest import TOKEN, Served, free_port
from tests.edge.page.statuses import PretendStation, a_picture, add_alarm

Serve = Callable[..., Served]
PAGE = {"x-edge-page": "1", "content-type": "application/json"}


def told(lines: Iterator[str]) -> Iterator[tuple[str, dict]]:  # type: ignore[type-arg]
    """(event, data) of a stream of server-sent events."""
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, json.loads(line.removeprefix("data: "))


def eventually(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.02)


def test_the_files_of_the_page_come_with_headers_that_keep_others_out(serve: Serve) -> None:
    with serve().client() as client:
        for path, (_, kind) in FILES.items():
            answer = client.get(path)
            assert answer.status_code == 200 and answer.headers["content-type"] == kind
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff" and "server" not in answer.headers
        page = client.get("/").text + client.get("/page.js").text + client.get("/page.css").text
        assert (
            "http://" not in page and "https://" not in page and "style=" not in page and " on" + "click=" not in page
        )


def test_the_stream_tells_status_trend_and_events(serve: Serve) -> None:
    served = serve()
    with served.client() as client, client.stream("GET", "/stream") as answer:
        news, found = told(answer.iter_lines()), {}
        for event, data in news:
            found[event] = data
            if event == "status" and data["verdict"] == "ok" and "events" in found and found["events"]["events"]:
                break
        assert found["status"]["station"] == "line-4" and found["status"]["threshold"] == 6.0
        assert [e["id"] for e in found["events"]["events"]] == ["A17", "A16", "A15", "F3"]
        served.station.change(Verdict.ALARM, score=float("nan"))
        for event, data in news:
            if event == "status" and data["verdict"] == "alarm":
                assert data["score"] is None and data["alarm"] == "unacknowledged-active"
                break
        for event, data in news:
            if event == "trend":
                assert data["columns"][-1][2] >= 2.3
                break


def test_a_mark_made_beside_the_station_is_told(serve: Serve, store: EventStore) -> None:
    with serve().client() as client, client.stream("GET", "/stream") as answer:
        news = told(answer.iter_lines())
        next(data for event, data in news if event == "events" and data["events"])
        store.mark("A16", "false-alarm", "Ada")
        assert (
            next(e["mark"] for event, data in news if event == "events" for e in data["events"] if e["mark"] != "none")
            == "false-alarm"
        )


def test_wishes_reach_the_station(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        for path, body in (
            ("/acknowledge", {"up_to": 17, "who": "Ada"}),
            ("/reset", {}),
            ("/shelve", {"seconds": 900.0, "who": "Ada"}),
            ("/mark", {"event": "A16", "mark": "false-alarm"}),
        ):
            assert client.post(path, json=body).status_code == 202, path
        assert client.post("/mark", json={"event": "A99", "mark": "false-alarm"}).status_code == 409
        assert client.post("/mark", json={"event": "F3", "mark": "false-alarm"}).status_code == 409
    assert served.station.take(Acknowledge) == [Acknowledge("Ada", 17)]
    assert served.station.take(ResetAlarm) == [ResetAlarm("page")]
    assert served.station.take(ShelveAlarm) == [ShelveAlarm("Ada", 900.0)]
    assert served.station.take(MarkEvent) == [MarkEvent("page", "A16", "false-alarm")]


def test_a_wish_that_is_none_changes_nothing(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        for path, body in (
            ("/acknowledge", b""),
            ("/acknowledge", b'{"up_to": true}'),
            ("/acknowledge", b'{"up_to": -1}'),
            ("/acknowledge", b'{"up_to": 1, "who": "a\\nb"}'),
            ("/acknowledge", b"[[[[[[[["),
            ("/shelve", b'{"seconds": 1e999}'),
            ("/shelve", b'{"seconds": NaN}'),
            ("/mark", b'{"event": "../../etc/passwd", "mark": "none"}'),
            ("/mark", b'{"event": "A17", "mark": "nice"}'),
            ("/reset", b'{"extra": 1}'),
            ("/login", b'{"token": 5}'),
            ("/reset", b"\xff\xfe\x00"),
        ):
            assert client.post(path, content=body).status_code == 400, (path, body)
    assert not served.station.take(object)  # type: ignore[arg-type]


def test_live_pictures_come_in_pairs_while_fresh(serve: Serve) -> None:
    served = serve()
    picture = a_picture(5, defect=True)
    with served.client() as client:
        assert client.get("/live").status_code == 204
        served.station.change(Verdict.OK, picture=picture)
        eventually(lambda: client.get("/live").status_code == 200)
        answer = client.get("/live")
        size = int.from_bytes(answer.content[:4], "big")
        assert answer.content[4 : 4 + size] == picture.frame_jpeg and answer.content[4 + size :] == picture.heatmap_jpeg
        assert len(client.get("/palette").content) == 768
        eventually(lambda: client.get("/live").status_code == 204, 8.0)  # two seconds old: not live any more
    assert 1 <= len(served.station.take(WantPictures)) <= 6, "asked for, about once a second"


def test_motion_jpeg_for_other_programs(serve: Serve) -> None:
    served = serve()
    served.station.change(Verdict.OK, picture=a_picture(5))
    with served.client() as client, client.stream("GET", "/live.mjpeg") as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=edge-frame"
        part = b""
        for chunk in answer.iter_raw():
            part += chunk
            if b"\xff\xd9" in part:
                break
        assert part.startswith(b"--edge-frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")


def test_pictures_of_events_and_nothing_else_from_the_disk(serve: Serve, store: EventStore) -> None:
    (store.folder / "pictures" / "secret.jpg").write_bytes(b"secret")
    with serve().client() as client:
        assert client.get("/pictures/A17.jpg").content.startswith(b"\xff\xd8")
        assert client.get("/pictures/A17.png").content.startswith(b"\x89PNG")
        for path in (
            "/pictures/A99.jpg",
            "/pictures/secret.jpg",
            "/pictures/../events.db",
            "/pictures/..%2fevents.db",
            "/pictures/%2e%2e/%2e%2e/config.json",
            "/pictures/A17.jpg%00.png",
            "/pictures/A17-overlay.jpg",
            "/../../../../etc/passwd",
            "/static/page.js",
        ):
            answer = client.get(httpx.URL(f"{client.base_url}").copy_with(raw_path=path.encode()))
            assert answer.status_code == 404, path


def test_metrics_of_the_page(serve: Serve) -> None:
    with serve().client() as client:
        text = client.get("/metrics").text
    assert 'edge_verdict{station="line-4",verdict="ok"} 1.0' in text


def test_with_a_token_nothing_but_the_door_is_open(serve: Serve) -> None:
    served = serve(token=TOKEN)
    with served.client() as client:
        assert client.get("/").status_code == 200 and client.get("/session").json() == {"open": False}
        for path in ("/stream", "/live", "/live.mjpeg", "/metrics", "/pictures/A17.jpg", "/palette", "/nothing"):
            assert client.get(path).status_code == 401, path
        assert client.post("/acknowledge", json={"up_to": 17}).status_code == 401
        assert client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.post("/reset", headers={"authorization": f"Bearer {TOKEN}"}, json={}).status_code == 401
        answer = client.post("/login", json={"token": TOKEN})
        assert answer.status_code == 200
        assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=strict" in answer.headers["set-cookie"]
        assert TOKEN not in answer.headers["set-cookie"]
        assert client.get("/session").json() == {"open": True}
        assert client.post("/acknowledge", json={"up_to": 17}).status_code == 202
        served.restart()
        assert client.get("/metrics").status_code == 200, "the cookie outlives a restart"


def test_wrong_tokens_are_slowed_down(serve: Serve) -> None:
    with serve(token=TOKEN).client() as client:
        codes = [client.post("/login", json={"token": f"guess {n}"}).status_code for n in range(20)]
        assert codes == [401] * 5 + [429] * 15
        answer = client.post("/login", json={"token": TOKEN})
        assert answer.status_code == 429 and 50 <= int(answer.headers["retry-after"]) <= 60
        assert client.get("/metrics", headers={"authorization": "Bearer guess"}).status_code == 429


def test_foreign_sites_and_foreign_names_are_refused(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        for headers in (
            {"origin": "http://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"content-type": "text/plain"},
        ):
            assert client.post("/acknowledge", json={"up_to": 17}, headers=headers).status_code == 403
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400
        assert client.get("/stream", headers={"host": "evil.example"}).status_code == 400
        assert client.put("/acknowledge", json={}).status_code == 405
    assert httpx.post(f"{served.url}/acknowledge", json={"up_to": 17}, trust_env=False).status_code == 403
    assert not served.station.take(Acknowledge)


def test_viewers_are_limited_and_come_and_go(serve: Serve) -> None:
    served = serve()
    hub = served.sink._hub
    with served.client(limits=httpx.Limits(max_connections=100)) as client:
        open_ones = [client.stream("GET", "/stream") for _ in range(MAX_VIEWERS)]
        for one in open_ones:
            one.__enter__()
        eventually(lambda: hub.viewers == MAX_VIEWERS)
        assert client.get("/stream").status_code == 503
        for one in open_ones:
            one.__exit__(None, None, None)
        eventually(lambda: hub.viewers == 0)
        with client.stream("GET", "/stream") as answer:
            assert answer.status_code == 200


def test_a_new_alarm_shows_up_with_its_picture(serve: Serve, store: EventStore) -> None:
    with serve().client() as client, client.stream("GET", "/stream") as answer:
        news = told(answer.iter_lines())
        add_alarm(store, 18, ago_s=0, lasted_s=None)
        newest = next(
            data["events"][0]
            for event, data in news
            if event == "events"
            and data["events"]
            and data["events"][0]["id"] == "A18"
            and data["events"][0]["picture"]
        )
        assert newest["ended_at"] is None


def test_addresses_that_cannot_be_opened(serve: Serve, store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve()
    station = PretendStation(store.folder)
    with pytest.raises(MissingError, match=r"cannot open the page at 127.0.0.1:\d+: Address already in use; choose"):
        PageSink(served.address, station.context)
    for address in ("8080", "localhost", "example.com:80", "127.0.0.1:99999", "127.0.0.1:x", "[::1]", ""):
        with pytest.raises(InputError, match="cannot read page address"):
            PageSink(address, station.context)
    with pytest.raises(InputError, match="needs a token"):
        PageSink("0.0.0.0:0", station.context)
    for options, why in (
        ({"token": "short"}, "too short"),
        ({"tokn": TOKEN}, "sink_options.page.tokn"),
        ({"token_file": "/nowhere"}, "there is no file"),
        ({"cert_file": __file__}, "half set"),
    ):
        with pytest.raises(InputError, match=why):
            PageSink("127.0.0.1:0", PretendStation(store.folder, **options).context)
    monkeypatch.setenv("EDGE_PAGE_TOKEN", TOKEN)
    PageSink("0.0.0.0:0", station.context).close()


def test_the_page_over_tls(store: EventStore, tmp_path: Path) -> None:
    certificate(tmp_path)
    served = Served(
        store.folder, free_port(), token=TOKEN, cert_file=f"{tmp_path}/cert.pem", key_file=f"{tmp_path}/key.pem"
    )
    trusting = ssl.create_default_context(cafile=f"{tmp_path}/cert.pem")
    url = served.url.replace("http:", "https:")
    with httpx.Client(base_url=url, headers=PAGE, verify=trusting, trust_env=False) as client:
        answer = client.post("/login", json={"token": TOKEN}, headers={"origin": url})
        assert answer.status_code == 200 and "Secure" in answer.headers["set-cookie"]
        assert client.get("/metrics").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(served.url, trust_env=False)
    served.close()
