"""Users of the page: who may enter, and a page for others that asks nobody."""

import urllib.error
import urllib.request

import pytest

from d2road.utils.errors import ConfigError
from d2road.web.page_users import VARIABLE, check_users, is_this_machine, users_of_page
from tests.factories.verb_files import detector_files
from tests.factories.web_page import TIMEOUT_MS, chromium, message, served_page, web_python


def test_users_of_a_file_or_of_the_environment(tmp_path, caplog):
    path = tmp_path / "users.txt"
    path.write_text("anna: a long:one \n\nbert:12345678\n")
    path.chmod(0o600)
    assert users_of_page(path, {VARIABLE: "c:something"}) == [("anna", " a long:one"), ("bert", "12345678")]
    assert not caplog.text
    path.chmod(0o644)
    users_of_page(path)
    assert "chmod 600" in caplog.text
    assert users_of_page(None, {VARIABLE: "carl:something"}) == [("carl", "something")]
    assert users_of_page(None, {}) == users_of_page(None, {VARIABLE: ""}) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("anna secretsecret", "line 1: expected USER:PASSWORD, found a line without :"),
        ("\n:secretsecret", "line 2: expected USER:PASSWORD, found a line without a user"),
        ("anna:secret", "password of anna has 6 characters, expected 8 or more"),
        ("a:secretsecret\na:secretsecret", "the user 'a' twice"),
        ("  \n", "no user"),
    ],
)
def test_lines_that_are_no_users_are_refused_without_their_passwords(text, words):
    with pytest.raises(ConfigError, match=words) as error:
        users_of_page(None, {VARIABLE: text})
    assert "secret" not in str(error.value)


def test_a_page_for_others_asks_for_a_password(caplog, capsys, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    own = ["127.0.0.1", "127.0.0.2", "localhost", "::1", "[::1]"]
    assert all(map(is_this_machine, own)) and not any(map(is_this_machine, ["0.0.0.0", "::", "", "example.org"]))
    check_users("127.0.0.1", [], False)
    check_users("0.0.0.0", [("anna", "12345678")], False)
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0 lets other machines .*--auth FILE"):
        check_users("0.0.0.0", [], False)
    with pytest.raises(ConfigError, match="leave out one"):
        check_users("127.0.0.1", [("anna", "12345678")], True)
    assert not caplog.text
    check_users("0.0.0.0", [], True)
    assert "everybody who reaches 0.0.0.0" in caplog.text


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page of one user."""
    web_python()
    folder = tmp_path_factory.mktemp("users")
    detector_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "anna:long enough")
        with served_page("--model", str(folder / "config.yaml"), "random", log=folder / "log.txt") as address:
            yield address


def test_without_a_password_nothing_is_told_and_nothing_taken(address):
    def status(path, content=None, **headers):
        request = urllib.request.Request(f"{address.rstrip('/')}/{path}", content, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read().decode(), answer.headers.get_all("Set-Cookie")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), None

    form = "application/x-www-form-urlencoded"
    boundary = b"--b\r\nContent-Disposition: form-data; name=files; filename=a.png\r\n\r\nx\r\n--b--\r\n"
    kind, as_json = {"Content-Type": "multipart/form-data; boundary=b"}, {"Content-Type": "application/json"}
    assert status("config")[0] == 401
    assert status("gradio_api/upload", boundary, **kind)[0] == 401
    assert status("gradio_api/queue/join", b"{}", **as_json)[0] == 401
    assert status("login", b"username=anna&password=wrong", **{"Content-Type": form})[0] == 400
    code, _, cookies = status("login", b"username=anna&password=long+enough", **{"Content-Type": form})
    assert code == 200
    cookie = {"Cookie": "; ".join(one.split(";")[0] for one in cookies)}
    assert status("config", **cookie)[0] == 200 and "detect-run" in status("config", **cookie)[1]
    assert status("gradio_api/upload", boundary, **kind, **cookie)[0] == 200


def test_the_login_form_lets_in_who_knows_the_password(address):
    """By clicking, in a browser: a wrong password stays outside, the right one opens the tabs and their examples."""
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(address)
        page.wait_for_selector("input[type=password]")
        for password in ("long enoug", "long enough"):
            assert page.query_selector("#detect-run") is None
            page.fill("input[type=text], input:not([type]), textarea", "anna")
            page.fill("input[type=password]", password)
            page.click("button:has-text('Login')")
            page.wait_for_selector("text=/incorrect/i" if password == "long enoug" else "#detect-run")
        assert page.query_selector("input[type=password]") is None
        # The windows are the usual ones here, so that the shipped rules have an example.
        page.click("button[role=tab]:has-text('Traffic')")
        page.click("#traffic-example")
        for box in ("traffic-file", "traffic-calibration"):
            page.wait_for_selector(f"#{box} .file-preview tr")
        page.click("#traffic-run")
        assert "1 alarm(s)" in message(page, "traffic")
