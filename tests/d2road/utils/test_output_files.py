"""Outputs: whole or not at all, where the system refuses, through links, to devices."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from d2road.utils.errors import D2RoadError, OutputError
from d2road.utils.output_files import append_text, atomic_write, check_output, make_folder, write_json, write_small


def test_the_old_file_survives_a_failure(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path, "w") as file:
        file.write("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_round_trips_and_leaves_no_other_file(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, 2.5, None]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", ["new", b"new"])
def test_a_small_file_is_whole_or_not_there(tmp_path, content):
    write_small(tmp_path / "a.txt", content)
    assert (tmp_path / "a.txt").read_text() == "new"
    with pytest.raises(TypeError):
        write_small(tmp_path / "a.txt", 3)
    assert (tmp_path / "a.txt").read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_wrong_mode_and_missing_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match="'ab'"), atomic_write(tmp_path / "a", "ab"):
        pass
    with pytest.raises(FileNotFoundError, match="gone"), atomic_write(tmp_path / "gone" / "a"):
        pass


def write(path, text="new"):
    with atomic_write(path, "w") as file:
        file.write(text)


def test_an_output_that_is_a_link_is_written_where_the_link_leads(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    real, link, chain = tmp_path / "elsewhere/real.txt", tmp_path / "link.txt", tmp_path / "chain.txt"
    real.write_text("old")
    link.symlink_to(real)
    chain.symlink_to(link)
    write(chain)
    assert chain.is_symlink() and link.is_symlink() and real.read_text() == "new"
    dangling = tmp_path / "dangling.txt"
    dangling.symlink_to(tmp_path / "elsewhere/first.txt")
    write(dangling)
    assert dangling.is_symlink() and (tmp_path / "elsewhere/first.txt").read_text() == "new"


def test_an_output_that_is_a_loop_of_links_or_a_folder_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match=r"a: .*loop of links"):
        write(tmp_path / "a")
    with pytest.raises(OutputError, match="is a folder"):
        write(tmp_path)


def test_a_replaced_file_keeps_its_mode_and_a_new_one_gets_the_usual(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    write(path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)
    mask = os.umask(0o027)
    try:
        write(tmp_path / "b.txt")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "b.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("put", [write, append_text])
def test_a_write_protected_file_is_left_alone_by_root_too(tmp_path, put):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(OutputError, match=r"a\.txt: the file is write-protected") as caught:
        put(path, "new")
    assert caught.value.errno == errno.EACCES and isinstance(caught.value, D2RoadError)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_devices_and_pipes_are_written_to_and_stay(tmp_path):
    write("/dev/null")
    write_json("/dev/null", {})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join(10)
    assert got == ["new"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_without_space_is_named_with_the_cure():
    with pytest.raises(OutputError, match=r"cannot write /dev/full: No space left on device; free some space"):
        write("/dev/full")
    with pytest.raises(OutputError, match="cannot write /dev/full"):
        append_text("/dev/full", "x\n")


def on_a_full_disk(program: str, path: Path) -> str:
    """What a process prints in which no file may grow beyond 64 kB, as on a full disk.

    A process of its own: the limit would hold for the log of the tests as well.
    """
    head = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
    imports = "import sys\nfrom d2road.utils.output_files import append_text, atomic_write\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", imports + head + program, str(path)], capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("count", [20_000, 5_000_000], ids=["small", "large"])
def test_where_the_system_stops_a_library_in_the_middle_the_old_file_stays(tmp_path, count):
    path = tmp_path / "model.pth"
    path.write_bytes(b"old")
    program = f"""
import torch
with atomic_write(sys.argv[1]) as file:
    torch.save({{"model": {{"weight": torch.rand({count})}}}}, file)
"""
    assert f"OutputError: cannot write {path}: File too large" in on_a_full_disk(program, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.pth"]


def test_text_that_does_not_fit_leaves_no_half_line(tmp_path):
    path = tmp_path / "log.csv"
    program = """
append_text(sys.argv[1], "first\\n")
try:
    append_text(sys.argv[1], "x" * 100_000)
except OSError as error:
    print("refused", error)
append_text(sys.argv[1], "second\\n")
"""
    assert f"cannot write {path}" in on_a_full_disk(program, path)
    assert path.read_text() == "first\nsecond\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="a file is in the way"):
            make_folder(path)
    with pytest.raises(OutputError, match=r"/proc/none"):
        make_folder("/proc/none")


def test_a_file_where_none_can_be_made_is_named():
    with pytest.raises((OutputError, FileNotFoundError), match="/proc/self"):
        write("/proc/self/none.txt")


def test_standard_output_that_goes_to_a_file_is_written_to_as_it_is(tmp_path):
    # Opened by its name it would be replaced, and what is printed afterwards lost.
    program = (
        "from d2road.utils.output_files import append_text, atomic_write, check_output\n"
        "print('one'); check_output('/dev/stdout')\n"
        "with atomic_write('/dev/stdout', 'w') as file: file.write('two\\n')\n"
        "append_text('/dev/stdout', 'three\\n'); append_text('/proc/self/fd/1', 'four\\n'); print('five')\n"
    )
    with open(tmp_path / "out.txt", "w") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text().split() == ["one", "two", "three", "four", "five"]


def test_an_output_is_checked_before_it_is_written_and_nothing_stays(tmp_path):
    check_output(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        check_output(tmp_path / "none" / "a.json")
    with pytest.raises(OutputError, match="it is a folder"):
        check_output(tmp_path)
