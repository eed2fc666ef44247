"""The local server refuses what is not its own page's, in short JSON, and keeps running."""

import http.client
import json
import random
import socket
import threading

import pytest

from sdesam.cli.app import main
from sdesam.cli.explore import advice
from sdesam.explorer.library import library_of
from sdesam.explorer.presets import PRESETS
from sdesam.explorer.server import Application, Refused, start_server
from sdesam.explorer.state import State


@pytest.fixture(scope="module")
def server():
    library = library_of()[0]
    found = start_server(library, library.checked(State()))
    app = found.application
    found.application = Application(library, app.state, app.token, check=lambda library, document: {"heard": document})
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text, answer.headers


def alive(server):
    return ask(server, "GET", f"/{server.application.token}/alive")[0] == 200


def test_the_page_and_its_policy(server):
    status, text, headers = ask(server, "GET", f"/{server.application.token}/")
    assert status == 200 and b"page.js" in text
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), [
    ("GET", "/", None, {}, 403),
    ("GET", "/wrong-token/page.js", None, {}, 403),
    ("POST", "/wrong-token/check", b"{}", {}, 403),
    ("GET", "/TOKEN/", None, {"Host": "evil.example"}, 403),
    ("GET", "/TOKEN/", None, {"Host": "127.0.0.1:1"}, 403),
    ("POST", "/TOKEN/check", b"{}", {"Origin": "http://evil.example"}, 403),
    ("GET", "/TOKEN/../../etc/passwd", None, {}, 404),
    ("GET", "/TOKEN/science/nowhere/sam.js", None, {}, 404),
    ("GET", "/TOKEN/science/saddle/%2e%2e.js", None, {}, 404),
    ("POST", "/TOKEN/check", b"x" * 20_000, {}, 413),
    ("POST", "/TOKEN/check", b"not json", {}, 400),
    ("POST", "/TOKEN/check", b"[" * 10_000, {}, 400),
    ("POST", "/TOKEN/elsewhere", b"{}", {}, 404),
    ("PUT", "/TOKEN/check", b"{}", {}, 501),
])  # fmt: skip
def test_refusals_are_short_json(server, method, path, body, headers, status):
    found, text, _ = ask(server, method, path.replace("TOKEN", server.application.token), body, **headers)
    assert found == status and len(text) < 500 and json.loads(text)["error"]
    assert alive(server)


@pytest.mark.parametrize("document", [
    [1, 2], {"eta": "fast"}, {"n": 10**9}, {"n": 2.5}, {"method": 3}, {"landscape": "/etc/passwd"}, {"start": [1e9, 0]},
    {"unknown": 1}, {"eta": 1e-4, "horizon": 1000}, {"parameters": {"curvature": None}}, {"parameters": []},
    {"box": [1, 0, 1, 0]},
    {"landscape": "evil.py:f"}, {"switch_at": 3.0, "switch_to": "adam"}, {"model": "as-printed", "method": "sgd"},
])  # fmt: skip
def test_a_bad_state_is_one_sentence(server, document):
    app = server.application
    real = Application(app.library, app.state, app.token)
    with pytest.raises(Refused) as refused:
        real.post("check", json.dumps(document).encode())
    assert refused.value.status == 400 and "\n" not in str(refused.value)


def test_one_check_at_a_time(server):
    app = server.application
    with app.busy, pytest.raises(Refused, match="busy"):
        app.post("check", b"{}")


def random_request(rng, server):
    """Random bytes, half a request, or a valid shape with random parts."""
    token, size = server.application.token, rng.randrange(40)
    path = rng.choice([f"/{token}/alive", f"/{token}/" + "".join(map(chr, rng.choices(range(33, 127), k=20))), "/x"])
    host = rng.choice([f"127.0.0.1:{server.server_port}", "evil"])
    head = f"{rng.choice(['GET', 'POST', 'HEAD', 'X'])} {path} HTTP/1.1\r\nHost: {host}\r\n"
    body = rng.randbytes(size)
    return rng.choice([
        rng.randbytes(30) + b"\r\n\r\n",
        f"{head}Content-Length: {size}\r\n\r\n".encode() + body,
        f"{head}Content-Length: {rng.choice(['-1', 'x', '9' * 30])}\r\n\r\n".encode(),
        f"{head}\r\n".encode(),
    ])  # fmt: skip


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_random_requests(server, count):
    """Each on a connection of its own, answered or dropped; afterwards the server answers as before."""
    rng, answered = random.Random(0), 0
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as link:
            try:
                link.sendall(random_request(rng, server))
                link.shutdown(socket.SHUT_WR)
                answered += bool(link.recv(65536))
            except OSError:
                pass  # dropped in the middle of a request: as it should be
    assert answered > 0.9 * count
    assert alive(server)


def test_a_taken_port(server, capsys):
    library = server.application.library
    other = start_server(library, library.checked(State()))
    assert other.server_port != server.server_port  # the next free one
    other.server_close()
    with pytest.raises(SystemExit) as left:
        main(["explore", "--port", str(server.server_port), "--no-browser"])
    assert left.value.code == 2
    assert "is taken" in capsys.readouterr().err


def test_over_ssh_the_tunnel_and_the_file_are_named():
    lines = advice(8765, {"SSH_CONNECTION": "10.0.0.2 5000 10.0.0.1 22", "USER": "ada"})
    assert "ssh -L 8765:127.0.0.1:8765 ada@10.0.0.1" in lines[0] and "--export page.html" in lines[1]


@pytest.mark.parametrize("arguments", [
    ["explore", "--landscape", "nowhere"], ["explore", "--method", "adam"], ["explore", "--state", "eta=fast"],
    ["explore", "--state", "missing.json"], ["explore", "--export", "page.txt"], ["render", "eta=0.1", "-o", "x.txt"],
])  # fmt: skip
def test_bad_arguments_are_one_sentence(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


# ----------------------------------------------------------------- what users bring, and where they write
MINE = """
def branchy(x):
    return x[..., 0] ** 2 if x.sum() > 0 else x[..., 1] ** 2
def space(x):
    return x[..., 0] ** 2 + x[..., 2] ** 2
def clash(x, *, sigma=1.0):
    return sigma * (x * x).sum(-1)
def bare(x, *, depth):
    return depth * (x * x).sum(-1)
def undefined(x, *, depth=float("nan")):
    return depth * (x * x).sum(-1)
def update(g, x, z):
    return g(x, z)
"""


@pytest.mark.parametrize(("option", "name", "words"), [
    ("landscape", "branchy", "mine.py, line 3"), ("landscape", "space", "shows the plane"),
    ("landscape", "clash", "keyword sigma of the landscape is a number of the screen"),
    ("landscape", "bare", "keyword depth of the landscape must have a number as default, got none"),
    ("landscape", "undefined", "must have a number as default, got nan"),
    ("method", "update", "must be called as update(g, x, z, rho=rho), got update(g, x, z)"),
])  # fmt: skip
@pytest.mark.parametrize("export", [True, False])
def test_what_cannot_be_explored_is_told_before_anything_opens(
    tmp_path, capsys, monkeypatch, export, option, name, words
):
    monkeypatch.setattr("sdesam.explorer.server.start_server", lambda *_: pytest.fail("a server started"))
    (tmp_path / "mine.py").write_text(MINE)
    page = tmp_path / "page.html"
    with pytest.raises(SystemExit) as left:
        main(
            [
                "explore",
                f"--{option}",
                f"{tmp_path}/mine.py:{name}",
                *(["--export", str(page)] if export else ["--no-browser"]),
            ]
        )
    said = capsys.readouterr().err.strip()
    assert left.value.code == 2 and words in said and len(said.splitlines()) == 1
    assert not page.exists()


def test_a_folder_takes_stories_only(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["explore", "--landscape", "saddle", "--export", str(tmp_path)])
    assert left.value.code == 2 and "page.html" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_made(tmp_path, capsys, monkeypatch):
    from sdesam.cli import explore

    written = []
    monkeypatch.setattr(explore, "_write", lambda library, state, file, title: written.append(file))
    with pytest.raises(SystemExit) as left:
        main(["explore", "--export", f"{tmp_path}/for/teachers/"])
    assert left.value.code in (0, None) and (tmp_path / "for" / "teachers").is_dir()
    assert {f.parent for f in written} == {tmp_path / "for" / "teachers"} and len(written) == len(PRESETS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemExit) as left:
        main(["explore", "--export", f"{tmp_path}/file/"])
    said = capsys.readouterr().err.strip()
    assert left.value.code == 2 and "--export must be a folder that can be made" in said and "\n" not in said


def test_a_name_without_slash_or_suffix_stays_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(["explore", "--export", str(tmp_path / "folder")])
    assert left.value.code == 2 and "--export must end in .html, got 'folder'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_does_not_exist(port, capsys):
    with pytest.raises(SystemExit) as left:
        main(["explore", f"--port={port}", "--no-browser"])
    assert left.value.code == 2 and "from 0 (any free one) to 65535" in capsys.readouterr().err


def test_a_port_that_was_just_left_is_free_again():
    library = library_of()[0]
    first = start_server(library, library.checked(State()), 0)
    port = first.server_port
    threading.Thread(target=first.serve_forever, daemon=True).start()
    assert ask(first, "GET", "/wrong/")[0] == 403  # answered and closed by the server, whose end lingers
    first.shutdown()
    first.server_close()
    start_server(library, library.checked(State()), port).server_close()


def test_slow_clients_keep_nobody_waiting(server):
    links = [socket.create_connection(("127.0.0.1", server.server_port), timeout=5) for _ in range(30)]
    for link in links:
        link.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 100\r\nHos")
    assert alive(server)
    for link in links:
        link.close()


def test_a_check_that_would_take_minutes_is_refused(server):
    app = server.application
    state = {"eta": 1e-4, "horizon": 10.0, "substeps": 64}
    with pytest.raises(Refused, match="would take minutes: choose a larger eta") as refused:
        Application(app.library, app.state, app.token).post("check", json.dumps(state).encode())
    assert refused.value.status == 400


def test_the_explorers_names_stay_its_own():
    def saddle(x):
        return (x * x).sum(-1)

    def sam(g, x, z, *, rho):
        return g(x, z)

    library, family, method = library_of(saddle, sam)
    assert (family, method) == ("my-saddle", "my-sam")
    assert library.families["saddle"].source is None and library.methods["sam"].source is None
